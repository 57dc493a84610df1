"""Prepared sets on the command line: found by name, missing, moved, prepared anew, larger than memory."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import write_set

from ablations import trial
from ablations.cli import main
from ablations.study import load
from ablations.trials import recorded, trials
from orchestrator import drive
from orchestrator.ledger import Ledger
from orchestrator.queue import Standing
from orchestrator.studies import write_study
from orchestrator.trial import Trial
from orchestrator.worker import Cause, Ending, Setting

STUDY = """
name: mine
question: Do my own photographs do?
data: shapes
recipe: {name: imagenet, iterations: 20, batch: 8, bn_batch: 8, precise_bn: 0, views: [ten-crop]}
matrix: {shortcut: [A], depth: [18], width: [16]}
"""
ONE = ("--arm", "shapes-resnet-18-A-w16", "--seed", "0")

Ablate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user stands: a study, and its photographs prepared in `sets`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABLATE_RESULTS", raising=False)
    write_set(tmp_path / "sets" / "shapes", {"train": 16, "test": 8})
    (tmp_path / "mine.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def ablate(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ablate:
    """The command line in this process: exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ablate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err  # type: ignore[return-value]

    return call


@pytest.fixture
def done(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of the study's trial, which was recorded as if it had been run."""
    monkeypatch.setenv("ABLATE_DATA", "sets")
    study = load("mine.yaml")
    (asked,) = trials(study)
    write_study(place / "results", recorded(study))
    with Ledger(place / "results").attempt(asked, provenance={}, commit_seconds=0) as attempt:
        attempt.about({"kernels": "fused", "activations": "kept", "loader": "kernel [over] libjpeg"})
        attempt.log(20, {"train_error": 10.0, "test_error": 20.0}, {})
        attempt.finish(20, b"", {"outcome": "finished"})
    monkeypatch.setenv("ABLATE_DATA", "data")
    return asked.key


def test_a_set_is_known_by_its_folder(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `--data` or ABLATE_DATA; elsewhere no data set has its name, and the line says where it was looked for."""
    for arguments in (("mine.yaml",), ("imagenet-degradation", "--set", "network.data=shapes")):
        code, out, err = ablate("plan", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "'shapes' is not one of digits, cifar10, cifar10-jpeg, imagenet; prepared sets are looked for in" in err
        assert err.endswith(" data, and ABLATE_DATA names another folder\n")
    assert ablate("plan", "mine.yaml", "--data", "sets")[0] == 0
    monkeypatch.setenv("ABLATE_DATA", "sets")
    assert ablate("plan", "mine.yaml")[0] == 0


def test_a_manifest_is_enough_to_plan(place: Path, ablate: Ablate) -> None:
    """As where a study is submitted from; a run needs the images, and says so."""
    for file in ("train.beton", "test.beton", "mean.npy"):
        (place / "sets" / "shapes" / file).unlink()
    assert ablate("plan", "mine.yaml", "--data", "sets")[0] == 0
    code, out, err = ablate("run", "mine.yaml", "--data", "sets", "--no-track")
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert "train.beton: is missing; copy it again, or prepare it again" in err
    assert not list(place.glob("results/trials"))


def test_a_set_that_is_cut_off_is_damaged(place: Path, ablate: Ablate) -> None:
    """Exit code 5, from a run and from a trial by itself; nothing is begun."""
    path = place / "sets" / "shapes" / "test.beton"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])
    code, out, err = ablate("run", "mine.yaml", "--data", "sets", "--no-track")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert "test.beton: its table" in err
    assert trial.main(["mine.yaml", *ONE, "--data", "sets"]) == 5
    assert not list(place.glob("results/trials"))


def test_a_folder_of_another_name_is_refused(place: Path, ablate: Ablate) -> None:
    """The name of a data set stands for its images."""
    (place / "sets" / "shapes").rename(place / "sets" / "birds")
    (place / "mine.yaml").write_text(STUDY.replace("shapes", "birds"))
    code, _, err = ablate("plan", "mine.yaml", "--data", "sets")
    assert (code, err.count("\n")) == (2, 1)
    assert "sets/birds: holds the set 'shapes', and a set's folder has its name; rename the folder" in err


def test_a_run_for_which_no_data_are_there_ends_at_once(place: Path, ablate: Ablate) -> None:
    code, out, err = ablate("run", "imagenet-degradation")
    assert (code, out) == (4, "")
    assert err == (
        "error: no trial can be run; blocked: 4 trials: imagenet is not prepared in data/"
        " (ablate data prepare imagenet)\n"
    )
    assert not (place / "results").exists()


def test_a_run_says_what_of_it_is_blocked(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on with the rest."""
    monkeypatch.setattr(drive, "run", lambda *_, **__: Standing(total=0))
    monkeypatch.setattr("ablations.cli.verbs.runs.prepare_data", lambda *_: None)
    code, _, err = ablate("run", "full-grid", "--no-track")
    assert code == 0
    assert "blocked: 20 trials: imagenet is not prepared in data/ (ablate data prepare imagenet)\n" in err


@pytest.mark.parametrize(
    ("verb", "said"), [("report", "page: "), ("status", "100% done"), ("check", ""), ("status --json", '"finished"')]
)
def test_what_was_measured_is_read_without_the_set(
    place: Path, ablate: Ablate, done: str, verb: str, said: str
) -> None:
    """In a copy of the results on a machine without it, by the study's name and by its file."""
    shutil.rmtree(place / "sets")
    for source in ("mine", "mine.yaml"):
        name, *options = verb.split()
        code, out, err = ablate(name, source, *options)
        assert (code, err) == (0, "")
        assert said in out


def test_a_study_that_is_done_is_done_without_its_data(place: Path, ablate: Ablate, done: str) -> None:
    """Recorded anew where its data are not, its arms are blocked; a trial that is done is not."""
    path = place / "results" / "studies" / "mine" / "study.json"
    path.write_text(path.read_text().replace('"blocked": null', '"blocked": "it is away"'))
    assert '"blocked": "it is away"' in path.read_text()
    code, out, _ = ablate("status", "mine")
    assert (code, "1 finished" in out, "blocked" in out) == (0, True, False)


def test_show_says_how_photographs_were_decoded(ablate: Ablate, done: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = ablate("show", done)
    assert "kernel [over] libjpeg" in out
    assert "loader" in out


def test_an_export_says_what_is_to_be_copied(place: Path, ablate: Ablate) -> None:
    """Photographs are too many to be written as arrays."""
    code, out, err = ablate("export", "mine.yaml", "--to", "mine.json", "--data-to", "arrays", "--data", "sets")
    assert (code, err) == (0, "")
    said = "the photographs of shapes are not written; --data DIR says in which folder a copy of sets/shapes is\n"
    assert out.endswith(said)
    assert not (place / "arrays").exists()


def test_a_trial_by_itself_finds_the_set(
    place: Path, ablate: Ablate, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `--data`, from a study file and from an export; a set of other images under that name is refused."""
    ablate("export", "mine.yaml", "--to", "mine.json", "--data", "sets")
    monkeypatch.setenv("ABLATE_DATA", "data")
    begun = []

    def execute(asked: Trial, _: Setting) -> Ending:
        begun.append(asked.params["data"]["name"])
        return Ending(cause=Cause.DONE)

    monkeypatch.setattr(trial, "execute", execute)
    for source in ("mine.yaml", "mine.json"):
        assert trial.main([source, *ONE, "--data", "sets"]) == 0
    assert begun == ["shapes", "shapes"]
    assert "done: shapes-resnet-18-A-w16.s0, " in capsys.readouterr().out
    assert trial.main(["mine.json", *ONE, "--data", "elsewhere"]) == 4
    assert capsys.readouterr().err.endswith("nor prepared in elsewhere\n")
    write_set(place / "others" / "shapes", {"train": 12, "test": 8})
    assert trial.main(["mine.json", *ONE, "--data", "others"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: mine.json: was exported for shapes with fingerprint sha256:")
    assert said.count("\n") == 1


def test_what_is_larger_than_memory_is_told(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `plan` and at the start of `run`: in random order it waits for the disk."""
    monkeypatch.setattr("orchestrator.provenance.memory", lambda: 1_000_000)
    size = Path("sets/shapes/train.beton").stat().st_size / 1e9
    said = f"warning: shapes: {size:,.1f} GB of training images are more than this machine's 0.0 GB of memory; batches"
    plan = ("plan", "mine.yaml", "--data", "sets")
    assert ablate(*plan)[1].count(said) == 1
    assert [each.startswith("shapes: ") for each in json.loads(ablate(*plan, "--json")[1])["warnings"]] == [True]
    for fits in (("--set", "recipe.order=quasi-random"), ("--gpus", "2")):
        assert "warning" not in ablate(*plan, *fits)[1]
    monkeypatch.setattr(drive, "run", lambda *_, **__: Standing(total=0))
    assert said in ablate("run", *plan[1:], "--no-track")[2]
    monkeypatch.setattr("orchestrator.provenance.memory", lambda: 1_000_000_000)
    assert "warning" not in ablate("run", *plan[1:], "--no-track")[2]
    assert "warning" not in ablate(*plan)[1]
