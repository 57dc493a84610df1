"""What was recorded, read back for reports: a Run is what happened to one trial, a Curve is one metric of it."""

import json
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import chain
from math import inf, isnan, nan
from statistics import fmean, median
from typing import Any

from orchestrator.ledger import Ledger, LedgerError, replicas
from orchestrator.studies import RecordedArm, RecordedStudy


class Outcome(StrEnum):
    """How a trial stands in the ledger."""

    MISSING = "missing"
    """Nothing was committed."""
    RUNNING = "running"
    """Something was committed, the end not reached; whether an attempt lives now is another matter."""
    FINISHED = "finished"
    DIVERGED = "diverged"
    """The loss became NaN or infinite: a result, not an error."""
    FAILED = "failed"
    """The last attempt raised an error; `Run.reason` is the last line of its traceback."""


UNITS: Mapping[str, str] = {
    "train_error": "%",
    "clean_train_error": "%",
    "clean_train_top5_error": "%",
    "validation_error": "%",
    "validation_top5_error": "%",
    "test_error": "%",
    "precise_test_error": "%",
    "test_top5_error": "%",
    "precise_test_top5_error": "%",
    "ten_crop_error": "%",
    "ten_crop_top5_error": "%",
    "multi_scale_error": "%",
    "multi_scale_top5_error": "%",
    "train_loss": "nats",
    "clean_train_loss": "nats",
    "validation_loss": "nats",
    "test_loss": "nats",
    "precise_test_loss": "nats",
    "lr": "1",
}
"""Unit of each metric. Errors are percentages, never accuracies."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric against SGD iterations."""

    metric: str
    iterations: Sequence[int]
    values: Sequence[float]

    @property
    def unit(self) -> str:
        return UNITS.get(self.metric, "1")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the ledger holds of one trial. `curves` are committed points only, in order, without gap or duplicate."""

    key: str
    name: str
    arm: str
    seed: int
    params: Mapping[str, Any]
    """`network`, `recipe`, `data`, `seed`, `semantics`: see `ablations.keys`."""
    outcome: Outcome
    iteration: int = 0
    """Last committed iteration."""
    iterations: int = 0
    """Iterations of a complete trial."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    """Of a finished or diverged trial: `last_...` of every metric's error, `best_test_error`, `best_iteration`,
    `tail_train_error`, `tail_test_error` (means over the last 10/64 of the iterations, the paper's last 10k),
    `diverged_at`."""
    attempts: Sequence[Mapping[str, Any]] = ()
    """One record per attempt, oldest first: `started`, `ended` (not of one that was killed), `cause`, `host`,
    `hardware`, `versions`, `commit`, `dirty`; once it computes, `kernels` and `activations` (`kept` or
    `recomputed`)."""
    seconds: float = 0.0
    """Training seconds over all attempts, as committed."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """`images_per_second` (median over the records), `peak_memory_mib` (highest), `device_energy_joules` (sum): of the
    machines that trained it, and left out where they do not tell."""
    probes: Sequence[Mapping[str, Any]] = ()
    """What the probes saw, in order; `probe_summary` says what each comes down to."""
    kept: Mapping[str, Callable[[], bytes]] = field(default_factory=dict, compare=False, repr=False)
    """The files beside the result, by name: what reads one, and raises LedgerError if it is damaged or gone."""
    reason: str | None = None
    mlflow_run: str | None = None
    notes: Sequence[str] = ()
    """What the reader had to leave out, such as a damaged checkpoint; shown on the page."""


TEST, TEN_CROP, MULTI_SCALE = "predictions-test.npz", "predictions-ten-crop.npz", "predictions-multi-scale.npz"
"""Kept files with what was predicted for each test image: of the centre crop, of ten crops, and of several scales
(sec. 3.4)."""
PAPER_TAIL = 10 / 64
"""The paper's curves are read over their last 10k of 64k iterations; other schedules over the same share."""


def read_runs(study: RecordedStudy, ledger: Ledger, *, measured: bool = True) -> list[Run]:
    """One Run per trial of the study, in its order; what was never started is there too, as missing."""
    return [read_run(arm, seed, key, ledger, measured=measured) for arm in study.arms for seed, key in arm.trials]


def read_run(arm: RecordedArm, seed: int, key: str, ledger: Ledger, *, measured: bool = True) -> Run:
    """What the ledger holds of one trial. Damage is never read as a number: it is said in `notes`, and left out.

    Without `measured`, that is checked and not read: there are no curves, costs, probes, nor what sums them up.
    """
    folder = ledger.folder(key)
    attempts = folder.attempts()
    reason = next((each.get("reason") for each in attempts[-1:] if each.get("cause") == "error"), None)
    known = {
        "key": key,
        "name": f"{arm.name}.s{seed}",
        "arm": arm.name,
        "seed": seed,
        "params": {"network": arm.network, "recipe": arm.recipe, "seed": seed},
        "iterations": arm.recipe["iterations"],
        "attempts": attempts,
        "reason": reason,
        "mlflow_run": _published(ledger, key),
    }
    try:
        head = folder.head() if measured else folder.check()
        read = head if measured else None
        curves = _curves(folder.records("curves.jsonl", read)) if read else {}
        costs = _costs(folder.records("clock.jsonl", read)) if read else {}
        probes = folder.records("probes.jsonl", read) if read else []
    except LedgerError as error:
        return Run(**known, outcome=Outcome.MISSING, notes=(str(error),))
    if head is None:
        return Run(**known, outcome=Outcome.FAILED if reason else Outcome.MISSING)
    if head.result is not None:
        outcome = Outcome(head.result["outcome"])
    else:
        outcome = Outcome.FAILED if reason else Outcome.RUNNING
    return Run(
        **known,
        outcome=outcome,
        iteration=head.iteration,
        curves=curves,
        result=dict(head.result) | _summary(curves, known["iterations"]) if head.result else {},
        seconds=head.seconds,
        costs=costs,
        probes=tuple(numbers(each) for each in probes),
        kept={name: partial(folder.kept, name, head) for name in (head.result or {}).get("kept", {})},
        notes=(*(note for each in attempts for note in each.get("notes", ())), *_mixed(attempts)),
    )


def fingerprints(study: RecordedStudy, ledger: Ledger) -> dict[str, str]:
    """What identifies each data set of the study, as the first of its trials that has begun recorded it."""
    found: dict[str, str] = {}
    for arm in study.arms:
        for _, key in arm.trials:
            if str(arm.network.get("data")) in found:
                break
            with suppress(LedgerError):
                data = (ledger.folder(key).about() or {"params": {}})["params"].get("data", {})
                if "fingerprint" in data:
                    found[str(data.get("name"))] = str(data["fingerprint"])
    return found


def damaged(run: Run) -> list[str]:
    """What is wrong with the files beside the result, each of which is read whole: in a line each."""
    found = []
    for read in run.kept.values():
        try:
            read()
        except LedgerError as error:
            found.append(str(error))
    return found


def _mixed(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Caveats where attempts computed unlike each other: resuming is exact to the bit on like machines, with as many
    replicas."""
    computed = [each for each in attempts if "kernels" in each]
    machines = sorted({_machine(each) for each in computed})
    counts = sorted({replicas(each) for each in computed})
    found = []
    if len(machines) > 1:
        found.append(f"attempts computed on unlike machines, so that bits may differ: {'; '.join(machines)}")
    if len(counts) > 1:
        told = ", ".join(map(str, counts))
        found.append(f"attempts computed with unlike numbers of replicas, so that bits may differ: {told}")
    return found


def _machine(attempt: Mapping[str, Any]) -> str:
    """What decides an attempt's rounding."""
    hardware = attempt.get("hardware", {})
    if not isinstance(hardware, Mapping):
        hardware = {"cpu": hardware}
    on_gpu = attempt.get("site", {}).get("device") == "cuda"
    gpus = sorted(set(hardware.get("gpus", ()))) if on_gpu else []  # how many stand beside the trial's rounds nothing
    kernels, _, _ = attempt["kernels"].partition(":")  # the reason for them may name a path of the machine
    return f"{', '.join(gpus) or hardware.get('cpu')}, kernels {kernels}"


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Each metric of the records, at the iterations of those that have it. Ten thousand trials are read for a page, so
    numbers are kept in arrays: a quarter of the memory of tuples."""
    every = _whole(records)
    found = {}
    for name in dict.fromkeys(chain.from_iterable(records)):
        if name == "iteration":
            continue
        told = [record for record in records if name in record]
        found[name] = Curve(
            metric=name,
            iterations=every if len(told) == len(records) else _whole(told),
            values=array("d", [float(record[name]) for record in told]),
        )
    return found


def _whole(records: Sequence[Mapping[str, Any]]) -> Sequence[int]:
    return array("q", [record["iteration"] for record in records])


def _summary(curves: Mapping[str, Curve], iterations: int) -> dict[str, float]:
    """The numbers that tables show: last, best (the paper reports the last) and the mean of the tail."""
    summary: dict[str, float] = {}
    for name, curve in curves.items():
        if name.endswith("_error"):
            summary[f"last_{name}"] = curve.values[-1]
    for name in ("train_error", "test_error"):
        if (curve := curves.get(name)) and (tail := _tail(curve, iterations)):
            summary[f"tail_{name}"] = fmean(tail)
    if test := curves.get("test_error"):
        best = min(range(len(test.values)), key=lambda each: test.values[each])
        summary |= {"best_test_error": test.values[best], "best_iteration": test.iterations[best]}
    return summary


def _tail(curve: Curve, iterations: int) -> Sequence[float]:
    return curve.values[bisect_right(curve.iterations, iterations * (1 - PAPER_TAIL)) :]


_COSTS = {"images_per_second": median, "peak_memory_mib": max, "device_energy_joules": sum}


def _costs(clock: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What training cost, over all records that tell."""
    told = {name: [record[name] for record in clock if name in record] for name in _COSTS}
    return {name: round(float(_COSTS[name](values)), 1) for name, values in told.items() if values}


def numbers(part: Any) -> Any:
    """NaN and infinity, which the ledger keeps as text, as numbers again."""
    if isinstance(part, dict):
        return {name: numbers(each) for name, each in part.items()}
    if isinstance(part, list):
        return [numbers(each) for each in part]
    return float(part) if part in ("nan", "inf", "-inf") else part


def probe_summary(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a probe comes down to, by name; NaN where it saw one, infinity over a layer without gradient."""
    gradient = record["gradient"]
    found = {
        "gradient_first_over_last": _ratio(gradient[0], gradient[-1]),
        "gradient_max_over_min": _ratio(_of(max, gradient), _of(min, gradient)),
        "norm_variance_min": _of(min, record["norm_variance"]),
        "activation_variance_min": _of(min, record["activation_variance"]),
    }
    if record["response"]:
        found["response_mean"] = fmean(record["response"])
    if record["residual_over_input"]:
        found["residual_over_input_median"] = _of(median, record["residual_over_input"])
    return found


def _of(statistic: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    """Of an order among values, of which NaN has none: where one is NaN, so is what is said of all."""
    return nan if any(map(isnan, values)) else statistic(values)


def _ratio(over: float, under: float) -> float:
    """A dead network has gradients of exactly 0."""
    if under == 0:
        return inf if over > 0 else nan
    return over / under


def _published(ledger: Ledger, key: str) -> str | None:
    """Id of the MLflow run that shows this trial, if it was published."""
    try:
        return json.loads((ledger.root / "published" / f"{key}.json").read_text(encoding="utf-8"))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
