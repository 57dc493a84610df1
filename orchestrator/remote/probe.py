"""A cluster is looked at before anything is submitted to it: by processes that can be ended whatever they wait for.

Ray waits a minute for a head that does not answer, then ends the process, and keeps the first token that it saw. So
whatever uses Ray here runs in a process of its own, each of whose steps has a limit.
"""

import json
import queue
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.remote import onsite
from orchestrator.remote.access import Token, environment, is_loopback
from orchestrator.remote.jobs import ENDED, Head, HeadError
from orchestrator.remote.onsite import MARK, laid_out, within

REQUIRED = (
    *("torch", "torchvision", "ray", "mlflow", "pandas", "plotly", "numpy", "scipy", "scikit-learn", "pillow"),
    *("pydantic", "pyyaml", "typer", "rich", "jinja2", "psutil"),
)
"""What every node needs: the dependencies of pyproject.toml."""
SECONDS = 5.0
"""For each question to a head."""
START_SECONDS = 60.0
"""For Python to load Ray, or Ray to start a process: this is our machine's or the cluster's work, not an answer."""
SURVEY_SECONDS = onsite.ANSWER_SECONDS + 3 * onsite.LOOK_SECONDS
"""For all nodes together; each look has a limit of its own."""


@dataclass(frozen=True)
class Reached:
    """A head that answers, and takes us."""

    address: str
    """`HOST:PORT`, where `auto` was asked for too."""
    token: Token | None
    """None: it asks for none."""
    ray: str
    python: str


def reach(address: str, token: Token | None, *, allow_open: bool) -> Reached:
    """See that a Ray head answers at `HOST:PORT` (or `auto`) and takes the token, or needs none.

    Raises HeadError: no answer, an open head, a token that is missing or wrong.
    """
    said = _reach(address, None)
    found = said["address"]
    if said["admitted"]:
        hosts = [each.rpartition(":")[0] for each in (address, found)]  # Ray makes 127.0.0.1 the machine's own address
        if not allow_open and not any(map(is_loopback, hosts)):
            raise HeadError(
                f"Ray at {found} lets anyone who reaches it run code: start it with a token (docs/cluster.md), or say"
                " --allow-open-cluster"
            )
        return Reached(found, None, said["ray"], said["python"])
    if token is None:
        raise HeadError(
            f"Ray at {found} needs a token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or write ~/.ray/auth_token"
        )
    said = _reach(found, token)
    if not said["admitted"]:
        raise HeadError(f"Ray at {found} does not take the token in {token.where}: it is another cluster's, or old")
    return Reached(found, token, said["ray"], said["python"])


def takes_anyone(address: str) -> bool:
    """Whether the head at `HOST:PORT` asks for no token. Raises HeadError if it does not answer."""
    return bool(_reach(address, None)["admitted"])


def _reach(address: str, token: Token | None) -> Mapping[str, Any]:
    limits = {"started": START_SECONDS, "found": SECONDS, "done": SECONDS}
    try:
        said = _ask(["reach", address], environment(token), limits)
    except TimeoutError as error:
        do = "see that the head runs, and that this machine reaches its port"
        raise HeadError(f"Ray at {address} cannot be reached within {SECONDS:g} s: {error}", do) from None
    if "RpcError" in said.get("error", ""):  # gRPC's words for whatever else answers there
        do = "HOST:PORT is the port that `ray start --head` prints, by default 6379"
        raise HeadError(f"Ray at {address} cannot be used: what listens there is no Ray head", do)
    if "error" in said:
        raise HeadError(f"Ray at {address} cannot be used: {said['error']}")
    return said


def survey(head: Reached, results: Path | None) -> Mapping[str, Any]:
    """Every node's facts (`onsite.survey`), asked by a process on this machine, which is a node. Raises HeadError."""
    asked = ["survey", head.address, "--requires", ",".join(REQUIRED)]
    asked += ["--results", str(results)] if results is not None else []
    limits = {"started": START_SECONDS, "joined": START_SECONDS, "done": SURVEY_SECONDS}
    try:
        said = _ask(asked, environment(head.token), limits)
    except TimeoutError as error:
        raise HeadError(f"Ray at {head.address} does not tell of its nodes: {error}") from None
    return _told(said, head.address)


def survey_by_job(head: Head, results: Path | None) -> Mapping[str, Any]:
    """Every node's facts, asked by a small job that needs none of our code. Raises HeadError.

    In `here`, `shown` tells whether the cluster sees what this machine writes to the results directory.
    """
    job = f"ablate-probe-{secrets.token_hex(6)}"
    with _shown(results) as shown:
        asked = ["survey", "auto", "--requires", ",".join(REQUIRED)]
        asked += ["--results", str(results)] if results is not None else []
        asked += ["--shown", str(shown)] if shown is not None else []
        head.submit(job, shlex.join(["python", "-c", _source(), *asked]), {}, {})
        try:
            return _told(_answer(head, job), head.address)
        finally:
            with suppress(HeadError):
                head.stop(job)
            with suppress(HeadError):
                head.forget(job)


def _answer(head: Head, job: str) -> Mapping[str, Any]:
    """What the job tells at its end."""
    seconds = START_SECONDS + SURVEY_SECONDS
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        known = head.job(job)
        if known["status"] in ENDED:
            said = [line for line in head.log(job).splitlines() if line.startswith(MARK)]
            if said and (last := json.loads(said[-1][len(MARK) :])).get("step") == "done":
                return last
            why = (known.get("message") or "it told nothing").strip().splitlines()[-1]
            raise HeadError(f"{head.address} cannot run a small job that looks at the nodes: {why}")
        time.sleep(0.2)
    raise HeadError(
        f"{head.address}: a small job that looks at the nodes did not end in {seconds:g} s: is the cluster busy?"
    )


def _told(said: Mapping[str, Any], address: str) -> Mapping[str, Any]:
    if "error" in said:
        raise HeadError(f"Ray at {address} does not tell of its nodes: {said['error']}")
    return said


@contextmanager
def _shown(results: Path | None) -> Iterator[Path | None]:
    """A folder laid out in the results directory of this machine, for the cluster to see; None where there is none."""
    if results is None:
        yield None
        return
    layout = laid_out(results)
    try:
        folder = within(SECONDS, layout.__enter__)
    except OSError:  # this machine does not have the directory
        yield None
        return
    try:
        yield folder
    finally:
        with suppress(OSError):
            within(SECONDS, lambda: layout.__exit__(None, None, None))


def _source() -> str:
    return Path(onsite.__file__).read_text(encoding="utf-8")


def _ask(arguments: Sequence[str], environment: Mapping[str, str], limits: Mapping[str, float]) -> Mapping[str, Any]:
    """The last step of a process that looks for us; each step has its limit in seconds, and the next one begins then.

    Raises TimeoutError where a step is late, or the process ends without a word.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", onsite.__file__, *arguments],  # as a script of its own: nodes get it by value
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines.put), daemon=True)
    reader.start()
    try:
        for step, seconds in limits.items():
            said = _step(lines, step, seconds)
            if said["step"] == "done":
                return said
        raise AssertionError("the last step is `done`")
    finally:
        process.kill()
        process.wait()
        reader.join(SECONDS)


def _read(stream: Any, put: Callable[[str | None], None]) -> None:
    with stream:
        for line in stream:
            put(line)
    put(None)


def _step(lines: "queue.SimpleQueue[str | None]", step: str, seconds: float) -> Mapping[str, Any]:
    """What is told of a step, or of the end, which may come before."""
    until = time.monotonic() + seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise TimeoutError("no answer") from None
        if line is None:
            raise TimeoutError("Ray ended without a word")
        if line.startswith(MARK) and (said := json.loads(line[len(MARK) :]))["step"] in (step, "done"):
            return said
