"""What a doctor says of token, ports, results directory, MLflow and cluster."""

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from heads import Dashboard, serving

from orchestrator.remote import checkup, onsite
from orchestrator.remote.checkup import cluster_findings, exposed, results_findings, token_findings, tracking_findings
from orchestrator.remote.findings import Finding
from orchestrator.remote.jobs import Head, HeadError
from orchestrator.remote.probe import Reached


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# The token -----------------------------------------------------------------------------------------------------------


def test_no_token_is_no_fault() -> None:
    assert only(token_findings()).level == "ok"


def test_a_token_that_others_can_read_is_a_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray writes it; not where a folder above keeps them out."""
    folder = home / "open"
    (folder / ".ray").mkdir(parents=True)
    path = folder / ".ray" / "auth_token"
    path.write_text("s3cret")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.setattr(checkup, "_others_come_to", lambda _: True)
    path.chmod(0o644)
    found = only(token_findings())
    assert (found.level, found.do) == ("bad", f"chmod 600 {path}")
    path.chmod(0o600)
    assert only(token_findings()).level == "ok"
    monkeypatch.undo()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    path.chmod(0o644)
    folder.chmod(0o700)
    assert only(token_findings()).level == "ok"


def test_a_token_that_cannot_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "none"))
    assert only(token_findings()).level == "bad"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    assert only(token_findings()).says == "in RAY_AUTH_TOKEN"


# Ports ---------------------------------------------------------------------------------------------------------------


def test_a_ray_that_takes_anyone_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks for a token is none, one that does not answer is to be looked at, loopback is not asked."""
    monkeypatch.setattr(checkup, "_heads", lambda: {"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "127.0.0.1:4"})

    def takes_anyone(address: str) -> bool:
        if address.endswith(":3"):
            raise HeadError(f"Ray at {address} cannot be reached within 5 s: no answer")
        return address.endswith(":1")

    monkeypatch.setattr(checkup, "takes_anyone", takes_anyone)
    assert [each.level for each in exposed()] == ["bad", "ok", "warn"]
    monkeypatch.setattr(checkup, "_heads", set)
    assert only(exposed()).level == "ok"


def test_processes_of_ray_are_known_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """And tell where their head is."""
    import psutil

    class Process:
        def __init__(self, *words: str) -> None:
            self.info = {"name": words[0][:15] if words else "", "cmdline": list(words)}

    found = [
        Process("/x/ray/core/src/ray/raylet/raylet", "--gcs-address=10.0.0.1:6379", "--node-ip=1"),
        Process("python", "--gcs-address=10.0.0.9:1"),
        Process(),
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda _: iter(found))
    assert checkup._heads() == {"10.0.0.1:6379"}


# The results directory -----------------------------------------------------------------------------------------------


def test_a_results_directory_that_works(tmp_path: Path) -> None:
    """Nothing is left in it, and none is made."""
    found = only(results_findings(tmp_path / "results"))
    assert found.level == "ok"
    assert not (tmp_path / "results").exists()


def test_a_results_directory_that_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be made, cannot be locked, or is full."""
    assert "cannot be written" in only(results_findings(tmp_path / "a" / "b")).says
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "results"):
        found = only(results_findings(path))
        assert (found.level, found.says) == ("bad", f"{path} cannot be written: it is, or lies in, a file")
    monkeypatch.setattr(onsite, "_lock", lambda _: "free")
    found = only(results_findings(tmp_path))
    assert (found.level, found.says) == ("bad", f"file locks do not work in {tmp_path}")
    monkeypatch.setattr(onsite, "_lock", lambda _: "held")
    for free, level in ((2**29, "bad"), (2**32, "warn")):
        monkeypatch.setattr(checkup, "storage", lambda *_, free=free: {"free_bytes": free, "lock": "held"})
        assert only(results_findings(tmp_path)).level == level

    def torn(*_: object) -> None:
        raise OSError("Stale file handle")

    monkeypatch.setattr(checkup, "storage", torn)
    assert "cannot be read back: Stale file handle" in only(results_findings(tmp_path)).says


def test_mlflow_beside_results_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the directory cannot hold is not called good."""
    (tmp_path / "file").touch()
    found = only(tracking_findings(f"sqlite:///{tmp_path}/file/mlflow.db"))
    assert (found.level, found.says) == (
        "warn",
        f"{tmp_path}/file/mlflow.db cannot be made: {tmp_path}/file is a file, not a directory",
    )
    monkeypatch.setattr(checkup.os, "access", lambda *_: False)
    assert only(tracking_findings(f"sqlite:///{tmp_path}/new/mlflow.db")).says.endswith(f"{tmp_path} cannot be written")


# MLflow --------------------------------------------------------------------------------------------------------------


class Mlflow(Dashboard):
    """Answers for its health, and to who has the right name and word."""

    def answer(self, method: str, path: str, body: bytes, bearer: str | None) -> tuple[int, Any]:
        if path in self.replies:
            return self.replies[path]
        if path == "/health":
            return 200, b"OK"
        return (200, {"experiments": []}) if bearer == self.token else (401, b"You are not authenticated")


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    with serving(Mlflow()) as server:
        yield server


def test_mlflow_that_answers(mlflow: Mlflow) -> None:
    assert only(tracking_findings(mlflow.address)).level == "ok"


def test_mlflow_that_wants_to_know_who_asks(mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and password are sent from the variables that MLflow reads, or from the address, and are not printed."""
    mlflow.token = "Basic dTpwNHNz"  # u:p4ss
    found = only(tracking_findings(mlflow.address))
    assert found.level == "warn"
    assert "refuses us (401)" in found.says
    assert only(tracking_findings(mlflow.address.replace("//", "//u:p4ss@"))).level == "ok"
    wrong = only(tracking_findings(mlflow.address.replace("//", "//u:wr0ng@")))
    assert "wr0ng" not in wrong.line
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "u")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p4ss")
    assert only(tracking_findings(mlflow.address)).level == "ok"
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    mlflow.token = "Bearer t"
    assert only(tracking_findings(mlflow.address)).level == "ok"


@pytest.mark.parametrize(
    ("path", "reply", "line"),
    [
        ("/health", (503, b""), "answers 503 when asked for its health"),
        ("/api/2.0/mlflow/experiments/search", (500, b"no database"), "answers 500: no database"),
    ],
)
def test_mlflow_that_is_ill(mlflow: Mlflow, path: str, reply: tuple[int, bytes], line: str) -> None:
    """It is no reason not to run: the ledger does without it."""
    mlflow.replies[path] = reply
    found = only(tracking_findings(mlflow.address))
    assert found.level == "warn"
    assert line in found.says


def test_mlflow_that_is_away_or_no_server(tmp_path: Path) -> None:
    found = only(tracking_findings("http://127.0.0.1:1"))
    assert "ablate publish" in found.do
    assert only(tracking_findings("databricks")).level == "ok"
    assert only(tracking_findings(f"sqlite:///{tmp_path}/mlflow.db")).level == "ok"


def test_a_database_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = only(tracking_findings(f"sqlite:///{tmp_path}/mlflow.db"))
    assert (found.level, found.says) == ("warn", f"{tmp_path}/mlflow.db cannot be written")


def test_a_clock_that_differs() -> None:
    server = checkup.Server.at("http://mlflow:5000", 1)
    (found,) = checkup._clock(server, formatdate(time.time() - 90))
    assert "the clock of http://mlflow:5000 is -" in found.says
    assert not list(checkup._clock(server, formatdate(time.time())))
    assert not list(checkup._clock(server, None))


# The cluster ---------------------------------------------------------------------------------------------------------

NODE = {
    "NodeID": "1",
    "NodeManagerHostname": "a",
    "Resources": {"CPU": 8.0},
    "seen": {
        "python": "3.11.7",
        "packages": {"ray": checkup.version("ray")},
        "code": {"root": "/r", "digest": "d"},
        "nofile": 65536,
        "shm_bytes": 2**33,
        "storage": {"free_bytes": 2**40, "lock": "held", "answered": True},
    },
}
SAID = {"here": {"python": "3.11.7", "storage": {"free_bytes": 2**40}, "shown": True}, "nodes": [NODE]}


def test_a_cluster_from_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its head, its nodes, and whether they have our code."""
    head = Reached("10.0.0.1:6379", None, "2.60.0", "3.11.7")
    monkeypatch.setattr(checkup, "reach", lambda *_, **__: head)
    monkeypatch.setattr(checkup, "survey", lambda *_: SAID)
    found = cluster_findings("auto", tmp_path, allow_open=True, digest="d")
    assert [each.line for each in found if each.level != "ok"] == [
        "token: 10.0.0.1:6379 asks for none; see docs/cluster.md"
    ]
    assert "1 node, 8 cores" in found[1].says
    other = cluster_findings("auto", tmp_path, allow_open=True, digest="e")
    assert any(each.about == "code" and each.level == "bad" for each in other)


def test_a_cluster_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token that the network can read is to be looked at."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    monkeypatch.setattr(checkup, "survey_by_job", lambda *_: SAID)
    with serving(Dashboard("s3cret")) as dashboard:
        found = cluster_findings(dashboard.address, tmp_path, allow_open=False, digest="d")
        assert {each.level for each in found} == {"ok"}
        monkeypatch.setattr(Head, "local", property(lambda _: False))
        found = cluster_findings(dashboard.address, tmp_path, allow_open=False, digest="d")
    assert ["unencrypted" in each.says for each in found if each.level == "warn"] == [True]


def test_a_cluster_that_cannot_be_used(tmp_path: Path) -> None:
    found = only(cluster_findings("http://127.0.0.1:1", tmp_path, allow_open=False, digest="d"))
    assert (found.about, found.level) == ("cluster", "bad")
    assert "cannot be reached" in found.says
