"""From a folder of pictures to the page of `imagenet-degradation`, in small: prepared, planned, run, reported."""

import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs_made import SAMPLES
from pictures import CLASSES, jpeg, picture

SMALL = {
    "network.data": "shapes",
    "network.width": 16,
    "recipe.iterations": 60,
    "recipe.batch": 32,
    "recipe.bn_batch": 8,
    "recipe.lr": 0.02,
    "recipe.record_every": 10,
    "recipe.evaluate_every": 20,
    "recipe.precise_bn": 96,
}
STUDY = ("imagenet-degradation", *(f"--set={name}={value}" for name, value in SMALL.items()))
ARMS = ("shapes-plain-18-w16", "shapes-plain-34-w16", "shapes-resnet-18-A-w16", "shapes-resnet-34-A-w16")
VIEWS = {"test": "test", "ten-crop": "ten_crop", "multi-scale": "multi_scale"}

Ablate = Callable[..., subprocess.CompletedProcess[str]]


def call(place: Path, *arguments: str, program: str = "ablations.cli") -> subprocess.CompletedProcess[str]:
    ours = ("ABLATE_RESULTS", "ABLATE_DATA")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= {"COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a user has pictures of four classes in folders, and has prepared them."""
    folder = tmp_path_factory.mktemp("user")
    for kind, name in enumerate(CLASSES):
        for split, count, first in (("train", 40, 0), ("val", 12, 1000)):
            for number in range(count):
                path = folder / "pictures" / split / name / f"{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = picture(kind, first + number, 70 + 7 * number % 40, 72 + 11 * number % 50)
                path.write_bytes(jpeg(pixels))
    asked = ("--from", "pictures", "--to", "sets", "--name", "shapes", "--size", "64")
    done = call(folder, "data", "prepare", "imagefolder", *asked)
    assert done.returncode == 0, done.stderr
    assert "shapes prepared: 160 train and 48 test images of 4 classes" in done.stdout
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> subprocess.CompletedProcess[str]:
    return call(place, "run", *STUDY, "--data", "sets")


@pytest.fixture
def ablate(place: Path, run: subprocess.CompletedProcess[str]) -> Ablate:
    """The command line, after the run."""
    assert run.returncode == 0, run.stderr
    return lambda *arguments: call(place, *arguments)


def trials(place: Path) -> dict[str, Path]:
    """Folders of the ledger by the arms of their trials."""
    found = (place / "results" / "trials").glob("*/trial.json")
    return {json.loads(path.read_text())["arm"]: path.parent for path in found}


def last(folder: Path) -> dict[str, float]:
    return json.loads((folder / "curves.jsonl").read_text().splitlines()[-1])


def test_what_was_prepared_is_whole(place: Path) -> None:
    done = call(place, "data", "verify", "sets/shapes")
    assert (done.returncode, done.stdout) == (0, "shapes: all 208 images are as they were prepared\n")


def test_the_set_is_planned_by_its_name(place: Path) -> None:
    """It is found in the folder of `--data`, or of ABLATE_DATA."""
    done = call(place, "plan", *STUDY, "--data", "sets", "--json")
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)["trials"]
    assert {each["arm"] for each in planned} == set(ARMS)
    assert {each["reason"] for each in planned} == {None}


def test_the_run_trains_and_judges_every_arm(place: Path, ablate: Ablate, run: Any) -> None:
    """On Ray, with MLflow; each trial keeps what it predicted in each view, and its errors are those predictions'."""
    assert "4 trials: 4 new; 4 to run" in run.stderr
    assert "4 begun, 4 done, 0 failed" in run.stderr
    assert set(trials(place)) == set(ARMS)
    for folder in trials(place).values():
        measured = last(folder)
        assert measured["iteration"] == 60
        for file, metric in VIEWS.items():
            with np.load(folder / f"predictions-{file}.npz") as kept:
                probabilities, labels = kept["probabilities"], kept["labels"]
            assert np.bincount(labels).tolist() == [12] * 4
            assert np.allclose(probabilities.sum(axis=1, dtype=float), 1, atol=0.01)
            error = 100 * (probabilities.argmax(axis=1) != labels).mean()
            if file == "test":  # by precise batch normalisation; of two classes that are as likely either may be first
                assert measured["precise_test_error"] == pytest.approx(error, abs=3)
            else:
                assert measured[f"{metric}_error"] == pytest.approx(error)


def test_something_was_learned(place: Path, ablate: Ablate) -> None:
    """By some network: 75 % of guesses are wrong."""
    assert min(last(folder)["ten_crop_error"] for folder in trials(place).values()) < 60


def test_a_second_run_submits_nothing(ablate: Ablate) -> None:
    done = ablate("run", *STUDY, "--data", "sets")
    assert done.returncode == 0, done.stderr
    assert "4 trials: 4 done; 0 submitted" in done.stderr
    assert "local Ray" not in done.stderr


def test_the_page_has_table_2_and_figure_4(place: Path, ablate: Ablate) -> None:
    """Its ten-crop numbers are those of the kept predictions, in columns of their own with the reason."""
    done = ablate("report", "imagenet-degradation")
    assert done.returncode == 0, done.stderr
    page = (place / "results" / "studies" / "imagenet-degradation" / "report.html").read_text(encoding="utf-8")
    for arm, folder in trials(place).items():
        with np.load(folder / "predictions-ten-crop.npz") as kept:
            error = 100 * float((kept["probabilities"].argmax(axis=1) != kept["labels"]).mean())
        cell = rf'id="cell-table-2-{arm}-last_ten_crop_error"><a [^>]*>([0-9.]+)</a>'
        assert re.findall(cell, page) == [f"{error:.2f}"]
    assert re.findall(r'data-chart="(.*?)"', page) == ["figure-4-panel-1", "figure-4-panel-2"]
    assert ">The panels of Figure 4, measured on shapes, 60 iterations</a></h3>" in page
    assert re.findall(r'<div class="panel">\s*<h4>(.*?)</h4>', page) == ["Plain", "ResNet"]
    assert "stands in its own columns and no difference to the paper is taken" in page
    for departure in ("data shapes (paper imagenet)", "width 16 (paper 64)", "iterations 60 (paper 600000)"):
        assert departure in page


def test_what_is_known_of_a_trial_says_how_photographs_were_decoded(ablate: Ablate) -> None:
    done = ablate("show", "shapes-plain-18-w16.s0")
    assert done.returncode == 0, done.stderr
    assert "predictions-ten-crop.npz" in done.stdout
    assert "loader" in done.stdout
    assert re.search("the kernel over libjpeg-turbo|Pillow, whole images", done.stdout)


REAL = {
    "network.data": "real",
    "network.width": 16,
    "recipe.iterations": 12,
    "recipe.batch": 16,
    "recipe.bn_batch": 8,
    "recipe.lr": 0.02,
    "recipe.record_every": 6,
    "recipe.evaluate_every": 12,
    "recipe.precise_bn": 48,
}
GROUPS = 6


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with real photographs in groups that mean nothing, prepared."""
    if not SAMPLES.exists():
        pytest.skip("no photographs beside the repository")
    folder = tmp_path_factory.mktemp("gallery")
    with tarfile.open(SAMPLES) as samples:
        files = [each for each in samples if each.isfile()][: 12 * GROUPS]
        for number, each in enumerate(files):
            split = "train" if number < 8 * GROUPS else "val"
            path = folder / "real" / split / f"group{number % GROUPS}" / f"{number}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = samples.extractfile(each)
            assert opened is not None
            path.write_bytes(opened.read())
    done = call(folder, "data", "prepare", "imagefolder", "--from", "real", "--to", "data", "--size", "64")
    assert "real prepared: 48 train and 24 test images of 6 classes" in done.stdout, done.stderr
    return folder


def test_an_ensemble_over_real_photographs(gallery: Path) -> None:
    """Two of its networks, trained one by one; Table 5 averages what they kept."""
    sets = [f"--set={name}={value}" for name, value in REAL.items()]
    for arm in ("real-resnet-18-A-w16", "real-resnet-34-B-w16"):
        asked = ("imagenet-ensemble", *sets, "--arm", arm, "--seed", "0", "--commit-seconds", "60")
        done = call(gallery, *asked, program="ablations.trial")
        assert done.returncode == 0, done.stderr[-2000:]
    votes, labels = [], np.empty(0)
    for folder in trials(gallery).values():
        with np.load(folder / "predictions-multi-scale.npz") as kept:
            votes.append(kept["probabilities"].astype(float))
            labels = kept["labels"]
        likely = np.argsort(-votes[-1], axis=1, kind="stable")[:, :5]
        top5 = 100 * (likely != labels[:, None]).all(axis=1).mean()
        assert last(folder)["multi_scale_top5_error"] == pytest.approx(top5)
    done = call(gallery, "report", "imagenet-ensemble", "--format", "json")
    assert done.returncode == 0, done.stderr
    (table,) = [each for each in json.loads(done.stdout)["tables"] if each["id"] == "table-5"]
    shown = [entry["value"] for row in table["rows"] for entry in row["entries"] if entry["kind"] == "number"]
    likely = np.argsort(-np.mean(votes, axis=0), axis=1, kind="stable")[:, :5]
    errors = [100 * float(each.mean()) for each in ((likely != labels[:, None]).all(axis=1), likely[:, 0] != labels)]
    assert len(votes) == 2
    assert shown[:3] == pytest.approx([2, *errors])
