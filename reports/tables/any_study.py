"""Tables that fit every study: depth against shortcut, and one row per arm."""

from collections.abc import Sequence

from models.spec import Layout
from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.cells import Metric, measure, title
from reports.tables.beside import NOT_ASKED, heading
from reports.tables.entries import EMPTY, Column, Entry, Row, Table, absent, count, layers, measured, words

PIVOTED = (Metric.TAIL_TRAIN, Metric.LAST_TEST)


def _pivot(pool: Pool, number: int) -> Table:
    columns = [Column(title="layers")]
    groups = {metric: title(metric, pool.layout) for metric in PIVOTED}
    columns += [
        Column(title=SHORTCUT_TITLES[shortcut], group=f"{group[0].upper()}{group[1:]} %")
        for group in groups.values()
        for shortcut in pool.shortcuts
    ]
    rows = []
    for depth in pool.depths:
        found = [(pool.find(shortcut, depth), metric) for metric in PIVOTED for shortcut in pool.shortcuts]
        entries = [measured(measure(arm, metric)) if arm else absent(NOT_ASKED) for arm, metric in found]
        rows.append(Row(entries=(layers(depth), *entries)))
    return Table(
        id="depth-by-shortcut" if number == 1 else f"depth-by-shortcut-{number}",
        title="Depth against shortcut",
        caption=f"{heading(pool)}. Mean ± sample standard deviation (seeds). Training error is the mean over the last "
        "10/64 of the iterations.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


ARM_METRICS = (Metric.TAIL_TRAIN, Metric.LAST_TEST, Metric.BEST_TEST)
WHERE_RECORDED = (
    Metric.LAST_VALIDATION,
    Metric.LAST_PRECISE_TEST,
    Metric.LAST_TEST_TOP5,
    Metric.LAST_TEN_CROP,
    Metric.LAST_TEN_CROP_TOP5,
    Metric.LAST_MULTI_SCALE,
    Metric.LAST_MULTI_SCALE_TOP5,
)
"""Columns that the table has where a run recorded them."""
TESTED = "The test error of networks for ImageNet is that on what the paper calls the validation set."


def _metrics(arms: Sequence[MeasuredArm]) -> tuple[Metric, ...]:
    told = {name for arm in arms for run in arm.finished for name in run.result}
    return (*ARM_METRICS, *[metric for metric in WHERE_RECORDED if metric.value in told])


def _arm_row(arm: MeasuredArm, metrics: Sequence[Metric]) -> Row:
    seconds = measure(arm, Metric.SECONDS)
    return Row(
        entries=(
            words(arm.arm.name),
            layers(arm.network.depth),
            *[measured(measure(arm, metric)) for metric in metrics],
            count(arm.arm.parameters),
            Entry(text=f"{arm.arm.multiply_adds / 1e6:,.1f}", value=arm.arm.multiply_adds),
            measured(seconds) if seconds.n else EMPTY,
        )
    )


def _arms_table(arms: Sequence[MeasuredArm]) -> Table:
    metrics, layouts = _metrics(arms), {arm.network.layout for arm in arms}
    layout: Layout = "imagenet" if layouts == {"imagenet"} else "cifar"
    columns = (
        Column(title="arm", numeric=False),
        Column(title="layers"),
        *[Column(title=f"{title(metric, layout)} % (n)") for metric in metrics],
        Column(title="parameters"),
        Column(title="multiply-adds, millions"),
        Column(title="seconds (n)"),
    )
    caption = "One row per arm. Mean ± sample standard deviation (seeds); multiply-adds of one image, forward."
    rows = tuple(_arm_row(arm, metrics) for arm in arms)
    notes = (TESTED,) if len(layouts) > 1 else ()
    return Table(id="arms", title="Every arm", caption=caption, columns=columns, rows=rows, notes=notes)


def generic(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """The study's own tables: depth against shortcut for every set of comparable arms, then one row per arm."""
    return (*[_pivot(pool, number) for number, pool in enumerate(pools(arms), start=1)], _arms_table(arms))
