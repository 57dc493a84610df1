"""From what nodes see to what is wrong: one line for each problem, with what to do."""

import copy
from typing import Any

import pytest

from orchestrator.placement import Node
from orchestrator.remote.findings import Finding, bad, fit_findings, machine_limits, survey_findings
from orchestrator.trial import Resources, Trial

GIB = 2**30


def node(host: str, **changes: Any) -> dict[str, Any]:
    seen = {
        "host": host,
        "python": "3.11.7",
        "packages": {"ray": "2.60.0", "torch": "2.15.0"},
        "code": {"root": "/opt/ablate", "digest": "d1"},
        "drivers": 0,
        "nofile": 65536,
        "shm_bytes": 8 * GIB,
        "storage": {"free_bytes": 100 * GIB, "lock": "held", "answered": True},
    }
    facts = {"NodeID": f"id-{host}", "NodeManagerHostname": host, "Resources": {"CPU": 8.0}, "skew_seconds": 0.1}
    return facts | {"seen": seen | changes}


def survey(*nodes: dict[str, Any], **here: Any) -> dict[str, Any]:
    return {"here": {"python": "3.11.7", "storage": {"free_bytes": 100 * GIB}} | here, "nodes": list(nodes)}


def findings(said: dict[str, Any], **how: Any) -> list[Finding]:
    asked: dict[str, Any] = {"digest": "d1", "results": "/r", "ray": "2.60.0"}
    return survey_findings(said, **asked | how)


def problems(said: dict[str, Any], level: str = "bad", **how: Any) -> list[str]:
    return [each.line for each in findings(said, **how) if each.level == level]


def test_a_cluster_without_a_fault() -> None:
    """Is told as that, each thing that was looked at once."""
    found = findings(survey(node("a"), node("b")))
    assert {each.level for each in found} == {"ok"}
    assert [each.about for each in found] == [
        *("nodes", "versions", "packages", "code", "shared storage", "clocks", "GPUs")
    ]


UNSHARED = {"error": "[Errno 2] No such file or directory"}
FAULTS = {
    "another Ray": ({"packages": {"ray": "2.59.1", "torch": "2"}}, "versions: b has Ray 2.59.1, and the run 2.60.0"),
    "another Python": ({"python": "3.11.9"}, "versions: b has Python 3.11.9, and the run 3.11.7"),
    "no torch": ({"packages": {"ray": "2.60.0", "torch": None}}, "packages: b lacks torch"),
    "no code": ({"code": None}, "code: b cannot import Ablate"),
    "other code": ({"code": {"root": "/old", "digest": "d0"}}, "code: b has other code than this machine, in /old"),
    "another directory": ({"storage": UNSHARED}, "shared storage: b does not see what was just written to /r"),
    "writes that are not seen": (
        {"storage": {"free_bytes": GIB, "lock": "held", "answered": False}},
        "shared storage: what b writes to /r is not seen",
    ),
    "locks that are not seen": (
        {"storage": {"free_bytes": GIB, "lock": "free", "answered": True}},
        "shared storage: b does not see a file lock",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_node_is_one_line(fault: str) -> None:
    """It names the node, and says what to do."""
    changes, line = FAULTS[fault]
    found = problems(survey(node("a"), node("b", **changes)))
    assert len(found) == 1
    assert found[0].startswith(line)
    assert "; " in found[0]


def test_what_is_shipped_need_not_be_there() -> None:
    """A job brings its code along."""
    assert not problems(survey(node("a", code=None)), digest=None)


def test_a_node_that_is_silent() -> None:
    """Nothing else is said of it."""
    silent = {"NodeID": "x", "NodeManagerHostname": "b", "Resources": {}, "silent": "no answer within 60 s"}
    assert problems(survey(node("a"), silent)) == [
        "nodes: b does not answer: no answer within 60 s;"
        " look at Ray's logs on that node, or take it out of the cluster"
    ]


def test_a_cluster_without_nodes() -> None:
    assert problems(survey()) == ["nodes: the cluster has none; start a worker"]


def test_many_nodes_with_one_fault_are_one_line() -> None:
    lacking = [node(f"n{number}", packages={"ray": "2.60.0", "torch": None}) for number in range(6)]
    assert problems(survey(*lacking)) == [
        "packages: n0, n1, n2, n3 and 2 more lack torch;"
        " install what constraints.txt lists into the Python that Ray runs with there"
    ]


def test_a_driver_that_cannot_use_the_results_directory() -> None:
    said = survey(node("a"), storage={"error": "Permission denied"})
    assert "cannot be used on the node of the driver: Permission denied" in problems(said)[0]


@pytest.mark.parametrize(("free", "level"), [(GIB // 2, "bad"), (5 * GIB, "warn"), (50 * GIB, "ok")])
def test_room_in_the_results_directory(free: int, level: str) -> None:
    found = findings(survey(node("a"), storage={"free_bytes": free}))
    assert [each.level for each in found if f"{free / GIB:.1f} GiB free" in each.says] == [level]


def test_what_is_only_to_be_looked_at() -> None:
    """Clocks, limits, GPUs that Ray was not told of, results that are not seen from here."""
    late = node("a", nofile=1024, shm_bytes=64 * 2**20, drivers=8)
    late["skew_seconds"] = -40.0
    said = problems(survey(late), "warn", shared_here=False)
    assert [line.split(":")[0] for line in said] == ["results", "clocks", "open files", "shared memory", "GPUs"]
    assert "clock of a is -40.0 s off" in said[1]
    assert not bad(findings(survey(late), shared_here=False))


def test_gpus_of_each_node() -> None:
    """Those that Ray hands out, node by node; of a large cluster the first eight nodes."""
    nodes = [node(f"n{number}") | {"Resources": {"CPU": 8.0, "GPU": 4.0}} for number in range(10)]
    told = findings(survey(node("head"), *nodes[:2]))[-1]
    assert told.says == "8: 4 on n0, 4 on n1"
    assert findings(survey(*nodes))[-1].says.endswith("4 on n7 and 2 more nodes")


def test_limits_that_are_none() -> None:
    """Unlimited files are no small number; a machine without /dev/shm is told."""
    found = machine_limits({"nofile": -1, "shm_bytes": None}, "a")
    assert [each.level for each in found] == ["ok", "ok"]
    assert "any number of" in found[0].says


def trial(name: str, **resources: float) -> Trial:
    asked = {"key": name, "name": name, "arm": "a", "seed": 0, "params": {}, "parameters": 1, "multiply_adds": 1}
    return Trial(**asked, iterations=1, work=1.0, launches=1.0, resources=Resources(**resources))  # pyright: ignore[reportArgumentType]


def test_every_trial_fits_some_node() -> None:
    """One line for each size that does not: what it needs, and what there is."""
    small, large = Node(id="1", host="a", cpus=8, gpus=1), Node(id="2", host="b", cpus=16, gpus=4)
    fitting = [trial("x", cpus=1, gpus=0.25), trial("y", cpus=4, gpus=4)]
    assert not bad(fit_findings(fitting, [small, large]))
    lines = [
        each.line
        for each in bad(
            fit_findings([*fitting, trial("z", cpus=1, gpus=8), trial("w", cpus=1, gpus=8)], [small, large])
        )
    ]
    assert len(lines) == 1
    assert "needs 1 core and 8 GPUs on one node; the largest, b, has 16 cores and 4 GPUs" in lines[0]
    assert "there is none" in bad(fit_findings(fitting, []))[0].says


def test_facts_are_not_changed() -> None:
    said = survey(node("a"), node("b", code=None))
    before = copy.deepcopy(said)
    findings(said)
    assert said == before
