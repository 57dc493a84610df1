"""Table 6 and Figures 1 and 6, rebuilt from a ledger of the paper's numbers, are the paper's to the digit.

Where the numbers are bent, those claims flip that speak of them, and no other.
"""

import tempfile
from pathlib import Path

import pytest
from ledgers import write_ledger
from printed import Bend, Key, digitised, printed

from models.spec import Shortcut
from orchestrator.ledger import Ledger
from orchestrator.runs import Run, read_runs
from orchestrator.studies import RecordedStudy, read_study
from reports.arms import gather
from reports.claims import judge
from reports.figures import FIGURES
from reports.published import table_6
from reports.tables import TABLES
from reports.verdicts import Answer

CLAIMS = (
    "DEG-01", "DEG-02", "DEG-03", "DEG-04", "DEG-05", "RES-06", "RES-07", "RES-08", "RES-09", "RES-11", "RES-12",
    "RES-13", "RES-15", "SC-06", "PAP-02", "PAP-04",
)  # fmt: skip


def from_ledger(bend: Bend | None = None) -> tuple[RecordedStudy, list[Run]]:
    """Written as a results directory, and read back as a report does."""
    with tempfile.TemporaryDirectory() as folder:
        write_ledger(Path(folder), *printed(bend, claims=CLAIMS))
        study = read_study(Path(folder), "printed")
        return study, read_runs(study, Ledger(Path(folder)))


@pytest.fixture(scope="module")
def paper() -> tuple[RecordedStudy, list[Run]]:
    return from_ledger()


def test_table_6_is_the_papers_to_the_digit(paper: tuple[RecordedStudy, list[Run]]):
    (table,) = TABLES["table-6"](gather(*paper))
    last = next(n for n, column in enumerate(table.columns) if column.title.startswith("last test error"))
    for row, known in zip(table.rows, table_6(), strict=True):
        if known.quoted:
            continue
        cell = row.entries[last].cell
        assert cell is not None
        if known.mean:
            assert (f"{cell.mean:.2f}", f"{cell.sd:.2f}", f"{min(cell.values):.2f}") == (
                known.mean, known.std, known.error,
            )  # fmt: skip
        else:
            assert f"{cell.mean:.2f}" == known.error
        assert (cell.n, len(cell.keys)) == (5, 5)


@pytest.mark.parametrize("figure", ["figure-6", "figure-1"])
def test_the_medians_of_a_figure_are_the_digitised_curves(paper: tuple[RecordedStudy, list[Run]], figure: str):
    """At every point that was read off; the overlay of the paper stands on them."""
    names: dict[str, Shortcut] = {"plain": "none", "resnet": "A"}
    (drawn,) = [each for each in FIGURES[figure](gather(*paper)) if not each.title.startswith("The panels")]
    lines = [line for panel in drawn.panels for line in panel.lines if not line.paper]
    assert lines
    for line in lines:
        shortcut = names[line.arm.split("-")[1]]
        known = digitised(shortcut, line.depth, line.metric)
        measured = dict(zip(line.x, line.median, strict=True))
        assert measured == pytest.approx(known, abs=1e-9)


def test_over_the_papers_numbers_every_claim_holds(paper: tuple[RecordedStudy, list[Run]]):
    assert {each.id: each.verdict for each in judge(*paper)} == dict.fromkeys(CLAIMS, Answer.HOLDS)


PLAIN: list[Key] = [("none", depth) for depth in (20, 32, 44, 56, 110)]
RESNET: list[Key] = [("A", depth) for depth in (20, 32, 44, 56, 110, 1202)]
P20, P32, P44, P56, P110 = PLAIN
R20, R32, R44, R56, R110, R1202 = RESNET
EVERY_PLAIN = dict.fromkeys(PLAIN[:4], (1.0, 1.0))
EVERY_RESNET = dict.fromkeys(RESNET, (-0.3, 0.0))
FLIPS: tuple[tuple[str, Bend, str], ...] = (
    ("56 is 0.6 above 20 in test: the rule asks for 1 point", {P56: (-3.0, 0)}, "DEG-02 fails"),
    ("56 as good as 20 in test", {P56: (-3.58, 0)}, "DEG-02 fails, DEG-05 undecided"),
    ("56 better than 20 in test", {P56: (-4.5, 0)}, "DEG-02 fails, DEG-05 fails"),
    ("56 is 0.6 above 20 in training", {P56: (0, -4.0)}, "DEG-01 fails, DEG-03 fails, DEG-05 fails"),
    ("56 better than 20 in training", {P56: (0, -5.0)}, "DEG-01 fails, DEG-03 fails, DEG-05 fails"),
    ("20 worse than 56 in test", {P20: (4, 0)}, "DEG-02 fails, DEG-05 fails"),
    ("20 worse than 56 in training", {P20: (0, 5)}, "DEG-01 fails, DEG-03 fails, DEG-05 fails"),
    ("44 better than 20 in training", {P44: (0, -2)}, "DEG-03 fails"),
    ("44 just below 56 in training", {P44: (0, 3)}, ""),
    ("44 above 56 in training", {P44: (0, 6)}, "DEG-03 fails"),
    ("32 against 20 is reported, not decided", {P32: (0, 0.5)}, ""),
    ("plain-32 just above its residual twin", {P32: (-2.5, 0)}, ""),
    ("plain-32 better than its residual twin", {P32: (-4, 0)}, "RES-09 fails"),
    ("plain-110 trains", {P110: (-20, -20)}, "DEG-04 fails"),
    ("plain-110 just fails", {P110: (-13.9, 0)}, ""),
    ("all plain networks a point worse", EVERY_PLAIN, ""),
    ("ResNet-20 as good as 32", {R20: (-1.24, 0)}, "RES-06 undecided"),
    ("ResNet-20 better than 32", {R20: (-2, 0)}, "RES-06 fails"),
    ("ResNet-20 worse than plain in test", {R20: (1.5, 0)}, "RES-09 fails"),
    ("ResNet-20 worse than plain in training", {R20: (0, 1.5)}, "RES-08 fails"),
    ("ResNet-32 worse than 20", {R32: (1.5, 0)}, "RES-06 fails"),
    ("ResNet-32 worse than 20 and than plain", {R32: (3, 0)}, "RES-06 fails, RES-09 fails"),
    ("ResNet-32 trains worse than 20 and than plain", {R32: (0, 1.5)}, "RES-07 fails, RES-08 fails"),
    ("ResNet-44 trains worse than 32", {R44: (0, 0.5)}, "RES-07 fails"),
    ("ResNet-44 breaks the trend, which adjacent pairs do not decide", {R44: (2, 0)}, "RES-06 undecided"),
    ("ResNet-56 as good as 110", {R56: (-0.36, 0)}, "RES-06 undecided"),
    ("ResNet-56 better than 110", {R56: (-0.6, 0)}, "RES-06 fails"),
    ("ResNet-56 trains worse than 44", {R56: (0, 0.2)}, "RES-07 fails"),
    ("ResNet-56 worse than plain in test", {R56: (8, 0)}, "RES-06 fails, RES-09 fails"),
    ("ResNet-56 worse than plain in training", {R56: (0, 6)}, "RES-07 fails, RES-08 fails"),
    ("ResNet-56 at chance", {R56: (0, 90)}, "RES-07 fails, RES-08 fails, RES-15 fails"),
    ("ResNet-110 as good as 56", {R110: (0.4, 0)}, "RES-06 undecided, PAP-04 fails"),
    ("ResNet-110 above Highway-19", {R110: (1.2, 0)}, "RES-06 fails, RES-13 undecided, PAP-02 fails, PAP-04 fails"),
    ("ResNet-110 above 1202", {R110: (2, 0)}, "RES-06 fails, RES-13 fails, PAP-02 fails, PAP-04 fails"),
    ("ResNet-110 better than printed", {R110: (-0.35, 0)}, "PAP-04 fails"),
    ("ResNet-110 trains worse", {R110: (0, 0.3)}, "RES-07 fails, RES-12 fails"),
    ("ResNet-1202 as good as 110", {R1202: (-1.32, 0)}, "RES-13 undecided"),
    ("ResNet-1202 better than 110", {R1202: (-2, 0)}, "RES-13 fails"),
    ("ResNet-1202 above 0.1 % in training", {R1202: (0, 0.1)}, "RES-11 fails"),
    ("ResNet-1202 trains worse than 110", {R1202: (0, 0.3)}, "RES-11 fails, RES-12 fails"),
    ("ResNet-1202 at chance", {R1202: (0, 91)}, "RES-11 fails, RES-12 fails, RES-15 fails"),
    ("all residual networks 0.3 better", EVERY_RESNET, ""),
)
"""What is bent by how many points of test and training error, and which claims it flips; no other does."""


@pytest.mark.parametrize(("what", "bend", "flips"), FLIPS, ids=[what for what, _, _ in FLIPS])
def test_bent_numbers_flip_the_claims_that_speak_of_them_and_no_other(what: str, bend: Bend, flips: str):
    expected = dict.fromkeys(CLAIMS, "holds") | dict(each.split() for each in flips.split(", ") if each)
    assert {each.id: each.verdict.value for each in judge(*from_ledger(bend))} == expected
