"""Table 5: ensembles, whose softmax outputs are averaged."""

from collections.abc import Sequence

from orchestrator.predictions import MULTI_SCALE
from reports.arms import MeasuredArm, Pool, pools
from reports.cells import TOP, Metric, measure
from reports.ensembles import Ensemble, Member, bootstrap, ensemble
from reports.published import ImageNetRow, table_5
from reports.tables.beside import NOT_ASKED, PAPER_GROUP, PAPER_RECIPE, deviation_note, heading, papers
from reports.tables.entries import EMPTY, Column, Entry, Row, Table, absent, printed, words

TITLES = (
    "trials",
    "top-5 error %, validation",
    "top-1 error %, validation",
    "best trial's top-5 %",
    "difference to it",
)


def _votes(pool: Pool) -> Ensemble:
    return ensemble([run for arm in pool.arms for run in arm.finished], MULTI_SCALE)


def _percent(value: float, note: str = "") -> Entry:
    return Entry(text=f"{value:.2f}", value=value, note=note, unit="%")


def _best(members: Sequence[Member]) -> Member:
    return min(members, key=lambda each: (each.top5, each.name))


def _entries(pool: Pool, made: Ensemble) -> tuple[Entry, ...]:
    if made.predictions is None:
        return (absent(_reason(pool, made)), *[EMPTY] * (len(TITLES) - 1))
    best, note = _best(made.members), "; ".join(made.absent)
    trials = Entry(text=str(len(made.members)), value=len(made.members), note=note)
    if (classes := _classes(made)) <= TOP:
        return (trials, absent(f"no top-5 error: {classes} classes"), _percent(made.predictions.error()), EMPTY, EMPTY)
    gap = bootstrap(made.predictions.wrong(TOP), best.wrong_top5)
    return (
        trials,
        _percent(made.predictions.error(TOP)),
        _percent(made.predictions.error()),
        _percent(best.top5, best.name),
        Entry(text=str(gap), value=gap.value, note="95 % interval, resampled over images", unit="points"),
    )


def _classes(made: Ensemble) -> int:
    return made.predictions.probabilities.shape[1] if made.predictions else 0


def _reason(pool: Pool, made: Ensemble) -> str:
    """Why there is nobody to vote."""
    if made.absent:
        return "; ".join(made.absent)
    reasons = {measure(arm, Metric.LAST_MULTI_SCALE_TOP5).reason for arm in pool.arms}
    return reasons.pop() if len(reasons) == 1 and "" not in reasons else f"no trial kept {MULTI_SCALE}"


def _told(pool: Pool, made: Ensemble) -> list[str]:
    """Who voted, and who could not."""
    if not made.members:
        return []
    known = _classes(made) > TOP
    listed = ", ".join(f"{each.name} ({each.top5:.2f})" if known else each.name for each in made.members)
    plural = "trial" if len(made.members) == 1 else "trials"
    lost = [f"Without a vote: {'; '.join(made.absent)}."] if made.absent else []
    return [
        f"{heading(pool)}: {len(made.members)} {plural}{', top-5 error % of each' if known else ''}: {listed}.",
        *lost,
    ]


def _row(row: ImageNetRow, made: Sequence[tuple[Pool, Ensemble]], *, asked: bool) -> Row:
    ours: list[Entry] = [] if asked else [EMPTY if row.quoted else absent(NOT_ASKED), *[EMPTY] * (len(TITLES) - 1)]
    for pool, each in made:
        ours += [EMPTY] * len(TITLES) if row.quoted else _entries(pool, each)
    paper = printed(row.top5, float(row.top5), row.members or row.origin, "%")
    return Row(entries=(words(row.method), paper, *ours), quoted=row.quoted)


def table_5_of(arms: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """All trials of the study that kept their multi-scale predictions, as one classifier.

    The paper's is measured on the test server, this one on the validation set: no difference is taken.
    """
    paper = papers(arms, "imagenet")
    beside = [pool for pool in pools(arms) if not pool.paper and pool.layout == "imagenet"]
    made = [
        *([(paper, _votes(paper))] if paper else []),
        *[(pool, votes) for pool in beside if (votes := _votes(pool)).seen],
    ]
    groups = [PAPER_RECIPE, *[heading(pool) for pool, _ in made if pool is not paper]]
    columns = (
        Column(title="method", group=PAPER_GROUP, numeric=False),
        Column(title="top-5 error %, test server", group=PAPER_GROUP),
        *[Column(title=title, group=group) for group in groups for title in TITLES],
    )
    notes = (
        "The paper's ensemble is of six models of different depth, two of them with 152 layers; its error is from the "
        "test server. What is measured here is on the validation set: a number of another kind, so no difference to "
        "the paper's is taken.",
        "Every finished trial that kept its multi-scale predictions has a vote; their softmax outputs are averaged. "
        "The difference to the best trial is over the same images, with its 95 % interval from 10,000 paired resamples "
        "of them; the best is chosen with these images.",
        *[note for pool, each in made for note in _told(pool, each)],
        "Rows set in italics are quoted by the paper from other work and were not trained here.",
        *[deviation_note(pool) for pool, _ in made if pool is not paper],
    )
    caption = "Error of ensembles on ImageNet, percent."
    rows = tuple(_row(row, made, asked=paper is not None) for row in table_5())
    return (Table(id="table-5", title="Table 5", caption=caption, columns=columns, rows=rows, notes=notes),)
