"""Where the numbers come from, gathered from the attempts that made them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy


@dataclass(frozen=True, kw_only=True)
class Fact:
    label: str
    values: tuple[str, ...]


def described(value: Any) -> str:
    """A recorded value in one line, mappings as `torch 2.11.0, ray 2.60`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {described(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(described(each) for each in value)
    return str(value)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _counted(values: Iterable[str]) -> tuple[str, ...]:
    """Each value once, the commonest first, with its count where there are several."""
    counts = Counter(values)
    if len(counts) == 1:
        return tuple(counts)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(f"{value} ({_plural(count, 'attempt')})" for value, count in ordered)


def _commit(attempt: Mapping[str, Any]) -> str:
    state = ", with uncommitted changes" if attempt.get("dirty") else ""
    return f"{attempt['commit']}{state}"


def hours(seconds: float) -> str:
    """`43 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _time(attempts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Of all attempts from begin to end, by hardware. Of one that was killed no end is recorded."""
    totals, unended = defaultdict[str, float](float), Counter[str]()
    for attempt in attempts:
        name = described(attempt.get("hardware") or "hardware not recorded")
        totals[name] += _seconds(attempt)
        unended[name] += "ended" not in attempt
    return tuple(
        f"{hours(seconds)} on {name}"
        + (f", and {_plural(unended[name], 'attempt')} without an end" if unended[name] else "")
        for name, seconds in totals.items()
    )


def _seconds(attempt: Mapping[str, Any]) -> float:
    if not ("started" in attempt and "ended" in attempt):
        return 0.0
    return (datetime.fromisoformat(attempt["ended"]) - datetime.fromisoformat(attempt["started"])).total_seconds()


def _seeds(study: RecordedStudy) -> str:
    seeds = sorted({seed for arm in study.arms for seed, _ in arm.trials})
    return ", ".join(map(str, seeds)) if len(seeds) <= 20 else f"{seeds[0]} to {seeds[-1]}, {len(seeds)} in all"


def _repeats(runs: Sequence[Run]) -> str:
    several = sum(len(run.attempts) > 1 for run in runs)
    attempts = sum(len(run.attempts) for run in runs)
    return f"{_plural(attempts, 'attempt')} for {_plural(len(runs), 'trial')}; {several} needed more than one"


def facts(study: RecordedStudy, runs: Sequence[Run], about: Mapping[str, str]) -> tuple[Fact, ...]:
    """In the order in which the page prints them; what was not recorded is left out."""
    attempts = [attempt for run in runs for attempt in run.attempts]
    found = [
        *[Fact(label=label, values=(value,)) for label, value in about.items() if label != "command"],
        Fact(label="study file, sha256", values=(study.sha256,)),
        Fact(label="given beside the file", values=tuple(study.overrides)),
        Fact(label="seeds", values=(_seeds(study),)),
        Fact(label="attempts", values=(_repeats(runs),)),
        Fact(label="computing time", values=_time(attempts)),
        Fact(label="commit", values=_counted(_commit(each) for each in attempts if each.get("commit"))),
        Fact(
            label="versions", values=_counted(described(each["versions"]) for each in attempts if each.get("versions"))
        ),
        Fact(label="hosts", values=_counted(str(each["host"]) for each in attempts if each.get("host"))),
    ]
    return tuple(fact for fact in found if fact.values)
