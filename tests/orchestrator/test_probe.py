"""A cluster is asked by processes that are ended when they are late; here without a cluster."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from heads import Dashboard, serving

from orchestrator.remote import probe
from orchestrator.remote.access import Token
from orchestrator.remote.jobs import Head, HeadError
from orchestrator.remote.onsite import MARK
from orchestrator.remote.probe import Reached, reach, survey, survey_by_job, takes_anyone

ROOT = Path(__file__).parents[2]
SECRET = Token("s3cret", "RAY_AUTH_TOKEN")
POPEN = subprocess.Popen
OPEN = {"step": "done", "address": "10.0.0.1:6379", "admitted": True, "ray": "2.60.0", "python": "3.11.7"}
CLOSED = {"step": "done", "address": "10.0.0.1:6379", "admitted": False}


def test_what_every_node_needs_is_what_the_project_needs() -> None:
    """The list names the dependencies of pyproject.toml, one for one."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert {re.split(r"[\[<>=]", each)[0] for each in re.findall(r'"(.+?)"', block)} == set(probe.REQUIRED)


def telling(monkeypatch: pytest.MonkeyPatch, script: str) -> list[list[str]]:
    """Whatever is to look runs this instead, as a process. Returns how it was called."""
    called: list[list[str]] = []

    def popen(command: list[str], **how: Any) -> Any:
        called.append(command)
        return POPEN([sys.executable, "-c", f"import json, os, sys, time\n{script}"], **how)

    monkeypatch.setattr(probe.subprocess, "Popen", popen)
    return called


def said(*steps: dict[str, Any]) -> str:
    return "\n".join(f"print({MARK + json.dumps(step)!r}, flush=True)" for step in steps)


def by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that takes the right token alone."""
    answer = f"facts = {CLOSED!r} | ({OPEN!r} if os.environ.get('RAY_AUTH_TOKEN') == 's3cret' else {{}})"
    telling(monkeypatch, f"{answer}\nprint({MARK!r} + json.dumps(facts))")


def test_a_head_that_takes_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    by_token(monkeypatch)
    assert reach("auto", SECRET, allow_open=False) == Reached("10.0.0.1:6379", SECRET, "2.60.0", "3.11.7")
    assert not takes_anyone("auto")


def test_a_head_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    by_token(monkeypatch)
    with pytest.raises(HeadError, match=r"10.0.0.1:6379 needs a token: set RAY_AUTH_TOKEN"):
        reach("auto", None, allow_open=True)
    with pytest.raises(HeadError, match=r"does not take the token in a file"):
        reach("auto", Token("0ther", "a file"), allow_open=True)


def test_an_open_head_is_refused_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or was asked for as this machine's own."""
    telling(monkeypatch, said(OPEN))
    with pytest.raises(HeadError, match="--allow-open-cluster"):
        reach("10.0.0.1:6379", SECRET, allow_open=False)
    assert reach("10.0.0.1:6379", SECRET, allow_open=True).token is None
    assert reach("127.0.0.1:6379", None, allow_open=False).token is None
    assert takes_anyone("10.0.0.1:6379")


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (said({"step": "started"}) + "\ntime.sleep(60)", r"cannot be reached within 0.5 s: no answer"),
        (said({"step": "started"}) + "\nos.abort()", r"cannot be reached within 0.5 s: Ray ended without a word"),
        (said({"step": "done", "error": "ConnectionError: no"}), r"cannot be used: ConnectionError: no"),
        (
            said({"step": "done", "error": "RpcError: failed to connect to all addresses; last error: UNAVAILABLE"}),
            r"cannot be used: what listens there is no Ray head; HOST:PORT is the port that `ray start --head` prints",
        ),
    ],
)
def test_a_head_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, script: str, line: str) -> None:
    """The process that waits for it is ended, whatever it does."""
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    telling(monkeypatch, script)
    began = time.monotonic()
    with pytest.raises(HeadError, match=line):
        reach("10.0.0.1:6379", None, allow_open=False)
    assert time.monotonic() - began < 20


def test_ray_itself_finds_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ray: a port that takes connections and answers nothing costs what is allowed, and no more."""
    monkeypatch.setattr(probe, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(HeadError, match=f"Ray at {address} cannot be reached within 1 s"):
            reach(address, SECRET, allow_open=False)


def test_nodes_are_asked_with_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """And with what they need, and where results go."""
    facts = {"step": "done", "here": {}, "nodes": []}
    called = telling(monkeypatch, said({"step": "started"}, {"step": "joined"}, facts))
    head = Reached("10.0.0.1:6379", SECRET, "2.60.0", "3.11.7")
    assert survey(head, Path("/r"))["nodes"] == []
    assert called[0][3:5] == ["survey", "10.0.0.1:6379"]
    assert called[0][-2:] == ["--results", "/r"]
    assert "s3cret" not in " ".join(called[0]), "others see the command line"


def test_nodes_that_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Reached("10.0.0.1:6379", None, "2.60.0", "3.11.7")
    telling(monkeypatch, said({"step": "started"}, {"step": "done", "error": "RuntimeError: version mismatch"}))
    with pytest.raises(HeadError, match="does not tell of its nodes: RuntimeError: version mismatch"):
        survey(head, None)
    monkeypatch.setattr(probe, "SURVEY_SECONDS", 0.3)
    telling(monkeypatch, said({"step": "started"}, {"step": "joined"}) + "\ntime.sleep(60)")
    with pytest.raises(HeadError, match="does not tell of its nodes: no answer"):
        survey(head, None)


class Cluster(Dashboard):
    """A head whose jobs end at once, and tell what is given."""

    def __init__(self, tell: Callable[[str], str]) -> None:
        super().__init__()
        self.entrypoints: list[str] = []
        self._tell = tell

    def answer(self, method: str, path: str, body: bytes, bearer: str | None) -> tuple[int, Any]:
        status, answered = super().answer(method, path, body, bearer)
        if method == "POST" and path == "/api/jobs/":
            job = answered["submission_id"]
            self.entrypoints.append(self.jobs[job]["entrypoint"])
            self.logs[job] = "Ray says things\n" + self._tell(self.jobs[job]["entrypoint"])
            self.jobs[job]["status"] = "SUCCEEDED"
        return status, answered


def test_nodes_are_asked_by_a_small_job(tmp_path: Path) -> None:
    """It needs no code of ours, and sees what this machine writes; neither it nor what it wrote is left."""
    seen: list[bool] = []

    def tell(entrypoint: str) -> str:
        words = shlex.split(entrypoint)
        seen.append((Path(words[words.index("--shown") + 1]) / "word").exists())
        return MARK + json.dumps({"step": "done", "here": {"shown": True}, "nodes": []})

    with serving(Cluster(tell)) as cluster:
        head = Head(cluster.address)
        assert survey_by_job(head, tmp_path / "results")["here"] == {"shown": True}
        assert cluster.jobs == {}
    assert seen == [True]
    assert not list(tmp_path.iterdir())
    assert cluster.entrypoints[0].startswith("python -c ")


def test_a_machine_without_the_directory_shows_nothing(tmp_path: Path) -> None:
    told = MARK + json.dumps({"step": "done", "here": {}, "nodes": []})
    with serving(Cluster(lambda _: told)) as cluster:
        survey_by_job(Head(cluster.address), tmp_path / "not" / "here")
    words = shlex.split(cluster.entrypoints[0])
    assert "--shown" not in words
    assert words[-2:] == ["--results", str(tmp_path / "not" / "here")]


def test_a_small_job_that_fails_is_told(tmp_path: Path) -> None:
    """With the last line of what Ray says; the job is not left on the list."""
    with serving(Cluster(lambda _: "bash: python: command not found")) as cluster:
        with pytest.raises(HeadError, match="cannot run a small job that looks at the nodes: it told nothing"):
            survey_by_job(Head(cluster.address), None)
        assert cluster.jobs == {}


def test_a_small_job_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "START_SECONDS", 0.2)
    monkeypatch.setattr(probe, "SURVEY_SECONDS", 0.1)
    with serving(Dashboard()) as dashboard:
        with pytest.raises(HeadError, match=r"did not end in 0.3 s: is the cluster busy"):
            survey_by_job(Head(dashboard.address), None)
        assert [path for method, path in dashboard.asked if path.endswith("/stop")]


def test_the_process_gets_no_token_it_should_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question is asked without one, so that an open head learns none."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    telling(monkeypatch, f"print({MARK!r} + json.dumps({CLOSED!r} | {{'admitted': 'RAY_AUTH_TOKEN' in os.environ}}))")
    assert not takes_anyone("10.0.0.1:6379")
    assert os.environ["RAY_AUTH_TOKEN"] == "s3cret"
