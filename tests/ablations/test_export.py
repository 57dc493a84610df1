"""A study as one file: its trials run where only PyTorch is, and what they leave is taken up as if it were run here."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations import export, keys, trial
from ablations.data import digits
from ablations.data.images import DataError, fingerprint
from ablations.data.load import load as load_images
from ablations.data.load import prepare
from ablations.export import Export, ExportError
from ablations.study import load
from ablations.trials import recorded, trials
from models.spec import Network
from orchestrator.ledger import Ledger
from orchestrator.runs import read_runs
from orchestrator.studies import read_study

ROOT = Path(__file__).parents[2]
ABLATE = Path(sys.executable).with_name("ablate")
SHORT = ["recipe.iterations=6", "recipe.record_every=3", "recipe.evaluate_every=3"]
SET = [word for value in SHORT for word in ("--set", value)]
ARM = ("--arm", "digits-resnet-20-A", "--seed", "1", "--device", "cpu")

ONLY_PYTORCH = """
import runpy, sys

ABSENT = {"pydantic", "pydantic_core", "annotated_types", "yaml", "typer", "click", "rich", "ray", "mlflow", "sklearn",
          "pandas", "scipy", "psutil", "plotly", "jinja2"}

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
runpy.run_module("ablations.trial", run_name="__main__", alter_sys=True)
"""


def bare(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m ablations.trial` on a machine that has only PyTorch, torchvision, NumPy and Pillow."""
    command = [sys.executable, "-c", ONLY_PYTORCH, *map(str, arguments)]
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240)


def ablate(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"}
    command = [ABLATE, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The demonstration, shortened, as a file."""
    loaded = load("digits-depth", overrides=SHORT)
    export.write(tmp_path / "out" / "study.json", Export(study=recorded(loaded), trials=trials(loaded)))
    return tmp_path / "out" / "study.json"


Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(results: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The trial's command in this process: exit code, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = trial.main([*map(str, arguments), "--results", str(results)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_trial_with_only_pytorch_is_taken_up_elsewhere(tmp_path: Path) -> None:
    """Exported with its data, run on a bare machine, its results copied back: status, publish and report know it."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    done = ablate(here, "export", "digits-depth", *SET, "--seeds", "2", "--to", "study.json", "--data-to", "arrays")
    assert (done.returncode, done.stderr) == (0, "")
    assert "study.json: 32 trials\n" in done.stdout
    shutil.copytree(here / "arrays", there / "results" / "data")
    shutil.copy(here / "study.json", there / "study.json")
    for _ in ("trained", "found done"):
        ended = bare(there / "study.json", *ARM, "--results", there / "results")
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert ended.stdout.startswith("done: digits-resnet-20-A.s1, ")
    shutil.copytree(there / "results", here / "results")
    ledger = Ledger(here / "results")
    study = read_study(here / "results", "digits-depth")
    (run,) = [each for each in read_runs(study, ledger) if each.iteration]
    assert list(study.overrides) == [*SHORT, "seeds=2"]
    assert (run.name, run.outcome, len(run.attempts)) == ("digits-resnet-20-A.s1", "finished", 1)
    asked = next(each for each in trials(load("digits-depth", overrides=SHORT)) if each.key == run.key)
    with Ledger(tmp_path / "twin").attempt(asked, provenance={}, commit_seconds=1e9) as attempt:
        trial.run(asked.params, attempt, data="nowhere")
    folders = [each.folder(run.key).path for each in (ledger, Ledger(tmp_path / "twin"))]
    assert len({(folder / "curves.jsonl").read_bytes() for folder in folders}) == 1
    status = json.loads(ablate(here, "status", "digits-depth", "--json").stdout)
    assert [each["name"] for each in status["trials"] if each["outcome"] == "finished"] == [run.name]
    published = ablate(here, "publish", "digits-depth")
    assert (published.returncode, published.stdout) == (0, "1 runs brought up to date\n"), published.stderr
    report = ablate(here, "report", "digits-depth", "--to", "page.html")
    assert report.returncode == 0, report.stderr
    assert "digits-resnet-20-A" in (here / "page.html").read_text(encoding="utf-8")


def test_what_is_missing_on_a_bare_machine_is_one_line(exported: Path, tmp_path: Path) -> None:
    """A study file cannot be read there, and the images of scikit-learn are not there; each line says what to do."""
    unread = bare("digits-depth", *ARM, "--results", tmp_path / "results")
    assert (unread.returncode, unread.stdout, unread.stderr.count("\n")) == (4, "", 1)
    assert unread.stderr.startswith("error: digits-depth: reading a study needs ")
    assert "`ablate export digits-depth --to FILE.json`" in unread.stderr
    no_data = bare(exported, *ARM, "--results", tmp_path / "results")
    assert (no_data.returncode, no_data.stdout, no_data.stderr.count("\n")) == (4, "", 1)
    assert no_data.stderr.startswith("error: digits: neither scikit-learn, which has the images, nor ")
    assert "--data-to DIR" in no_data.stderr
    assert not (tmp_path / "results" / "trials").exists()


def test_what_is_written_is_read_back(exported: Path) -> None:
    """To the letter, but for the resources, which are the machine's; and no part of a file is left behind."""
    loaded = load("digits-depth", overrides=SHORT)
    found = export.read(exported)
    assert json.loads(json.dumps(found.study.__dict__, default=vars)) == json.loads(
        json.dumps(recorded(loaded).__dict__, default=vars)
    )
    assert list(found.trials) == trials(loaded)
    assert [path.name for path in exported.parent.iterdir()] == ["study.json"]
    json.loads(exported.read_text(), parse_constant=pytest.fail)


def test_an_exported_study_is_the_one_of_its_file(exported: Path, shell: Shell, results: Path) -> None:
    """The same trial, under the same key, whichever way it is asked for."""
    assert shell(exported, *ARM)[0] == 0
    code, out, _ = shell("digits-depth", *ARM, *SET)
    (path,) = (results / "trials").iterdir()
    assert (code, out) == (0, f"done: digits-resnet-20-A.s1, {path}\n")
    assert len(Ledger(results).folder(path.name).attempts()) == 1


def _changed(path: Path, change: Callable[[dict[str, Any]], None], *, signed: bool) -> None:
    """The export with other contents; with `signed`, as another version would have written them."""
    data = json.loads(path.read_text())
    change(data)
    if signed:
        data["sha256"] = export._digest({name: data[name] for name in ("study", "trials")})
    path.write_text(json.dumps(data))


def _in(*where: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for part in where[:-1]:
            data = data[part]
        data[where[-1]] = value

    return change


DAMAGED = [
    (_in("format", value=2), False, "format 2 is newer than 1; update Ablate here"),
    (_in("format", value="x"), False, "is no exported study; `ablate export STUDY --to FILE.json` writes one"),
    (_in("kind", value="other"), False, "is no exported study"),
    (_in("study", "question", value="Other?"), False, "damaged (checksum differs); export the study again"),
    (_in("trials", value=None), False, "damaged (checksum differs)"),
    (_in("study", "name", value="../../x"), True, "no name of a study: '../../x'"),
    (_in("study", value=[]), True, "made by another version of Ablate"),
    (_in("trials", 0, "params", "recipe", "lr", value=9.0), True, "here the key of digits-plain-20.s0 is not"),
    (_in("trials", 0, "params", "recipe", "lr", value=-1), True, "lr must be above 0, not -1); export it with the one"),
    (_in("trials", 0, "params", "recipe", "sparsity", value=1), True, "made by another version of Ablate"),
    (_in("trials", 0, "params", "semantics", value=1), True, "here the key of digits-plain-20.s0 is not"),
    (
        _in("trials", 0, "params", "data", "fingerprint", value="x"),
        True,
        "was exported for digits with fingerprint x..., ",
    ),
    (_in("trials", 0, "key", value="../../x"), True, "here the key of digits-plain-20.s0 is not '../../x'"),
    (_in("trials", 0, "after", value="../../x"), True, "a trial comes after one that is not there"),
    (_in("study", "arms", value=[]), True, "its arms are not those of its trials"),
]


@pytest.mark.parametrize(("change", "signed", "said"), DAMAGED, ids=range(len(DAMAGED)))
def test_a_file_that_is_no_export_of_this_version_is_one_line(
    change: Callable[[dict[str, Any]], None], signed: bool, said: str, exported: Path, shell: Shell, results: Path
) -> None:
    """Exit code 2; nothing is written."""
    _changed(exported, change, signed=signed)
    code, out, err = shell(exported, *ARM)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {exported}: ")
    assert said in err
    assert not list(results.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000, "name: x\nquestion: q\n", '{"name": "x"}', "\xff"])
def test_a_foreign_file_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        ExportError, match=r"x\.json: .*no exported study; `ablate export STUDY --to FILE\.json` writes"
    ):
        export.read(path)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_that_was_cut_is_one_line(length: int, exported: Path) -> None:
    exported.write_bytes(exported.read_bytes()[:length])
    with pytest.raises(ExportError, match=r"study\.json: damaged, or no exported study"):
        export.read(exported)


def test_a_file_that_is_not_there_is_one_line(shell: Shell, tmp_path: Path) -> None:
    assert shell(tmp_path / "none.json", *ARM) == (
        2,
        "",
        f"error: {tmp_path}/none.json: cannot be read: No such file or directory;"
        " give a file that `ablate export` wrote\n",
    )
    assert "Is a directory" in shell(_folder(tmp_path / "folder.json"), *ARM)[2]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "recipe.lr=1"], "--set recipe.lr=1: an exported study is fixed; give it to `ablate export`"),
        (["--arm", "digits-plane-20"], "--arm: study digits-depth has no arm 'digits-plane-20'; did you mean 'digits-"),
        (["--seed", "3"], "--seed: study digits-depth asks for seeds 0 to 2 of digits-resnet-20-A, not 3"),
    ],
)
def test_what_an_export_does_not_hold_is_one_line(
    arguments: list[str], said: str, exported: Path, shell: Shell, results: Path
) -> None:
    code, out, err = shell(exported, *ARM, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not list(results.iterdir())


@pytest.mark.parametrize(("value", "said"), [("precision=tf32", "precision tf32"), ("compiled=true", "compiled true")])
def test_what_needs_a_gpu_is_not_run_on_a_cpu(value: str, said: str, shell: Shell, results: Path) -> None:
    code, out, err = shell("digits-depth", *ARM, "--set", f"recipe.{value}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: digits-resnet-20-A: {said} needs a GPU; on the CPU ")
    assert not list(results.iterdir())


# A trial that begins from the end of another


@pytest.fixture
def _grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of 14 layers are grown from those of 8."""

    def parent(network: Network) -> Network | None:
        return replace(network, depth=8) if network.depth == 14 else None

    monkeypatch.setattr(Network, "parent", property(parent), raising=False)


@pytest.mark.usefixtures("_grown")
@pytest.mark.parametrize("kind", ["export", "file"])
def test_a_grown_trial_says_what_to_run_first(kind: str, shell: Shell, results: Path, tmp_path: Path) -> None:
    """Exit code 4 and the command; once that was run, it begins."""
    file = tmp_path / "grown.yaml"
    file.write_text("name: grown\nquestion: Why?\ndata: digits\nmatrix: {depth: [8, 14]}\n")
    loaded = load(str(file), overrides=SHORT)
    export.write(tmp_path / "grown.json", Export(study=recorded(loaded), trials=trials(loaded)))
    study = [tmp_path / "grown.json"] if kind == "export" else [file, *SET]
    code, out, err = shell(*study, "--arm", "digits-plain-14", "--seed", "0", "--device", "cpu")
    assert (code, out, err.count("\n")) == (4, "", 1)
    first, words = (f"--arm digits-plain-8 --seed 0{'' if kind == 'export' else ' ' + ' '.join(SET)}"), err.split(": ")
    assert words[1].startswith("digits-plain-14.s0 begins from the end of digits-plain-8.s0, which is not done;")
    assert words[2] == f"python -m ablations.trial {study[0]} {first} --results {results}\n"
    assert not list(results.iterdir())
    command = words[2].split()[3:]
    assert shell(*command, "--device", "cpu")[0] == 0
    assert shell(*study, "--arm", "digits-plain-14", "--seed", "0", "--device", "cpu")[0] == 0
    parent, child = export.read(tmp_path / "grown.json").trials
    about = Ledger(results).folder(child.key).about()
    assert about is not None
    assert about["after"] == child.after == parent.key


# The command


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["digits-depth", "--to", "study.yaml"], 2, "--to: the file's name ends in .json, as study.yaml.json, not"),
        (["digits-depht", "--to", "study.json"], 2, "did you mean 'digits-depth'?"),
        (["digits-depth", "--to", "study.json", "--set", "recipe.lr=-1"], 2, "must be above 0, not -1"),
        (["digits-depth", "--to", "tiny.yaml/study.json"], 2, "tiny.yaml"),
        (["cifar10-jpeg-depth", "--to", "study.json", "--data-to", "arrays"], 4, "say where with --data FOLDER"),
    ],
)
def test_an_export_that_cannot_be_made_is_one_line(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("")
    done = ablate(tmp_path, "export", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


# Digits as arrays


def test_digits_are_read_from_arrays_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("digits", tmp_path / "nowhere", tmp_path / "arrays")
    monkeypatch.setattr(digits, "read", lambda: pytest.fail("not from the arrays"))
    prepare("digits", tmp_path / "nowhere", tmp_path / "arrays")
    assert len(load_images("digits", tmp_path / "arrays").train) == 1437


def test_arrays_of_other_pixels_are_refused(tmp_path: Path) -> None:
    """Whole as a file, and yet not what the name stands for."""
    prepare("digits", tmp_path / "nowhere", tmp_path / "arrays")
    (path,) = (tmp_path / "arrays").iterdir()
    images = digits.read()
    other = replace(images, train=255 - images.train)
    arrays = {name: getattr(other, name) for name in ("train", "train_labels", "test", "test_labels")}
    np.savez(path, fingerprint=np.array(fingerprint(other)), **arrays)
    with pytest.raises(DataError, match=r"digits: the images in .* they are other pixels"):
        load_images("digits", tmp_path / "arrays")
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"missing or damaged .*; remove it and run again"):
        load_images("digits", tmp_path / "arrays")


def test_keys_know_nothing_of_the_way_a_trial_is_asked_for(exported: Path) -> None:
    for each in export.read(exported).trials[:5]:
        assert keys.key(each.params) == each.key


def test_a_later_export_with_more_seeds_is_the_study(tmp_path: Path, shell: Shell, results: Path) -> None:
    """Status, publish and report speak of all that was exported; an export with fewer takes nothing away."""
    for seeds, known in ((1, 1), (2, 2), (1, 2)):
        loaded = load("digits-depth", overrides=SHORT, seeds=seeds)
        path = tmp_path / f"{seeds}.json"
        export.write(path, Export(study=recorded(loaded), trials=trials(loaded)))
        assert shell(path, "--arm", "digits-plain-20", "--seed", str(seeds - 1), "--device", "cpu")[0] == 0
        assert {len(arm.trials) for arm in read_study(results, "digits-depth").arms} == {known}


def test_an_interrupted_trial_is_one_line(
    exported: Path, shell: Shell, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, and it is partial, not failed."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run", interrupted)
    said = "interrupted; what was committed is kept, and the same command goes on from there\n"
    assert shell(exported, *ARM) == (130, "", said)
    (run,) = [each for each in read_runs(read_study(results, "digits-depth"), Ledger(results)) if each.attempts]
    assert run.reason is None


def test_a_damaged_record_of_a_done_trial_is_exit_code_5(exported: Path, shell: Shell, results: Path) -> None:
    """Whatever of it is damaged, and nothing is run over."""
    assert shell(exported, *ARM)[0] == 0
    (folder,) = (results / "trials").iterdir()
    for file in ("curves.jsonl", "trial.json"):
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[:-3])
        code, out, err = shell(exported, *ARM)
        assert (code, out, err.count("\n")) == (5, "", 1)
        assert file in err
        (folder / file).write_bytes(whole)


def test_a_trial_that_is_at_work_is_waited_for_aloud(exported: Path, shell: Shell, results: Path) -> None:
    """A second command says why nothing seems to happen."""
    assert shell(exported, *ARM)[0] == 0
    (folder,) = (results / "trials").iterdir()
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.5, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        code, _, err = shell(exported, *ARM)
    assert code == 0
    assert err == "digits-resnet-20-A.s1: another attempt is at work on it; waiting for its end\n"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--commit-seconds", "nan", "must be a number of seconds, 0 or more, not 'nan'"),
        ("--commit-seconds", "-1", "must be a number of seconds, 0 or more, not '-1'"),
        ("--per-gpu", "0", "must be a whole number of at least 1, not '0'"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(
    option: str, value: str, said: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        trial.main([str(exported), *ARM, f"{option}={value}"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
