"""Reports from a results directory that was copied to where neither Ray, torch nor MLflow is installed."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
from ledgers import write_ledger
from synthetic import digits, make_arm, make_run, make_runs, make_study, paper_like

from models.spec import Network
from orchestrator.runs import Outcome

WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "ray", "mlflow", "ffcv", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Refuse())
sys.argv[0] = "ablate"
from ablations.cli import main
main()
"""
"""The program where these packages are not installed."""
TRIAL = "digits-plain-20.s0"
ROOT = Path(__file__).parents[2]


def ablate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def good(folder: Path, *arguments: str) -> str:
    done = ablate(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def facts(folder: Path, *arguments: str) -> Any:
    return json.loads(good(folder, *arguments))


def refused(folder: Path, *arguments: str, code: int = 2) -> str:
    """The one line that says why; nothing was written."""
    before = tree(folder)
    done = ablate(folder, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert tree(folder) == before
    return done.stderr


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def fill(folder: Path) -> Path:
    """Two studies of which one is on its way; no study file, no data set."""
    write_ledger(folder / "results", *digits())
    study, runs = paper_like()
    write_ledger(folder / "results", replace(study, name="depth"), runs)
    return folder


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what only reads."""
    return fill(tmp_path_factory.mktemp("copied"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """For what writes."""
    write_ledger(tmp_path / "results", *digits())
    return tmp_path


# Formats --------------------------------------------------------------------------------------------------------------


def test_formats_are_printed_or_written(place: Path) -> None:
    """What `--to` writes is what is printed, but for the line that says where."""
    frame = pandas.read_csv(io.StringIO(good(place, "report", "digits-demo", "--format", "csv")))
    assert (frame.study == "digits-demo").all()
    for form, begins in (("csv", "table,row,column,value,"), ("md", "# Does depth"), ("latex", "\\documentclass"),
                         ("json", "{")):  # fmt: skip
        printed = good(place, "report", "digits-demo", "--format", form)
        assert printed.startswith(begins)
        said = good(place, "report", "digits-demo", "--format", form, "--to", f"new/folder/out.{form}")
        assert said == f"{form}: {place / f'new/folder/out.{form}'}\n"
        assert (place / f"new/folder/out.{form}").read_text() == printed
    assert sorted(path.name for path in (place / "new/folder").iterdir()) == [
        "out.csv", "out.json", "out.latex", "out.md",
    ]  # fmt: skip


def test_the_page_lies_in_the_results_or_where_it_is_asked_for(place: Path) -> None:
    assert good(place, "report", "digits-demo").startswith(
        f"page: {place / 'results/studies/digits-demo/report.html'}\n"
    )
    good(place, "report", "digits-demo", "--to", "page.html", "--format", "html")
    ours, there = (place / "page.html"), (place / "results/studies/digits-demo/report.html")
    assert ours.read_bytes() == there.read_bytes()


def test_the_command_that_makes_it_again_has_all_that_was_given(tmp_path: Path) -> None:
    given = ("report", "digits-depth", "--set", "recipe.iterations=60", "--seeds", "2", "--format", "md")
    assert f"- command: ablate {' '.join(given)}\n" in good(tmp_path, *given)


def test_a_report_can_be_written_to_what_is_no_file(place: Path) -> None:
    printed = good(place, "report", "digits-demo", "--format", "md", "--to", "/dev/stdout")
    assert printed.startswith("# Does depth")
    assert Path("/dev/stdout").is_symlink()


def test_a_study_on_its_way_is_reported(tmp_path: Path) -> None:
    arms = [make_arm(Network(depth=20), seeds=3), make_arm(Network(depth=56), seeds=3)]
    runs = [
        *make_runs(arms[0], 9, 1),
        make_run(arms[1], 0, test=9, train=1, outcome=Outcome.RUNNING, iteration=400),
    ]
    write_ledger(tmp_path / "results", make_study(arms, claims=["DEG-01"], name="half"), runs)
    assert "running: 400 of 64,000 iterations" in good(tmp_path, "report", "half", "--format", "md")
    assert "undecided DEG-01" in good(tmp_path, "check", "half")
    good(tmp_path, "report", "half")
    good(tmp_path, "report", "--all")
    assert "in part" in (tmp_path / "results/studies/index.html").read_text()


# All ------------------------------------------------------------------------------------------------------------------


def test_all_writes_the_index_every_study_and_every_trial_that_has_begun(tmp_path: Path) -> None:
    fill(tmp_path)
    said = good(tmp_path, "report", "--all")
    studies = tmp_path / "results" / "studies"
    assert said == f"page: {studies / 'index.html'}\n"
    assert {path.parent.name for path in studies.glob("*/report.html")} == {"digits-demo", "depth"}
    assert len(list((studies / "_trials").glob("*.html"))) == 103
    index = (studies / "index.html").read_text()
    assert 'href="depth/report.html#table-6"' in index
    assert 'href="_trials/' in index
    before = tree(studies)
    good(tmp_path, "report", "--all")
    assert tree(studies) == before, "the same runs give the same bytes"
    (trial,) = [text for text in before.values() if b'<h1 class="name">digits-plain-20.s0</h1>' in text]
    assert b'href="../index.html"' in trial
    assert b'href="../digits-demo/report.html#run-' in trial


def test_the_rows_of_a_study_lead_to_its_trials_and_to_mlflow(place: Path) -> None:
    """To pages of trials that were written, and to a server that was named; data sets have their fingerprints."""
    page = place / "results" / "studies" / "digits-demo" / "report.html"
    good(place, "report", "digits-demo")
    alone = page.read_text()
    assert "_trials/" not in alone
    assert f"sha256:{hashlib.sha256(b'digits').hexdigest()}" in alone
    good(place, "report", "--all")
    (key,) = re.findall(r'href="../_trials/([0-9a-f]+).html">digits-plain-20.s0<', page.read_text())
    assert (page.parent.parent / "_trials" / f"{key}.html").is_file()
    good(place, "report", "digits-demo", "--tracking", "http://127.0.0.1:5000", "--to", "a b/page.html")
    apart = (place / "a b" / "page.html").read_text()
    assert f'href="../results/studies/_trials/{key}.html"' in apart
    assert "<dd>http://127.0.0.1:5000</dd>" in apart


def test_all_goes_where_it_is_asked_to(place: Path) -> None:
    good(place, "report", "--all", "--to", "site/start.html")
    assert {path.name for path in (place / "site").iterdir()} == {"start.html", "digits-demo", "_trials"}
    assert 'href="digits-demo/report.html"' in (place / "site/start.html").read_text()
    assert not (place / "results/studies/index.html").exists()


def test_a_damaged_record_is_named_and_the_others_go_on(place: Path) -> None:
    """So is one of a newer version; the exit code says that something was left out."""
    for name, text in (("broken", "{"), ("newer", '{"format": 99}')):
        (place / "results/studies" / name).mkdir()
        (place / "results/studies" / name / "study.json").write_text(text)
    done = ablate(place, "report", "--all")
    assert done.returncode == 5
    broken, newer = done.stderr.splitlines()
    assert broken.startswith("error: results/studies/broken/study.json: damaged")
    assert newer == "error: results/studies/newer/study.json: format 99 is newer than 1; update Ablate"
    index = (place / "results/studies/index.html").read_text()
    assert "broken/study.json: damaged" in index
    assert "digits-demo" in index
    assert refused(place, "report", "newer", "--format", "md", code=5) == newer + "\n"


def test_a_damaged_trial_is_a_note_and_not_the_end(place: Path) -> None:
    key = facts(place, "show", TRIAL, "--json")["key"]
    (place / "results/trials" / key / "commit.json").write_text("{")
    good(place, "report", "--all")
    assert "commit.json: damaged" in (place / f"results/studies/_trials/{key}.html").read_text()


@pytest.mark.parametrize("text", ["{", '{"key": "KEY", "params": {}}'])
def test_a_damaged_trial_is_in_no_others_way(place: Path, text: str) -> None:
    """Who names it is told."""
    key = facts(place, "show", "digits-plain-56.s0", "--json")["key"]
    (place / "results/trials" / key / "trial.json").write_text(text.replace("KEY", key))
    assert TRIAL in good(place, "show", TRIAL)
    assert f"{key}/trial.json: damaged" in refused(place, "show", key, code=5)
    assert "no difference" in good(place, "diff", TRIAL, TRIAL)
    assert f"{key}/trial.json: damaged" in refused(place, "show", "digits-plain-56.s0", code=5)


# One trial ------------------------------------------------------------------------------------------------------------


def test_show_writes_a_page_by_name_or_key(place: Path) -> None:
    key = facts(place, "show", TRIAL, "--json")["key"]
    assert TRIAL in good(place, "show", TRIAL)
    assert good(place, "show", TRIAL, "--html") == f"page: {place / f'results/studies/_trials/{key}.html'}\n"
    good(place, "show", key[:8], "--html", "--to", "trial.html")
    page = (place / "trial.html").read_text()
    assert TRIAL in page
    assert "report.html" not in page, "no page of the study was written"
    good(place, "report", "digits-demo")
    good(place, "show", key, "--html", "--to", "trial.html")
    assert f'href="results/studies/digits-demo/report.html#run-{key}"' in (place / "trial.html").read_text()


# Differences ----------------------------------------------------------------------------------------------------------


def test_trials_arms_and_studies(filled: Path) -> None:
    seeds = facts(filled, "diff", TRIAL, "digits-plain-20.s1", "--json")["changes"]
    assert seeds == [{"part": "trial", "name": "seed", "a": "0", "b": "1"}]
    found = facts(filled, "diff", TRIAL, "digits-plain-56.s0", "--json")
    assert (found["kind"], found["same_key"]) == ("trials", False)
    assert {(each["part"], each["name"], each["a"], each["b"]) for each in found["changes"]} == {
        ("network", "depth", "20", "56")
    }
    text = good(filled, "diff", "digits-plain-20", "digits-plain-56")
    assert "+81.21 ± 1.87" in text
    assert facts(filled, "diff", "digits-demo", "depth", "--json")["kind"] == "studies"


def test_the_same_trial_of_two_directories(place: Path, filled: Path) -> None:
    """Equal but for one curve: the first iteration at which they part is named."""
    assert "no difference" in good(place, "diff", TRIAL, TRIAL, "--results-b", str(filled / "results"))
    study, runs = digits()
    curve = runs[0].curves["test_error"]
    values = (*curve.values[:4], curve.values[4] + 1, *curve.values[5:])
    changed = replace(runs[0], curves={**runs[0].curves, "test_error": replace(curve, values=values)})
    write_ledger(place / "other", study, [changed])
    found = good(place, "diff", TRIAL, TRIAL, "--results-b", "other")
    assert f"one key, but test_error parts at iteration {curve.iterations[4]}: " in found
    assert "one key, and equal in all that both have: train_error (30 points each)" in found
    assert "B-A" in found


def test_an_arm_of_several_studies(tmp_path: Path) -> None:
    """Under one recipe its seeds are joined; under unlike ones the study is to be named."""
    arm = make_arm(Network(depth=20), seeds=2)
    more = make_arm(Network(depth=20), seeds=3)
    other = make_arm(Network(depth=20), {**arm.recipe, "lr": 0.3}, seeds=2)
    runs = make_runs(more, 9, 1)
    write_ledger(tmp_path / "results", make_study([arm], name="two"), [])
    write_ledger(tmp_path / "results", make_study([more], name="three"), runs)
    found = facts(tmp_path, "diff", "two/cifar10-plain-20", "three/cifar10-plain-20", "--json")
    assert [(each["name"], each["a"], each["b"]) for each in found["changes"]] == [("seeds", "0, 1", "0, 1, 2")]
    assert {each["n_a"] for each in facts(tmp_path, "diff", *["cifar10-plain-20"] * 2, "--json")["gaps"]} == {3}
    write_ledger(tmp_path / "results", make_study([other], name="other"), [])
    assert refused(tmp_path, "diff", "cifar10-plain-20", "cifar10-plain-20") == (
        "error: results: cifar10-plain-20 has another recipe in each of several studies; give other/cifar10-plain-20 or"
        " three/cifar10-plain-20 or two/cifar10-plain-20\n"
    )
    found = facts(tmp_path, "diff", "two/cifar10-plain-20", "other/cifar10-plain-20", "--json")
    assert ("recipe", "lr") in {(each["part"], each["name"]) for each in found["changes"]}


# Refusals -------------------------------------------------------------------------------------------------------------

WRONG: Mapping[str, tuple[tuple[str, ...], str]] = {
    "an unknown format": (("report", "digits-demo", "--format", "pdf"), "'pdf' is not one of 'html', 'md', 'csv'"),
    "a folder as file": (("report", "digits-demo", "--to", "."), "--to .: is a directory; name a file in it"),
    "a folder for all": (("report", "--all", "--to", "results"), "--to results: is a directory"),
    "a file as folder": (
        ("report", "digits-demo", "--to", "file/page.html"),
        "file is a file, not a directory; name another",
    ),
    "nothing": (("report",), "name one (`ablate studies` lists those that ship), or give --all"),
    "all and a study": (("report", "digits-demo", "--all"), "--all with digits-demo: --all writes the pages of every"),
    "all and a format": (("report", "--all", "--format", "md"), "--all with --format md: "),
    "all and a value": (("report", "--all", "--set", "recipe.lr=1"), "--all with --set: "),
    "all and seeds": (("report", "--all", "--seeds", "3"), "--all with --seeds: "),
    "all of nothing": (("report", "--all", "--results", "none"), "none: no study was run into it; `ablate run STUDY`"),
    "an unknown study": (("report", "digits-dem", "--format", "md"), "digits-dem"),
    "a page and facts": (("show", TRIAL, "--html", "--json"), "--json and --html: give one of them"),
    "a place without a page": (("show", TRIAL, "--to", "x.html"), "--to x.html: is where --html writes"),
    "a page into a folder": (("show", TRIAL, "--html", "--to", "results"), "--to results: is a directory"),
    "an unknown trial": (("show", "digits-plain-20.s9", "--html"), "no trial 'digits-plain-20.s9'"),
    "an unknown side": (("diff", "digits-plain-2", "digits-plain-20"), "no study, arm or trial 'digits-plain-2'; did"),
    "an unknown other side": (("diff", "digits-plain-20", "depht"), "no study, arm or trial 'depht'; did you mean"),
    "two kinds": (
        ("diff", "digits-demo", "digits-plain-20"),
        "digits-demo is a study and digits-plain-20 an arm; give",
    ),
    "a trial that has not begun": (("diff", TRIAL, "late-arm.s0"), "late-arm.s0: has not begun"),
    "another place": (("diff", TRIAL, TRIAL, "--results-b", "file"), "--results-b file: is a file, not a directory"),
    "an empty other place": (("diff", TRIAL, TRIAL, "--results-b", "none"), f"none: no trial '{TRIAL}'"),
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fill(tmp_path_factory.mktemp("wrong"))
    (folder / "file").write_text("")
    late = make_arm(Network(depth=20), name="late-arm", seeds=1)
    write_ledger(folder / "results", make_study([late], name="late"), [])
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused_is_refused_in_one_line(wrong: Path, case: str) -> None:
    arguments, said = WRONG[case]
    assert said in refused(wrong, *arguments)
