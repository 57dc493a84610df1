"""What is wrong with a machine or a cluster, in words: from facts to findings. Asks nobody, and so is quick to test."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.placement import Node
from orchestrator.trial import Trial

Level = Literal["ok", "warn", "bad"]

LITTLE_BYTES, FEW_BYTES = 2**30, 10 * 2**30
"""Less free space than this is bad, or to be looked at."""
SKEW_SECONDS = 2.0
"""Clocks that differ by more make the times in a status wrong; locks and results do not depend on them."""
FEW_FILES = 4096
LITTLE_SHM = 2**30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fact, judged."""

    about: str
    """What it is about, in a word or two: `token`, `shared storage`."""
    level: Level
    says: str
    do: str = ""
    """What to do about it; empty where nothing is to be done."""

    @property
    def line(self) -> str:
        """The finding on one line."""
        return f"{self.about}: {self.says}" + (f"; {self.do}" if self.do else "")


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.level == "bad"]


def survey_findings(
    survey: Mapping[str, Any], *, digest: str | None, results: str | None, ray: str, shared_here: bool | None = None
) -> list[Finding]:
    """What a survey of a cluster means.

    `digest` of our code, where the nodes must have it already; None where it is shipped with the job. `ray` is the
    version that our code needs. `shared_here`: whether this machine sees the results directory; None: it is a node.
    """
    nodes = survey["nodes"]
    if not nodes:
        return [Finding(about="nodes", level="bad", says="the cluster has none", do="start a worker")]
    found = [*_silent(nodes), *_versions(survey, ray), *_packages(nodes)]
    if digest is not None:
        found += _code(nodes, digest)
    if results is not None:
        found += [*_storage(survey, results), *_seen_here(results, shared_here)]
    return [*found, *_skew(nodes), *_limits(nodes), _gpus(nodes)]


def fit_findings(trials: Sequence[Trial], nodes: Sequence[Node]) -> list[Finding]:
    """Whether each trial has a node that would hold it; one line for each size that does not fit."""
    sizes = {each.resources: each for each in trials}
    found = []
    for needs, trial in sizes.items():
        if not any(node.holds(needs) for node in nodes):
            largest = max(nodes, key=lambda node: (node.gpus, node.cpus), default=None)
            has = (
                f"the largest, {largest.host}, has {_size(largest.cpus, largest.gpus)}" if largest else "there is none"
            )
            found.append(
                Finding(
                    about="resources",
                    level="bad",
                    says=f"{trial.name} needs {_size(needs.cpus, needs.gpus)} on one node; {has}",
                    do="add such a node, or change the study",
                )
            )
    return found or [Finding(about="resources", level="ok", says="every trial fits a node")]


def _size(cpus: float, gpus: float) -> str:
    cores = f"{cpus:g} core" + ("s" if cpus != 1 else "")
    return f"{cores} and {gpus:g} GPU" + ("s" if gpus != 1 else "") if gpus else cores


def _host(node: Mapping[str, Any]) -> str:
    return str(node.get("NodeManagerHostname") or node.get("NodeManagerAddress") or node["NodeID"])


def _named(nodes: Iterable[Mapping[str, Any]]) -> str:
    """The hosts in a row, at most four."""
    hosts = [_host(each) for each in nodes]
    return ", ".join(hosts[:4]) + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")


def _silent(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = [
        Finding(
            about="nodes",
            level="bad",
            says=f"{_host(each)} does not answer: {each['silent']}",
            do="look at Ray's logs on that node, or take it out of the cluster",
        )
        for each in nodes
        if "silent" in each
    ]
    return found or [Finding(about="nodes", level="ok", says=f"{len(nodes)} answer: {_named(nodes)}")]


def _versions(survey: Mapping[str, Any], ray: str) -> list[Finding]:
    """Ray asks for the same Ray, and the same Python to the patch, in every process of a cluster."""
    found = []
    seen = [each for each in survey["nodes"] if "seen" in each]
    for what, expected, of in (
        ("Ray", ray, lambda each: each["seen"]["packages"].get("ray") or "none"),
        ("Python", survey["here"]["python"], lambda each: each["seen"]["python"]),
    ):
        other: dict[str, list[Mapping[str, Any]]] = {}
        for each in seen:
            if of(each) != expected:
                other.setdefault(of(each), []).append(each)
        for version, nodes in other.items():
            found.append(
                Finding(
                    about="versions",
                    level="bad",
                    says=f"{_named(nodes)} has {what} {version}, and the run {expected}",
                    do="install the same on every node",
                )
            )
    return found or [
        Finding(about="versions", level="ok", says=f"Ray {ray}, Python {survey['here']['python']} everywhere")
    ]


def _packages(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    lacking: dict[str, list[Mapping[str, Any]]] = {}
    for each in nodes:
        if missing := [name for name, version in each.get("seen", {}).get("packages", {}).items() if version is None]:
            lacking.setdefault(", ".join(missing), []).append(each)
    found = [
        Finding(
            about="packages",
            level="bad",
            says=f"{_named(each)} lack{'s' if len(each) == 1 else ''} {missing}",
            do="install what constraints.txt lists into the Python that Ray runs with there",
        )
        for missing, each in lacking.items()
    ]
    return found or [Finding(about="packages", level="ok", says="torch and all others are installed on every node")]


def _code(nodes: Sequence[Mapping[str, Any]], digest: str) -> list[Finding]:
    found = []
    remedy = "install the same version there, or use `ablate submit`, which ships it"
    for each in nodes:
        if "seen" not in each:
            continue
        code = each["seen"]["code"]
        if code is None:
            says = f"{_host(each)} cannot import Ablate"
            found.append(Finding(about="code", level="bad", says=says, do=remedy))
        elif code["digest"] != digest:
            says = f"{_host(each)} has other code than this machine, in {code['root']}"
            found.append(Finding(about="code", level="bad", says=says, do=remedy))
    return found or [Finding(about="code", level="ok", says=f"the same on every node ({digest})")]


def _storage(survey: Mapping[str, Any], results: str) -> list[Finding]:
    """Each node must read and write the same directory, and see the locks of the others: the ledger rests on it."""
    if "error" in survey["here"]["storage"]:
        says = f"{results} cannot be used on the node of the driver: {survey['here']['storage']['error']}"
        return [_unshared(says)]
    found = []
    for each in survey["nodes"]:
        seen = each.get("seen", {}).get("storage")
        if seen is None:
            continue
        if "error" in seen:
            found.append(_unshared(f"{_host(each)} does not see what was just written to {results}: {seen['error']}"))
        elif not seen["answered"]:
            found.append(_unshared(f"what {_host(each)} writes to {results} is not seen by the driver"))
        elif seen["lock"] != "held":
            says = f"{_host(each)} does not see a file lock that the driver holds in {results}"
            found.append(
                Finding(
                    about="shared storage", level="bad", says=says, do="mount it with locks (NFS 4, Lustre `flock`)"
                )
            )
    return found or [_space(survey["here"]["storage"]["free_bytes"], results)]


def _unshared(says: str) -> Finding:
    return Finding(
        about="shared storage",
        level="bad",
        says=says,
        do="--results must be one directory that every node has mounted at the same path",
    )


def _space(free: int, results: str) -> Finding:
    says = f"{results} has {free / 2**30:.1f} GiB free"
    if free < FEW_BYTES:
        return Finding(about="free space", level="bad" if free < LITTLE_BYTES else "warn", says=says, do="make room")
    return Finding(about="shared storage", level="ok", says=f"{says}; every node reads, writes and locks there")


def _seen_here(results: str, shared: bool | None) -> list[Finding]:
    if shared is None or shared:
        return []
    says = f"this machine does not see the cluster's {results}"
    return [Finding(about="results", level="warn", says=says, do="ask for status and report on a machine that does")]


def _skew(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = [
        Finding(
            about="clocks",
            level="warn",
            says=f"the clock of {_host(each)} is {each['skew_seconds']:+.1f} s off",
            do="run an NTP client there",
        )
        for each in nodes
        if abs(each.get("skew_seconds", 0.0)) > SKEW_SECONDS
    ]
    return found or [Finding(about="clocks", level="ok", says=f"within {SKEW_SECONDS:g} s of each other")]


def _limits(nodes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = []
    for each in nodes:
        seen = each.get("seen")
        if seen is None:
            continue
        found += [judged for judged in machine_limits(seen, _host(each)) if judged.level != "ok"]
    return found


def machine_limits(seen: Mapping[str, Any], host: str) -> list[Finding]:
    """Open files and shared memory of a machine."""
    files, shm = seen["nofile"], seen["shm_bytes"]
    few = 0 <= files < FEW_FILES
    little = shm is not None and shm < LITTLE_SHM
    return [
        Finding(
            about="open files",
            level="warn" if few else "ok",
            says=f"{host} allows {files if files >= 0 else 'any number of'} at a time",
            do="raise it with `ulimit -n 65536` before Ray starts" if few else "",
        ),
        Finding(
            about="shared memory",
            level="warn" if little else "ok",
            says=f"{host} has none" if shm is None else f"{host} has {shm / 2**30:.1f} GiB in /dev/shm",
            do="in a container: --shm-size=8g" if little else "",
        ),
    ]


def _gpus(nodes: Sequence[Mapping[str, Any]]) -> Finding:
    """GPUs that Ray hands out, and those that a node has and Ray was not told of."""
    unused = [each for each in nodes if each.get("seen", {}).get("drivers", 0) > each["Resources"].get("GPU", 0)]
    if unused:
        says = f"{_named(unused)} has more GPUs than Ray was given there"
        return Finding(about="GPUs", level="warn", says=says, do="start Ray there with --num-gpus")
    counts = {_host(each): int(each["Resources"].get("GPU", 0)) for each in nodes}
    listed = [f"{count} on {host}" for host, count in counts.items() if count]
    more = f" and {len(listed) - 8} more nodes" if len(listed) > 8 else ""
    says = f"{sum(counts.values())}: {', '.join(listed[:8])}{more}" if listed else "none; trials use cores"
    return Finding(about="GPUs", level="ok", says=says)
