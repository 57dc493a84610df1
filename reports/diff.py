"""Two trials, arms or studies side by side: what differs in what was asked, and in what came out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from orchestrator.runs import Curve, Run
from orchestrator.studies import RecordedArm, RecordedStudy
from reports.arms import MeasuredArm, gather
from reports.cells import Cell, Metric, measure
from reports.claims import judge
from reports.noise import difference
from reports.provenance import described
from reports.verdicts import Verdict

MACHINE = ("host", "hardware", "versions", "commit", "dirty", "kernels", "activations", "site")
"""What an attempt records that changes no key."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A value that differs; empty text where one side has none."""

    part: str
    """`network`, `recipe`, `data`, `attempts`, ..."""
    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A number of both sides. Errors in percent, their difference in points, seconds in seconds."""

    name: str
    a: float
    b: float
    n_a: int
    n_b: int
    noise: float | None = None
    """Two standard errors of the difference; None where a side has fewer than two runs."""

    @property
    def difference(self) -> float:
        """`b` minus `a`."""
        return self.b - self.a


@dataclass(frozen=True, kw_only=True)
class Parting:
    """One curve of two trials."""

    metric: str
    shared: int
    """Points at iterations that both have."""
    at: int | None
    """The first iteration at which they differ; None where all that they share is equal."""
    a: float | None = None
    b: float | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What sets two sides apart; all of it empty where nothing does."""

    kind: str
    """`trials`, `arms`, `studies`."""
    a: str
    b: str
    same_key: bool = False
    """Of trials: whether both are the same work, so that their curves should be equal."""
    changes: tuple[Change, ...] = ()
    gaps: tuple[Gap, ...] = ()
    curves: tuple[Parting, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether both sides are alike."""
        parted = any(each.at is not None for each in self.curves)
        return not (self.changes or parted or any(each.difference for each in self.gaps))


# Trials and arms ------------------------------------------------------------------------------------------------------


def of_trials(a: MeasuredArm, b: MeasuredArm, params_a: Mapping[str, Any], params_b: Mapping[str, Any]) -> Difference:
    """Two arms of one run each; `params` are those that the runs' keys were computed from."""
    (first,), (second,) = a.runs, b.runs
    same = first.key == second.key
    return Difference(
        kind="trials",
        a=first.name,
        b=second.name,
        same_key=same,
        changes=(
            *_params(params_a, params_b),
            *_changes("trial", {"outcome": first.outcome.value}, {"outcome": second.outcome.value}),
            *_attempts(a.runs, b.runs),
        ),
        gaps=(*_gaps(a, b), *([] if a.finished and b.finished else _so_far(first, second))),
        curves=tuple(partings(first.curves, second.curves)) if same else (),
    )


def of_arms(a: MeasuredArm, b: MeasuredArm) -> Difference:
    """Over the seeds that there are of each."""
    return Difference(
        kind="arms",
        a=a.arm.name,
        b=b.arm.name,
        changes=(*_arm_changes(a.arm, b.arm), *_attempts(a.runs, b.runs)),
        gaps=tuple(_gaps(a, b)),
    )


def _params(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    parts = [name for name in dict.fromkeys((*a, *b)) if isinstance(a.get(name, b.get(name)), Mapping)]
    found = [change for name in parts for change in _changes(name, a.get(name) or {}, b.get(name) or {})]
    rest_a, rest_b = ({name: value for name, value in each.items() if name not in parts} for each in (a, b))
    return [*found, *_changes("trial", rest_a, rest_b)]


def _arm_changes(a: RecordedArm, b: RecordedArm) -> list[Change]:
    sizes = [{"parameters": f"{arm.parameters:,}", "multiply-adds": f"{arm.multiply_adds:,}"} for arm in (a, b)]
    seeds = [{"seeds": [seed for seed, _ in sorted(arm.trials)]} for arm in (a, b)]
    return [
        *_changes("network", a.network, b.network),
        *_changes("recipe", a.recipe, b.recipe),
        *_changes("size", *sizes),
        *_changes("trials", *seeds),
    ]


def _changes(part: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
    """Of two mappings; what only one has is a change from or to nothing."""
    return [
        Change(part=part, name=str(name), a=_word(a, name), b=_word(b, name))
        for name in dict.fromkeys((*a, *b))
        if (name in a) != (name in b) or a.get(name) != b.get(name)
    ]


def _word(values: Mapping[str, Any], name: str) -> str:
    return described(values[name]) if name in values else ""


def _attempts(a: Sequence[Run], b: Sequence[Run]) -> list[Change]:
    """Where, with what and from which code both were computed: every value that an attempt had."""
    return _changes("attempts", _recorded(a), _recorded(b))


def _recorded(runs: Sequence[Run]) -> dict[str, str]:
    """`{"versions.torch": "2.11.0; 2.12.0"}`: each value once, in order of appearance."""
    found: dict[str, dict[str, None]] = {}
    for attempt in (each for run in runs for each in run.attempts):
        for name in MACHINE:
            value = attempt.get(name)
            parts = value.items() if isinstance(value, Mapping) else [("", value)]
            for part, each in parts:
                if each is not None:
                    found.setdefault(f"{name}.{part}" if part else name, {})[described(each)] = None
    return {name: "; ".join(values) for name, values in found.items()}


def partings(a: Mapping[str, Curve], b: Mapping[str, Curve]) -> Iterable[Parting]:
    """Where the curves of both part, for each metric that both have."""
    for metric in (name for name in a if name in b):
        first, second = _points(a[metric]), _points(b[metric])
        shared = sorted(first.keys() & second.keys())
        at = next((each for each in shared if not _equal(first[each], second[each])), None)
        values = {} if at is None else {"a": first[at], "b": second[at]}
        yield Parting(metric=metric, shared=len(shared), at=at, **values)


def _points(curve: Curve) -> dict[int, float]:
    return dict(zip(curve.iterations, curve.values, strict=True))


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


# Numbers --------------------------------------------------------------------------------------------------------------


def _gaps(a: MeasuredArm, b: MeasuredArm, prefix: str = "") -> list[Gap]:
    """Of every metric that both have."""
    cells = [(measure(a, metric), measure(b, metric)) for metric in Metric]
    return [_gap(first, second, prefix) for first, second in cells if first.n and second.n]


def _gap(a: Cell, b: Cell, prefix: str) -> Gap:
    several = a.n > 1 and b.n > 1
    return Gap(
        name=f"{prefix}{a.title}",
        a=fmean(a.values),
        b=fmean(b.values),
        n_a=a.n,
        n_b=b.n,
        noise=difference(b.values, a.values).noise if several else None,
    )


def _so_far(a: Run, b: Run) -> list[Gap]:
    """At the last iteration that both have recorded, where one of them is not at its end."""
    found = []
    for metric in ("train_error", "test_error"):
        if metric not in a.curves or metric not in b.curves:
            continue
        first, second = _points(a.curves[metric]), _points(b.curves[metric])
        if shared := first.keys() & second.keys():
            at = max(shared)
            name = f"{metric.replace('_', ' ')} at iteration {at:,}"
            found.append(Gap(name=name, a=first[at], b=second[at], n_a=1, n_b=1))
    return found


# Studies --------------------------------------------------------------------------------------------------------------


def of_studies(a: RecordedStudy, runs_a: Sequence[Run], b: RecordedStudy, runs_b: Sequence[Run]) -> Difference:
    """Arms are paired by name; of those, and of the claims of both, what differs."""
    arms_a, arms_b = ({arm.arm.name: arm for arm in gather(*each)} for each in ((a, runs_a), (b, runs_b)))
    both = [(arm, arms_b[name]) for name, arm in arms_a.items() if name in arms_b]
    gaps = [gap for one, other in both for gap in _gaps(one, other, prefix=f"{one.arm.name}: ")]
    return Difference(
        kind="studies",
        a=a.name,
        b=b.name,
        changes=(
            *_changes("study", _asked(a), _asked(b)),
            *_alone(list(arms_a), list(arms_b)),
            *[replace(each, part=f"{one.arm.name} {each.part}") for one, other in both
              for each in _arm_changes(one.arm, other.arm)],
            *_attempts([run for arm in arms_a.values() for run in arm.runs],
                       [run for arm in arms_b.values() for run in arm.runs]),
            *_verdicts(judge(a, runs_a), judge(b, runs_b)),
        ),
        gaps=tuple(each for each in gaps if each.difference or each.n_a != each.n_b),
    )  # fmt: skip


def _alone(a: Sequence[str], b: Sequence[str]) -> list[Change]:
    """Names that one side has and the other has not."""
    only_a, only_b = (", ".join(name for name in one if name not in other) for one, other in ((a, b), (b, a)))
    return [Change(part="arms", name="in one alone", a=only_a, b=only_b)] if only_a or only_b else []


def _asked(study: RecordedStudy) -> dict[str, Any]:
    return {
        "question": study.question,
        "source": study.source,
        "file, sha256": study.sha256,
        "given beside the file": list(study.overrides),
        "tables": list(study.tables),
        "figures": list(study.figures),
        "claims": [claim["id"] for claim in study.claims],
    }


def _verdicts(a: Sequence[Verdict], b: Sequence[Verdict]) -> list[Change]:
    """Of claims that both make, and judge otherwise."""
    told_a, told_b = ({each.id: each.verdict.value for each in side} for side in (a, b))
    both = [name for name in told_a if name in told_b]
    return _changes("verdicts", {name: told_a[name] for name in both}, {name: told_b[name] for name in both})
