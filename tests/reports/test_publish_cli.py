"""`ablate publish` makes a study's summary in MLflow: its page and tables, how far it is, what its claims came to."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ledgers import write_ledger
from synthetic import digits

from ablations.cli.tracking import places
from orchestrator.tracking.addresses import default_uri

pytest.importorskip("mlflow")
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two arms of the demonstration, with their claims."""
    folder = tmp_path_factory.mktemp("published") / "results"
    study, runs = digits()
    arms = [arm for arm in study.arms if arm.network["depth"] == 20 and arm.network["shortcut"] in ("none", "A")]
    kept = {arm.name for arm in arms}
    hardware = {"cpu": "AMD EPYC", "cores": 2, "memory_gib": 8.0, "gpus": []}
    computed = [
        replace(run, attempts=[{**each, "hardware": hardware} for each in run.attempts])
        for run in runs
        if run.arm in kept
    ]
    write_ledger(folder, replace(study, arms=arms), computed)
    return folder


def publish(results: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ablations.cli", "publish", "digits-demo", "--results", "results"],
        cwd=results.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def summary_of(results: Path) -> MlflowRun:
    client = MlflowClient(tracking_uri=default_uri(results))
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.kind = 'summary'")
    return run


def test_the_page_and_the_tables_are_in_mlflow(results: Path, tmp_path: Path) -> None:
    """Once, however often it is published; no address of a database is in any of them."""
    assert publish(results) == "6 runs brought up to date\n"
    run = summary_of(results)
    assert run.info.run_name == "digits-demo (summary)"
    metrics = run.data.metrics
    assert (metrics["trials_finished"], metrics["trials_missing"]) == (6.0, 0.0)
    assert sum(metrics[f"claims_{name}"] for name in ("holds", "fails", "undecided")) == 11
    client = MlflowClient(tracking_uri=default_uri(results))
    names = [f"report.{form}" for form in ("csv", "html", "json", "md", "tex")]
    assert sorted(each.path for each in client.list_artifacts(run.info.run_id)) == names
    texts = [Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))).read_text() for name in names]
    assert not any("mlflow.db" in text or str(results) in text for text in texts)
    assert json.loads(texts[2])["study"]["name"] == "digits-demo"
    assert texts[1].startswith("<!doctype html>")
    assert publish(results) == "0 runs brought up to date\n"
    assert summary_of(results).to_dictionary() == run.to_dictionary()


def test_a_page_names_a_server_without_its_password_and_no_database(results: Path) -> None:
    study, _ = digits()
    assert places(study, results, "http://me:word@tracking.example.org:5000")["mlflow"] == (
        "http://tracking.example.org:5000"
    )
    assert "mlflow" not in places(study, results, "postgresql://me:word@db.example.org/runs")
