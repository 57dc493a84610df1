"""Where the numbers come from, gathered from the attempts that made them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.ledger import replicas
from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy


@dataclass(frozen=True, kw_only=True)
class Fact:
    label: str
    values: tuple[str, ...]


def described(value: Any) -> str:
    """A recorded value in one line, mappings as `torch 2.11.0, ray 2.60`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {described(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(described(each) for each in value)
    return str(value)


FORMAT = "1"
"""Of the page: a number that rises when what it holds is told otherwise."""


LABELS: Mapping[str, str] = {"version": "Ablate", "mlflow": "MLflow"}
"""Of what is told about a page, where its name is no word for readers."""


def hardware(attempt: Mapping[str, Any]) -> str:
    """`2 × NVIDIA H100, 16 cores of AMD EPYC, 128.0 GiB`; in other words where it was recorded otherwise."""
    told = attempt.get("hardware")
    if not isinstance(told, Mapping) or not {"cpu", "cores", "memory_gib"} <= set(told):
        return described(told) if told else "hardware not recorded"
    gpus = Counter(map(str, told.get("gpus") or ()))
    cards = [name if count == 1 else f"{count} × {name}" for name, count in gpus.items()]
    return ", ".join([*cards, f"{_plural(told['cores'], 'core')} of {told['cpu']}", f"{told['memory_gib']} GiB"])


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
        name = hardware(attempt)
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


def _gpu_hours(attempts: Sequence[Mapping[str, Any]]) -> str:
    """What attempts on GPUs held of them: each as many as its replicas, or the share of one that it had."""
    held = [each for each in attempts if _site(each).get("device") == "cuda"]
    spent = sum(_seconds(each) * replicas(each) * float(_site(each).get("share") or 1) for each in held)
    return f"{spent / 3600:,.2f}" if held else ""


def _site(attempt: Mapping[str, Any]) -> Mapping[str, Any]:
    site = attempt.get("site")
    return site if isinstance(site, Mapping) else {}


def _told(attempts: Sequence[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    return _counted(described(each[name]) for each in attempts if each.get(name))


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
    gpu_hours = _gpu_hours(attempts)
    found = [
        *[
            Fact(label=LABELS.get(each, each), values=(told,))
            for each, told in about.items()
            if each != "command" and told
        ],
        Fact(label="format of the page", values=(FORMAT,)),
        Fact(label="study file, sha256", values=(study.sha256,)),
        Fact(label="given beside the file", values=tuple(study.overrides)),
        Fact(label="seeds", values=(_seeds(study),)),
        Fact(label="attempts", values=(_repeats(runs),)),
        Fact(label="computing time", values=_time(attempts)),
        Fact(label="GPU-hours", values=(gpu_hours,) if gpu_hours else ()),
        Fact(label="commit", values=_counted(_commit(each) for each in attempts if each.get("commit"))),
        Fact(label="versions", values=_told(attempts, "versions")),
        Fact(label="all packages, sha256", values=_told(attempts, "packages_sha256")),
        Fact(label="NVIDIA driver", values=_told(attempts, "driver")),
        Fact(label="kernels", values=_told(attempts, "kernels")),
        Fact(label="hosts", values=_told(attempts, "host")),
    ]
    return tuple(fact for fact in found if fact.values)
