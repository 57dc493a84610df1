"""Reports as text: the numbers of the tables, whoever reads them, and nothing that a name could make of them."""

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import DIGITS_DEVIATIONS, digits, imagenet_like, make_arm, make_run, make_runs, make_study, paper_like
from test_page import HOSTILE, hostile, unfinished

from models.spec import Network
from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.cells import Metric, measure
from reports.published import table_6
from reports.report import Report, numbers_of, report_of
from reports.texts import WRITERS
from reports.texts.latex import LETTERS
from reports.texts.latex import escaped as latex_escaped
from reports.texts.markdown import escaped as markdown_escaped
from reports.texts.tidy import COLUMNS, guarded

ABOUT = {"version": "0.1.0", "command": "ablate report digits-demo --format csv"}


Made = Callable[[], tuple[RecordedStudy, list[Run]]]


def report(made: Made = digits) -> Report:
    study, runs = made()
    return report_of(study, runs, ABOUT)


def frame(text: str) -> pandas.DataFrame:
    return pandas.read_csv(io.StringIO(text))


def records(made: Made, **where: str) -> list[dict[str, Any]]:
    """Lines of the CSV in which these columns hold this, as pandas reads them."""
    lines = [{str(name): value for name, value in each.items()} for each in _read(made)]
    return [each for each in lines if all(each[name] == value for name, value in where.items())]


def _read(made: Made) -> list[dict[Any, Any]]:
    return frame(WRITERS["csv"](report(made))).to_dict("records")


# Every format


@pytest.mark.parametrize("form", WRITERS)
def test_the_same_runs_give_the_same_text(form: str) -> None:
    """In whatever order they come."""
    study, runs = paper_like()
    assert WRITERS[form](report_of(study, runs, ABOUT)) == WRITERS[form](report_of(study, runs[::-1], ABOUT))


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like, unfinished])
def test_every_format_holds_every_verdict(form: str, made: Made) -> None:
    found = report(made)
    text = WRITERS[form](found)
    for each in found.verdicts:
        assert each.id in text.replace("\\_", "_")
    assert text.endswith("\n")


@pytest.mark.parametrize("form", ["md", "latex", "csv"])
def test_a_report_without_runs_says_why_cells_are_empty(form: str) -> None:
    study = make_study([make_arm(Network(depth=20, shortcut="A"))], tables=("table-6", "table", "table-99"))
    text = WRITERS[form](report_of(study, [], ABOUT))
    assert "not run" in text
    if form == "md":
        assert "The study asks for table table-99, which this version does not have." in text.replace("\\", "")


def test_numbers_of_a_verdict_name_chance_and_reason() -> None:
    first = report().verdicts[0]
    assert first.p is not None
    told = numbers_of(replace(first, p=0.0123, p_corrected=0.045, tested=9, reason="few seeds"))
    assert told == f"{first.statistic}; p = 0.012, 0.045 among 9 (Holm); few seeds; {first.measured}"
    assert "Holm" not in numbers_of(replace(first, p_corrected=None))
    assert "p = " not in numbers_of(replace(first, p=None))


# CSV


def test_one_read_csv_gives_the_measured_numbers() -> None:
    """Table 6: mean, spread, interval, the paper's value and the difference, as the table has them, with the runs."""
    lines = [each for each in records(paper_like, table="table-6", kind="measured") if "last test" in each["column"]]
    arms = {arm.network.depth: arm for arm in report(paper_like).arms if arm.network.shortcut == "A"}
    papers = {row.layers: row.comparable for row in table_6() if not row.quoted}
    assert len(lines) == len(papers) == 6
    for line in lines:
        depth = int(re.findall(r"\d+", line["row"])[-1])
        cell = measure(arms[depth], Metric.LAST_TEST)
        assert cell.mean is not None
        assert cell.interval is not None
        numbers = [line[name] for name in ("mean", "sd", "low", "high", "paper", "difference", "n")]
        known = [cell.mean, cell.sd, *cell.interval, papers[depth], cell.mean - papers[depth], cell.n]
        assert numbers == pytest.approx(known, abs=1e-6)
        assert line["runs"].split() == list(cell.keys)
        assert (line["unit"], line["recipe"]) == ("%", "the paper's")


def test_the_columns_are_the_documented_ones() -> None:
    assert list(frame(WRITERS["csv"](report())).columns) == list(COLUMNS)


def test_two_measurements_of_a_row_have_each_its_own_difference() -> None:
    """Table 3: top-1 is not compared with the top-5 that the paper prints beside it."""
    lines = [each for each in records(imagenet_like, table="table-3", kind="measured") if each["paper"] > 0]
    assert len(lines) == 14
    for line in lines:
        assert abs(line["difference"]) < 0.2
        assert line["mean"] - line["paper"] == pytest.approx(line["difference"], abs=1e-5)


def test_every_line_says_where_its_number_comes_from() -> None:
    sha256 = report().study.sha256
    for line in records(digits):
        assert (line["study"], line["study_sha256"], line["ablate"]) == ("digits-demo", sha256, "0.1.0")
    for line in records(digits, kind="measured"):
        assert line["commit"] == "0123456789abcdef0123456789abcdef01234567"
        assert line["versions"] == "python 3.11.2, torch 2.11.0"
        assert line["recipe"] == "; ".join(DIGITS_DEVIATIONS)


def test_seconds_are_seconds_and_the_quoted_are_quoted() -> None:
    assert {each["unit"] for each in records(paper_like, column="seconds (n)")} == {"s"}
    quoted = records(paper_like, kind="quoted")
    assert {each["row"] for each in quoted} >= {"Maxout", "NIN", "DSN"}
    assert all(pandas.isna(each["runs"]) for each in quoted)


def test_an_empty_cell_has_no_number_and_a_reason() -> None:
    empty = records(unfinished, table="table-6", kind="empty")
    assert empty
    for line in empty:
        assert pandas.isna(line["mean"])
        assert pandas.isna(line["value"])
        assert line["text"]


@given(st.text())
def test_no_field_is_a_formula(text: str) -> None:
    """What a spreadsheet would run begins with a `'`, and a guarded field is not guarded again."""
    found = guarded(text)
    assert found in (text, f"'{text}")
    if found.lstrip() and found.lstrip()[0] in "=+-@\t\r":
        float(found)
    assert guarded(found) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-3.5", "-3.5"), ("+7", "+7"), ("-x", "'-x"), ("\t=1", "'\t=1"),
     ("  =1", "'  =1"), ("plain", "plain"), ("", ""), ("-1-2", "'-1-2")],
)  # fmt: skip
def test_the_guard(text: str, found: str) -> None:
    assert guarded(text) == found


# Hostile names


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str) -> None:
    found = report_of(*hostile(name), {"version": name, "command": name})
    rows = list(csv.reader(io.StringIO(WRITERS["csv"](found))))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    for field in (field for row in rows for field in row):
        assert not re.match(r"[=+@\t\r]|-(?!\d+(\.\d+)?$)", field)
        assert not re.search("[\u202a-\u202e\u2028\u2029\x00-\x08]", field)
    assert "<" not in WRITERS["md"](found)
    assert "://" not in WRITERS["md"](found)
    unescaped = re.sub(r"\\[A-Za-z]+(\{\})?|\\.", "", WRITERS["latex"](found).replace("{!}{%\n", ""))
    assert not set(unescaped) & set("#%~^_")
    assert json.loads(WRITERS["json"](found))["study"]["name"] == name


def test_a_row_of_markdown_has_as_many_cells_as_its_head() -> None:
    for name in HOSTILE:
        text = WRITERS["md"](report_of(*hostile(f"a|b`{name}"), ABOUT))
        grids = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
        assert grids
        for grid in grids:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid}) == 1


@given(st.text())
def test_markdown_makes_nothing_of_a_text(text: str) -> None:
    found = markdown_escaped(text)
    assert "\n" not in found
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]|~]", found)
    assert not re.search(r"<|>|://|@", found)
    assert not re.match(r"#|[-+] |\d+[.)] ", found)


@given(st.text())
def test_latex_makes_nothing_of_a_text(text: str) -> None:
    """Braces balance, and what is left without known commands has no special character and prints anywhere."""
    found = latex_escaped(text)
    bare = re.sub(r"\$\\[a-z]+\$|\$-\$|\\text[a-z]+\{\}|\\ldots\{\}|\\hspace\{0pt\}|\\[{}$&#%_]", "", found)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not set(bare) & set("\\$&#%_^")
    assert all(each.isascii() or each in LETTERS for each in found)
    assert "--" not in bare or "–" in text
    assert not found.startswith(("[", "*"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50 % & _x_ #1 $2", "50 \\% \\& \\_x\\_ \\#1 \\$2"),
        ("a\\b{c}~^", "a\\textbackslash{}b\\{c\\}\\textasciitilde{}\\textasciicircum{}"),
        ("[3×3, 64] × 2", "{[}3$\\times$3, 64{]} $\\times$ 2"),
        ("−0.09 ± 0.1", "$-$0.09 $\\pm$ 0.1"),
        ("a--b", "a-{}-b"),
        ("中", "{[}U+4E2D{]}"),
        ("Müller", "Müller"),
        ("x" * 41, f"{'x' * 40}\\hspace{{0pt}}x"),
    ],
)
def test_latex_by_example(text: str, found: str) -> None:
    assert latex_escaped(text) == found


# LaTeX and Markdown


def test_latex_is_a_whole_document_with_a_table_each() -> None:
    found = report(paper_like)
    text = WRITERS["latex"](found)
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert begun[0] == ended[-1] == "document"
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == len(found.tables) + 1
    for name in ("booktabs", "longtable", "graphicx"):
        assert name in text
    body = text.split("\\begin{tabular}")[1]
    columns = len(found.tables[0].columns)
    rows = [line for line in body.split("\\midrule")[1].split("\\bottomrule")[0].splitlines() if line]
    assert len(rows) == len(found.tables[0].rows)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    assert "\\textit{Maxout}" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex (Debian: texlive-latex-recommended)")
@pytest.mark.parametrize("made", [digits, paper_like, unfinished, *[partial(hostile, name) for name in HOSTILE]])
def test_latex_compiles(tmp_path: Path, made: Made) -> None:
    (tmp_path / "report.tex").write_text(WRITERS["latex"](report(made)), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]


def test_a_long_table_runs_over_pages() -> None:
    arms = [make_arm(Network(depth=6 * n + 2), seeds=1) for n in range(1, 46)]
    text = WRITERS["latex"](report_of(make_study(arms), [make_run(arm, 0, test=9, train=1) for arm in arms], ABOUT))
    assert text.count("\\begin{longtable}") == 2  # depth against shortcut, and every arm
    assert "\\endhead" in text


def test_markdown_has_the_numbers_the_reasons_and_the_command() -> None:
    text = WRITERS["md"](report(unfinished))
    assert "| failed: CUDA out of memory |" in text
    assert "*Maxout*" in text
    assert "ablate report digits-demo --format csv" in text
    assert "Not the paper's recipe" in WRITERS["md"](report())
    assert "Not the paper's recipe" not in WRITERS["md"](report(paper_like))


# JSON


def test_json_names_the_runs_behind_every_number() -> None:
    data = json.loads(WRITERS["json"](report(paper_like)))
    assert (data["format"], data["kind"]) == (1, "report")
    runs = {each["key"] for each in data["runs"]}
    cells = [e["cell"] for t in data["tables"] for row in t["rows"] for e in row["entries"] if "cell" in e]
    assert len(cells) > 30
    for cell in cells:
        assert set(cell["runs"]) <= runs
        assert cell["n"] == len(cell["runs"]) == len(cell["values"])
    assert {each["verdict"] for each in data["claims"]} <= {"holds", "fails", "undecided"}
    assert data["provenance"]["study file, sha256"] == [data["study"]["sha256"]]
    assert all(each["attempts"] for each in data["runs"])


def test_json_has_no_nan() -> None:
    arm = make_arm(Network(depth=20), seeds=2)
    runs = [replace(run, result={**run.result, "last_test_error": math.nan}) for run in make_runs(arm, 9, 1)]
    data = json.loads(WRITERS["json"](report_of(make_study([arm]), runs, ABOUT)), parse_constant=pytest.fail)
    assert data["runs"][0]["result"]["last_test_error"] == "nan"


def test_the_writers_are_those_of_the_command_line() -> None:
    from ablations.cli.verbs.results import Format

    assert {"html", *WRITERS} == set(Format.__args__)
