"""Which arms may stand side by side, and that no two of them, and no two sets of them, read alike."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from synthetic import (
    CIFAR_RECIPE,
    DIGITS_DEVIATIONS,
    DIGITS_RECIPE,
    IMAGENET_RECIPE,
    imagenet,
    make_arm,
    make_runs,
    make_study,
)

from models.spec import Network
from orchestrator.runs import Curve, Run
from orchestrator.studies import RecordedArm
from reports.arms import MeasuredArm, Pool, families, gather, pools
from reports.claims import judge
from reports.figures import FIGURES
from reports.tables import TABLES

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"width": 8},
    {"stride": "3x3"},
    {"init": "fan_in"},
    {"padding": "split"},
    {"block_layers": 1},
    {"grown_from": 8},
    {"init": "fan_in", "grown_from": 8},
)


def digits(depth: int = 20, shortcut: Any = "A", recipe: Any = DIGITS_RECIPE, **options: Any) -> RecordedArm:
    network = Network(data="digits", depth=depth, shortcut=shortcut, channels=1, size=8, **options)
    more = [f"{name} {value} (paper other)" for name, value in options.items()]
    return make_arm(network, recipe, seeds=3, deviations=(*DIGITS_DEVIATIONS, *more))


def measured(*arms: RecordedArm) -> tuple[MeasuredArm, ...]:
    return gather(make_study(arms), [])


@pytest.mark.parametrize(
    ("network", "label"),
    [
        (Network(depth=56), "plain-56"),
        (Network(depth=56, shortcut="A", padding="split"), "ResNet-56 A split"),
        (Network(depth=56, grown_from=20), "plain-56 from 20"),
        (Network(depth=20, shortcut="A", block_layers=1), "ResNet-20 A one-layer"),
        (Network(depth=20, shortcut="B", width=8, init="fan_in"), "ResNet-20 B w8 fan_in"),
    ],
)
def test_a_label_names_the_departures(network: Network, label: str) -> None:
    assert measured(make_arm(network))[0].label == label


def test_no_two_variants_read_alike() -> None:
    """Not in what their lines, verdicts and captions call them."""
    arms = measured(*[digits(**options) for options in VARIANTS])
    assert len({arm.label for arm in arms}) == len({arm.arm.name for arm in arms}) == len(VARIANTS)


def titles(*arms: RecordedArm) -> list[str]:
    return [pool.title for pool in pools(measured(*arms))]


def test_sets_of_arms_are_told_apart_by_what_they_do_not_share() -> None:
    """Where the title alone would not do it; the set without anything of its own keeps the plain title."""
    base = "measured on digits, 150 iterations"
    assert titles(digits(), digits(32)) == [base]
    assert titles(digits(), digits(padding="split")) == [base, f"{base}, padding split (paper other)"]
    assert len(set(titles(*[digits(**options) for options in VARIANTS]))) == len(VARIANTS)


def test_sets_that_differ_in_what_departs_from_nothing_are_told_apart() -> None:
    """How often something was recorded is no departure from the paper, and yet another recipe."""
    often = {**DIGITS_RECIPE, "record_every": 1}
    assert titles(digits(), digits(recipe=often)) == [
        "measured on digits, 150 iterations, record_every 5",
        "measured on digits, 150 iterations, record_every 1",
    ]


def test_two_departures_beside_the_one_in_the_title() -> None:
    """It is said once."""
    fast, slow = ({**CIFAR_RECIPE, "lr": lr} for lr in (1.0, 0.01))
    network, wide = Network(depth=20, width=8), "width 8 (paper 16)"
    arms = [make_arm(network, recipe, deviations=(wide, f"lr {recipe['lr']}")) for recipe in (fast, slow)]
    base = "measured on cifar10, 64,000 iterations, width 8 (paper 16)"
    assert titles(*arms) == [f"{base}, lr 1.0", f"{base}, lr 0.01"]


def test_a_record_without_the_new_fields_is_comparable_with_one_that_has_them() -> None:
    """They are at their default there."""
    old = digits(20)
    old = replace(old, network={name: old.network[name] for name in ("data", "depth", "shortcut", "channels", "size")})
    found = pools(measured(old, digits(32), digits(44, block_layers=1)))
    assert [[arm.network.depth for arm in pool.arms] for pool in found] == [[20, 32], [44]]


def test_a_field_that_this_version_does_not_know_sets_apart() -> None:
    """A newer version wrote it; that it is unknown does not make it nothing."""
    arm = digits(32)
    found = pools(measured(digits(20), replace(arm, network={**arm.network, "attention": True})))
    assert len(found) == 2
    assert found[0].title != found[1].title


def test_a_family_is_an_arm_beside_its_variants() -> None:
    """Of one data set and one recipe; the variant is asked for by name."""
    paper, split = Network(depth=20, shortcut="A"), Network(depth=20, shortcut="A", padding="split")
    short = {**CIFAR_RECIPE, "iterations": 2000}
    family, other = families(
        measured(
            make_arm(split, deviations=["padding split"]),
            make_arm(paper),
            make_arm(paper, short, deviations=["iterations 2000"], name="short"),
        )
    )
    assert [_name(family, variant) for variant in (None, "", "split", "average")] == [
        split.name, paper.name, split.name, None,
    ]  # fmt: skip
    assert [arm.arm.name for arm in other.arms] == ["short"]


def _name(pool: Pool, variant: str | None) -> str | None:
    arm = pool.find("A", 20, variant)
    return arm.arm.name if arm else None


def _with_curves(arm: RecordedArm, end: float) -> list[Run]:
    curve = Curve(metric="test_error", iterations=(75, 150), values=(50.0, end))
    return [replace(run, curves={"test_error": curve}) for run in make_runs(arm, end, end)]


def test_on_the_page_no_two_arms_and_no_two_tables_read_alike() -> None:
    """Captions of tables, lines of figures, their titles, the rows of arms, the words of a verdict."""
    recorded = [digits(**options) for options in VARIANTS]
    runs = [run for number, arm in enumerate(recorded) for run in _with_curves(arm, 5.0 + number)]
    arms = gather(make_study(recorded), runs)
    *pivots, every = TABLES["table"](arms)
    figures = FIGURES["curves"](arms)
    assert len(figures) == 1  # so many sets of arms are drawn together
    for texts in (
        [table.caption for table in pivots],
        [line.label for figure in figures for panel in figure.panels for line in panel.lines],
        [row.entries[0].text for row in every.rows],
    ):
        assert len(texts) == len(set(texts)) == len(VARIANTS)
    study = make_study(recorded, claims=[{"id": "own", "say": "test_error(A, 20, split) < 1"}])
    assert judge(study, runs)[0].statistic.startswith("ResNet-20 A split 9.00 (3)")
    few = FIGURES["curves"](arms[:2])
    assert all((one.title, one.caption) != (other.title, other.caption) for one, other in combinations(few, 2))
    assert len(few) == 2


def test_the_papers_arms_on_two_data_sets_are_told_apart() -> None:
    """Both are the paper's recipe; alone, neither needs the name of its data."""
    cifar, photographs = make_arm(Network(depth=20)), make_arm(imagenet(18, "none"), IMAGENET_RECIPE)
    assert [pool.title for pool in pools(gather(make_study([cifar]), []))] == ["measured, the paper's recipe"]
    assert [pool.title for pool in pools(gather(make_study([cifar, photographs]), []))] == [
        "measured, the paper's recipe, cifar10",
        "measured, the paper's recipe, imagenet",
    ]
