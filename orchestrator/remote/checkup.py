"""What a doctor asks beside the machine itself: token, open ports, results directory, MLflow, cluster."""

import base64
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.cluster import node_of
from orchestrator.provenance import version
from orchestrator.remote.access import Token, TokenError, find_token, is_loopback
from orchestrator.remote.findings import FEW_BYTES, LITTLE_BYTES, SKEW_SECONDS, Finding, survey_findings
from orchestrator.remote.jobs import Head, HeadError
from orchestrator.remote.onsite import laid_out, storage, within
from orchestrator.remote.probe import SECONDS, reach, survey, survey_by_job, takes_anyone
from orchestrator.remote.request import AddressError, NoAnswerError, Server
from orchestrator.tracking.addresses import database

RAY_PROCESSES = ("raylet", "gcs_server")


def token_findings() -> list[Finding]:
    """The token of this machine, and who else can read it."""
    try:
        token = find_token()
    except TokenError as error:
        return [Finding(about="token", level="bad", says=str(error), do="write it there, or unset the variable")]
    if token is None:
        says = "there is none; this machine's own Ray makes one for each run"
        return [Finding(about="token", level="ok", says=says)]
    path = Path(token.where.removesuffix(" (RAY_AUTH_TOKEN_PATH)"))
    if token.where == "RAY_AUTH_TOKEN" or not _others_read(path):
        return [Finding(about="token", level="ok", says=f"in {token.where}")]
    says = f"every user of this machine can read {path}, and so run code on the cluster"
    return [Finding(about="token", level="bad", says=says, do=f"chmod 600 {path}")]


def _others_read(path: Path) -> bool:
    """Whether the file's mode lets other users read it, and its folders let them come so far."""
    return _others_come_to(path.resolve()) and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP))


def _others_come_to(path: Path) -> bool:
    return all(folder.stat().st_mode & (stat.S_IXOTH | stat.S_IXGRP) for folder in path.parents)


def exposed() -> list[Finding]:
    """Whether a Ray that runs on this machine takes anyone who reaches its ports."""
    heads = sorted(each for each in _heads() if not is_loopback(each.rpartition(":")[0]))
    with ThreadPoolExecutor(4) as asking:
        found = list(asking.map(_exposed, heads))
    return found or [Finding(about="ports", level="ok", says="no Ray of this machine is open to others")]


def _exposed(address: str) -> Finding:
    try:
        anyone = takes_anyone(address)
    except HeadError as error:
        return Finding(about="ports", level="warn", says=error.says, do=error.do)
    if not anyone:
        return Finding(about="ports", level="ok", says=f"Ray at {address} asks for a token")
    says = f"Ray at {address} asks for no token, and listens on every interface: who reaches it runs code here"
    return Finding(about="ports", level="bad", says=says, do="start it with RAY_AUTH_MODE=token (docs/cluster.md)")


def _heads() -> set[str]:
    """`HOST:PORT` of the heads that Ray processes of this machine belong to."""
    import psutil

    heads = set()
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if Path(words[0] if words else process.info["name"] or "").name in RAY_PROCESSES:
            heads |= {word.partition("=")[2] for word in words if word.startswith("--gcs-address=")}
    return heads - {""}


def results_findings(results: Path) -> list[Finding]:
    """Whether the results directory can be written and locked, and how much it still takes."""
    about = "results"
    layout = laid_out(results)
    try:
        folder = within(SECONDS, layout.__enter__)
    except OSError as error:
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        says = f"{results} cannot be written: {'it is, or lies in, a file' if is_file else error}"
        return [Finding(about=about, level="bad", says=says, do="choose another with --results or ABLATE_RESULTS")]
    try:
        seen = within(SECONDS, lambda: storage(folder, "mine"))
    except OSError as error:
        return [Finding(about=about, level="bad", says=f"{results} cannot be read back: {error}")]
    finally:
        within(SECONDS, lambda: layout.__exit__(None, None, None))
    says = f"{results} has {seen['free_bytes'] / 2**30:.1f} GiB free"
    if seen["lock"] != "held":
        do = "mount it with locks (NFS 4, Lustre `flock`)"
        return [Finding(about=about, level="bad", says=f"file locks do not work in {results}", do=do)]
    if seen["free_bytes"] < FEW_BYTES:
        level = "bad" if seen["free_bytes"] < LITTLE_BYTES else "warn"
        return [Finding(about=about, level=level, says=says, do="make room")]
    return [Finding(about=about, level="ok", says=f"{says}; it can be written and locked")]


def tracking_findings(uri: str) -> list[Finding]:
    """Whether MLflow answers, takes us, and has the right time. The ledger does without it, so nothing here is bad."""
    stored = database(uri)
    if stored is not None:
        if stored.exists() and not os.access(stored, os.W_OK):
            return [_mlflow(f"{stored} cannot be written", "make it yours with chown, or name another with --tracking")]
        nearest = next(each for each in (stored, *stored.resolve().parents) if each.exists())
        if nearest != stored and not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            what = "cannot be written" if nearest.is_dir() else "is a file, not a directory"
            return [_mlflow(f"{stored} cannot be made: {nearest} {what}", "name another with --tracking or --results")]
        return [Finding(about="MLflow", level="ok", says=f"in {stored}")]
    try:
        server = Server.at(_without_password(uri), 5000)
        answer = server.ask("GET", "/health", {})
        if answer.status != 200:
            return [_mlflow(f"{server.address} answers {answer.status} when asked for its health", "is it MLflow?")]
        return [*_clock(server, answer.headers.get("Date")), _permission(server, uri)]
    except AddressError:
        return [Finding(about="MLflow", level="ok", says="is no server and no SQLite file; it is not looked at")]
    except NoAnswerError as error:
        return [_mlflow(str(error), "runs go on without it; `ablate publish` catches up")]


def _mlflow(says: str, do: str) -> Finding:
    return Finding(about="MLflow", level="warn", says=says, do=do)


def _clock(server: Server, date: str | None) -> Iterator[Finding]:
    if date is not None:
        skew = parsedate_to_datetime(date).timestamp() - time.time()
        if abs(skew) > SKEW_SECONDS:
            yield _mlflow(f"the clock of {server.address} is {skew:+.0f} s off", "run an NTP client there")


def _permission(server: Server, uri: str) -> Finding:
    headers = {"Content-Type": "application/json", **_credentials(uri)}
    answer = server.ask("POST", "/api/2.0/mlflow/experiments/search", headers, b'{"max_results": 1}')
    if answer.status in (401, 403):
        do = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or see --allowed-hosts of the server"
        return _mlflow(f"{server.address} refuses us ({answer.status}): {answer.text}", do)
    if answer.status != 200:
        return _mlflow(f"{server.address} answers {answer.status}: {answer.text}", "see the server's log")
    return Finding(about="MLflow", level="ok", says=f"{server.address} answers")


def _credentials(uri: str) -> dict[str, str]:
    """As MLflow's client sends them."""
    parts = urlsplit(uri)
    user = parts.username or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = parts.password or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def cluster_findings(address: str, results: Path, *, allow_open: bool, digest: str) -> list[Finding]:
    """All that is looked at before a run on the cluster, from inside (`HOST:PORT`, `auto`) or outside (`http://`).

    Raises AddressError or TokenError.
    """
    token = find_token()
    try:
        if "://" in address:
            return _from_outside(Head(address), results, token, allow_open)
        return _from_inside(address, results, token, allow_open, digest)
    except HeadError as error:
        return [Finding(about="cluster", level="bad", says=error.says, do=error.do)]


def _from_outside(head: Head, results: Path, token: Token | None, allow_open: bool) -> list[Finding]:
    head.admit(token, allow_open=allow_open)
    found = [_access(head.address, head.open)]
    if head.readable and not head.open:
        says = f"the token travels to {head.address} unencrypted"
        do = "reach the head through `ssh -L 8265:localhost:8265 HOST`, or over a network that is yours"
        found.append(Finding(about="token", level="warn", says=says, do=do))
    shared = results if results.is_absolute() else None
    said = survey_by_job(head, shared)
    here = bool(said["here"].get("shown"))
    return found + _nodes(survey_findings(said, digest=None, results=_text(shared), ray=_ray(), shared_here=here), said)


def _from_inside(address: str, results: Path, token: Token | None, allow_open: bool, digest: str) -> list[Finding]:
    head = reach(address, token, allow_open=allow_open)
    said = survey(head, results.resolve())
    found = survey_findings(said, digest=digest, results=_text(results.resolve()), ray=_ray())
    return [_access(head.address, head.token is None), *_nodes(found, said)]


def _access(address: str, is_open: bool) -> Finding:
    if is_open:
        return Finding(about="token", level="warn", says=f"{address} asks for none", do="see docs/cluster.md")
    return Finding(about="token", level="ok", says=f"{address} takes it")


def _nodes(found: Sequence[Finding], said: Mapping[str, Any]) -> list[Finding]:
    nodes = [node_of(each) for each in said["nodes"]]
    says = f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}, {sum(each.cpus for each in nodes):g} cores"
    return [Finding(about="cluster", level="ok", says=says), *found]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _ray() -> str:
    return version("ray") or ""
