"""What is seen on the nodes of a cluster themselves, told as one line of JSON.

It imports nothing of ours: its text is sent to a cluster where our code may be missing, and run there as a job
(`python -c`), or beside a driver as a script of its own: a process that can be killed whatever it waits for.
What the facts mean is judged in `orchestrator.remote.findings`.
"""

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import resource
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGES = ("ablations", "models", "orchestrator", "reports")
"""Our code: what each node must have, the same."""
MARK = "ABLATE-SEEN "
"""Begins the line that tells; everything else that Ray prints is not for us."""
LOOK_SECONDS = 5.0
"""For each look at the shared storage: a file system that is away lets a process wait for ever."""
ANSWER_SECONDS = 60.0
"""Ray starts a process on each node to look there; on a busy machine that takes its time."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - not written to


def source_files(root: Path) -> list[Path]:
    """Every file of our packages below `root`, but what Python and editors leave behind."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file())
    return sorted(path for path in found if not _left_behind(path.relative_to(root)))


def digest(root: Path) -> str:
    """Of the names and contents of our packages' files."""
    seen = hashlib.sha256()
    for path in source_files(root):
        seen.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        seen.update(path.read_bytes())
    return seen.hexdigest()[:16]


def _left_behind(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return hidden or path.suffix in (".pyc", ".pyo", ".so") or path.name.endswith("~")


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns. Raises what it raises, or TimeoutError; what waits for ever is left behind."""
    outcome: list[tuple[Any, Exception | None]] = []

    def do() -> None:
        try:
            outcome.append((work(), None))
        except Exception as error:  # noqa: BLE001 - raised again, on the thread that asked
            outcome.append((None, error))

    worker = threading.Thread(target=do, daemon=True)
    worker.start()
    worker.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def machine(requirements: Sequence[str]) -> dict[str, Any]:
    """Facts of this process and its machine, as JSON."""
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": {name: _version(name) for name in requirements},
        "code": _code(),
        "drivers": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "shm_bytes": shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.exists() else None,
        "time": time.time(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _code() -> dict[str, str] | None:
    """Where our code is imported from, and its digest; None where it cannot be imported."""
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec("ablations")
        if spec is not None and spec.origin is not None:
            root = Path(spec.origin).parent.parent
            return {"root": str(root), "digest": digest(root)}
    return None


@contextmanager
def laid_out(results: Path) -> Iterator[Path]:
    """A folder in the results directory with a word to read and a lock that is held; it is removed at the end.

    Raises OSError. A results directory that is not there yet is made, if the folder that it lies in is there.
    """
    made = not results.exists()
    results.mkdir(exist_ok=True)
    folder = results / f".probe-{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        (folder / "word").write_text(folder.name, encoding="utf-8")
        with (folder / "held").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with suppress(OSError):
                results.rmdir()  # looking leaves nothing behind; what others put there meanwhile stays


def storage(folder: Path, mine: str) -> dict[str, Any]:
    """What is seen here of a folder that another process laid out; an answer is left in the file `mine`.

    Raises OSError.
    """
    if (folder / "word").read_text(encoding="utf-8") != folder.name:
        raise OSError(f"{folder}: another folder of the same name")
    (folder / mine).write_text(mine, encoding="utf-8")
    usage = shutil.disk_usage(folder)
    return {"free_bytes": usage.free, "lock": _lock(folder / "held")}


def _lock(path: Path) -> str:
    """`held` where the lock of the other process is seen, `free` where it is not."""
    with path.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "held"
        return "free"


def look(folder: str | None, mine: str, requirements: Sequence[str]) -> dict[str, Any]:
    """What one node sees."""
    seen = machine(requirements)
    if folder is not None:
        try:
            seen["storage"] = within(LOOK_SECONDS, lambda: storage(Path(folder), mine))
        except OSError as error:
            seen["storage"] = {"error": str(error) or type(error).__name__}
    return seen | {"time": time.time()}


def reach(address: str) -> dict[str, Any]:
    """The head's address in full, whether it takes who has no token (or a wrong one), and its versions."""
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.exceptions import AuthenticationError

    found = canonicalize_bootstrap_address(address)
    if found is None:
        raise ConnectionError("no Ray cluster runs on this machine")
    tell({"step": "found", "address": found})
    try:
        client = GcsClient(address=found)
        said = json.loads(client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster") or b"{}")
    except AuthenticationError:
        return {"address": found, "admitted": False}
    return {"address": found, "admitted": True, "ray": said.get("ray_version"), "python": said.get("python_version")}


def survey(address: str, results: str | None, shown: str | None, requirements: Sequence[str]) -> dict[str, Any]:
    """Every node's facts, with those of this process, which joins the cluster for it.

    `shown` is a folder that another machine laid out: whether it is seen here is told too.
    """
    import ray

    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    tell({"step": "joined"})
    here = machine(requirements)
    if shown is not None:
        here["shown"] = _shown(Path(shown))
    if results is None:
        return {"here": here, "nodes": _ask(None, requirements)}
    try:
        with laid_out(Path(results)) as folder:
            nodes = _ask(folder, requirements)
            for each in nodes:
                answer = folder / each["NodeID"]
                if "free_bytes" in (each.get("seen") or {}).get("storage", {}):
                    each["seen"]["storage"]["answered"] = answer.exists() and answer.read_text() == each["NodeID"]
            return {"here": here | {"storage": {"free_bytes": shutil.disk_usage(folder).free}}, "nodes": nodes}
    except OSError as error:
        return {"here": here | {"storage": {"error": str(error)}}, "nodes": _ask(None, requirements)}


def _shown(folder: Path) -> bool:
    with suppress(OSError):
        return within(LOOK_SECONDS, lambda: (folder / "word").read_text(encoding="utf-8") == folder.name)
    return False


def _ask(folder: Path | None, requirements: Sequence[str]) -> list[dict[str, Any]]:
    """What Ray says of each node that is alive, with what the node itself sees as `seen`, or `silent`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [dict(each) for each in ray.nodes() if each["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=0)(look)  # needs no core: a cluster may be full
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)).remote(
            str(folder) if folder else None, each["NodeID"], list(requirements)
        ): each
        for each in nodes
    }
    waiting, until = list(asked), time.monotonic() + ANSWER_SECONDS
    while waiting and time.monotonic() < until:
        ready, waiting = ray.wait(waiting, timeout=max(0.0, until - time.monotonic()))
        for each in ready:
            try:
                asked[each]["seen"] = ray.get(each)
                asked[each]["skew_seconds"] = round(asked[each]["seen"]["time"] - time.time(), 3)
            except Exception as error:  # noqa: BLE001 - whatever keeps a node from answering is told of it
                asked[each]["silent"] = f"{type(error).__name__}: {error}".splitlines()[0]
    for each in waiting:
        asked[each]["silent"] = f"no answer within {ANSWER_SECONDS:g} s"
    return nodes


def tell(facts: Mapping[str, Any]) -> None:
    print(MARK + json.dumps(facts, default=str), flush=True)  # noqa: T201 - this is how it answers


def main(arguments: Sequence[str] | None = None) -> None:
    """Tell one line for each step, the last with `step: done`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["reach", "survey"])
    parser.add_argument("address")
    parser.add_argument("--results")
    parser.add_argument("--shown")
    parser.add_argument("--requires", default="")
    asked = parser.parse_args(arguments)
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0"})
    import ray  # noqa: F401 - what takes longest, and what the limits of the steps leave out

    tell({"step": "started"})
    try:
        if asked.what == "reach":
            facts = reach(asked.address)
        else:
            facts = survey(
                asked.address, asked.results, asked.shown, [name for name in asked.requires.split(",") if name]
            )
    except Exception as error:  # noqa: BLE001 - told in a line, judged by who asked
        facts = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    tell({"step": "done"} | facts)
    sys.stdout.flush()
    os._exit(0)  # Ray may wait for a head that is gone


if __name__ == "__main__":
    main()
