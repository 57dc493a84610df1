"""A cluster as a run finds it: what is wrong with it, its nodes, whether the trials fit, and that it was lost."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ablations.cli.exits import UNREACHABLE, fail, say
from ablations.reader import StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.placement import Node
    from orchestrator.remote.findings import Finding
    from orchestrator.remote.probe import Reached
    from orchestrator.trial import Trial


MOST_PORT = 65535


def refuse_address(address: str) -> None:
    """Raises StudyError for anything but `HOST:PORT`, with an IPv6 address in brackets, or `auto`."""
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]+):([0-9]{1,5})", address)
    if address != "auto" and not (found and 1 <= int(found[1]) <= MOST_PORT):
        raise StudyError(
            f"--address: is HOST:PORT of a Ray head, as 10.0.0.1:6379, or auto to find the one of this machine, not"
            f" {address[:200]!r}; PORT is 1 to {MOST_PORT}"
        )


def look_at(address: str, results: Path, allow_open: bool) -> "tuple[Reached, Sequence[Node]]":
    """The cluster that this machine is a node of, and its nodes, once all that a run needs of them is seen."""
    from orchestrator.remote.access import find_token
    from orchestrator.remote.probe import reach, survey

    if "://" in address:
        raise StudyError(
            f"--address: a run joins from a node, as HOST:PORT or auto; `ablate submit` goes to {address[:200]}"
        )
    refuse_address(address)
    head = reach(address, find_token(), allow_open=allow_open)
    return head, usable(survey(head, results), results, digest=code_digest(), shared_here=None)


def usable(
    survey: "Mapping[str, Any]", results: Path, *, digest: str | None, shared_here: bool | None
) -> "Sequence[Node]":
    """The nodes that were surveyed; every problem on a line of its own, and no run where one is bad."""
    from orchestrator.cluster import node_of
    from orchestrator.provenance import version
    from orchestrator.remote.findings import survey_findings

    ray = version("ray") or ""
    found = survey_findings(survey, digest=digest, results=str(results), ray=ray, shared_here=shared_here)
    _fail_if_bad(found)
    for each in found:
        if each.level == "warn":
            typer.echo(f"warning: {each.line}", err=True)
    return [node_of(each) for each in survey["nodes"]]


def refuse_what_does_not_fit(trials: "Sequence[Trial]", only: "Sequence[str]", nodes: "Sequence[Node]") -> None:
    from orchestrator.remote.findings import fit_findings

    wanted = [each for each in trials if each.blocked is None and (not only or {each.arm, each.name} & {*only})]
    _fail_if_bad(fit_findings(wanted, nodes))


def _fail_if_bad(found: "Sequence[Finding]") -> None:
    from orchestrator.remote.findings import bad

    if problems := [each.line for each in bad(found)]:
        for line in problems[:-1]:
            say(line, UNREACHABLE)
        fail(problems[-1], UNREACHABLE)


def lost(reason: str) -> None:
    """The cluster is gone, and what waits for it may wait for ever."""
    say(f"{reason}; what was committed is kept, and the same command goes on from there", UNREACHABLE)
    os._exit(UNREACHABLE)


def code_root() -> Path:
    """Where our packages lie."""
    return Path(__file__).resolve().parents[2]


def code_digest() -> str:
    from orchestrator.remote.onsite import digest

    return digest(code_root())
