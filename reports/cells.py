"""One cell of a table: what an arm measured of one metric, or why there is nothing to show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from models.spec import Layout
from orchestrator.runs import Outcome, Run
from reports.arms import MeasuredArm
from reports.noise import interval, spread


class Metric(StrEnum):
    """What is read from a finished run. All but the costs are percent; the values are keys of `Run.result`."""

    LAST_TEST = "last_test_error"
    """At the last iteration: what the paper reports."""
    BEST_TEST = "best_test_error"
    """Lowest over all evaluations, so chosen with the test set: never compared with the paper."""
    LAST_TRAIN = "last_train_error"
    TAIL_TRAIN = "tail_train_error"
    """Mean over the last 10/64 of the iterations, the paper's last 10k."""
    LAST_CLEAN_TRAIN = "last_clean_train_error"
    """At the last iteration, over the training images without augmentation and in evaluation mode."""
    LAST_CLEAN_TRAIN_TOP5 = "last_clean_train_top5_error"
    LAST_VALIDATION = "last_validation_error"
    """At the last iteration, over training images that were held out."""
    LAST_VALIDATION_TOP5 = "last_validation_top5_error"
    LAST_TEN_CROP = "last_ten_crop_error"
    """At the last iteration, ten crops of an image averaged: Tables 2 and 3."""
    LAST_TEN_CROP_TOP5 = "last_ten_crop_top5_error"
    """The image's class is not among the five likeliest."""
    LAST_MULTI_SCALE = "last_multi_scale_error"
    """At the last iteration, fully-convolutional, several scales averaged: Table 4."""
    LAST_MULTI_SCALE_TOP5 = "last_multi_scale_top5_error"
    LAST_TEST_TOP5 = "last_test_top5_error"
    LAST_PRECISE_TEST = "last_precise_test_error"
    """At the last iteration, with batch-norm statistics computed anew."""
    LAST_PRECISE_TEST_TOP5 = "last_precise_test_top5_error"
    TAIL_TEST = "tail_test_error"
    """Mean over the last 10/64 of the iterations."""
    SECONDS = "seconds"
    """Training seconds over all attempts."""
    IMAGES_PER_SECOND = "images_per_second"
    PEAK_MEMORY = "peak_memory_mib"
    """MiB."""


COSTS = (Metric.SECONDS, Metric.IMAGES_PER_SECOND, Metric.PEAK_MEMORY)
"""No errors: facts of the machines, not of the trial."""
UNITS: Mapping[Metric, str] = {
    **dict.fromkeys(Metric, "%"),
    Metric.SECONDS: "s",
    Metric.IMAGES_PER_SECOND: "1/s",
    Metric.PEAK_MEMORY: "MiB",
}
TOP = 5
"""Guesses of a top-5 error; of a data set with no more classes every image is right."""

TITLES: Mapping[Metric, str] = {
    Metric.LAST_TEST: "test error, last iterate",
    Metric.BEST_TEST: "best test error",
    Metric.LAST_TRAIN: "training error, last point",
    Metric.TAIL_TRAIN: "training error",
    Metric.LAST_CLEAN_TRAIN: "training error without augmentation, last iterate",
    Metric.LAST_CLEAN_TRAIN_TOP5: "top-5 training error without augmentation, last iterate",
    Metric.LAST_VALIDATION: "held-out error, last iterate",
    Metric.LAST_VALIDATION_TOP5: "top-5 held-out error, last iterate",
    Metric.LAST_TEN_CROP: "top-1 error, 10-crop",
    Metric.LAST_TEN_CROP_TOP5: "top-5 error, 10-crop",
    Metric.LAST_MULTI_SCALE: "top-1 error, multi-scale",
    Metric.LAST_MULTI_SCALE_TOP5: "top-5 error, multi-scale",
    Metric.LAST_TEST_TOP5: "top-5 test error, last iterate",
    Metric.LAST_PRECISE_TEST: "test error by averaged statistics, last iterate",
    Metric.LAST_PRECISE_TEST_TOP5: "top-5 test error by averaged statistics, last iterate",
    Metric.TAIL_TEST: "test error, mean of the tail",
    Metric.SECONDS: "training seconds",
    Metric.IMAGES_PER_SECOND: "training images per second",
    Metric.PEAK_MEMORY: "peak memory, MiB",
}


def title(metric: Metric, layout: Layout = "cifar") -> str:
    """What a metric is called; networks for ImageNet are tested on what the paper calls the validation set."""
    return TITLES[metric].replace("test error", "validation error") if layout == "imagenet" else TITLES[metric]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm's measurement of one metric over its seeds."""

    arm: str
    metric: Metric
    values: tuple[float, ...]
    """One per finished run, in order of seed."""
    keys: tuple[str, ...]
    """The run that made each value."""
    planned: int
    """Trials of the arm."""
    absent: tuple[str, ...]
    """Why a trial gave no value, one per such trial: `s3: failed: CUDA out of memory`."""
    reason: str
    """Why the cell is empty; empty text when it is not."""
    layout: Layout = "cifar"

    @property
    def title(self) -> str:
        return title(self.metric, self.layout)

    @property
    def unit(self) -> str:
        return UNITS[self.metric]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds; None below two."""
        return spread(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % t-interval of the mean; None below two seeds."""
        return interval(self.values)

    def text(self, decimals: int | None = None) -> str:
        """`8.71 ± 0.12 (5)`: mean, sample standard deviation, n; `(3 of 5)` while trials are missing.

        By default errors have two decimals, and costs one.
        """
        if self.mean is None:
            return self.reason
        decimals = (1 if self.metric in COSTS else 2) if decimals is None else decimals
        deviation = "" if self.sd is None else f" ± {self.sd:.{decimals}f}"
        count = f"{self.n}" if self.n == self.planned else f"{self.n} of {self.planned}"
        return f"{self.mean:.{decimals}f}{deviation} ({count})"


def _without_sense(arm: MeasuredArm, metric: Metric) -> str:
    """Why no run can measure this; empty where one can."""
    few = metric.value.endswith("top5_error") and arm.network.classes <= TOP
    return f"no top-5 error: {arm.network.classes} classes" if few else ""


def _value(run: Run, metric: Metric) -> float | None:
    if run.outcome is not Outcome.FINISHED:
        return None
    if metric in COSTS:
        value = run.seconds if metric is Metric.SECONDS else run.costs.get(metric.value)
    else:
        value = run.result.get(metric.value)
    return None if value is None or not math.isfinite(value) else float(value)


def why_absent(run: Run) -> str:
    """Why a run gives no final value: `not run`, `failed: ...`, `running: 400 of 64,000 iterations`, `diverged ...`."""
    match run.outcome:
        case Outcome.MISSING if run.notes:  # they say what is damaged, or newer
            return "unreadable in the ledger"
        case Outcome.MISSING:
            return "not run"
        case Outcome.RUNNING:
            return f"running: {run.iteration:,} of {run.iterations:,} iterations"
        case Outcome.DIVERGED:
            return f"diverged at iteration {run.result.get('diverged_at', run.iteration):,}"
        case Outcome.FAILED:
            return f"failed: {run.reason or 'no reason was recorded'}"
        case Outcome.FINISHED:
            return "not recorded"


def _summary(reasons: Sequence[str]) -> str:
    """One reason for a whole empty cell; several are counted, the commonest first."""
    if not reasons:
        return "no trial"
    counts: dict[str, int] = {}
    for each in reasons:
        counts[each] = counts.get(each, 0) + 1
    if len(counts) == 1:
        return reasons[0]
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return "; ".join(f"{count} × {reason}" for reason, count in ordered)


def measure(arm: MeasuredArm, metric: Metric) -> Cell:
    """The cell of this arm and metric."""
    senseless = _without_sense(arm, metric)
    known = [(run, value) for run in arm.runs if not senseless and (value := _value(run, metric)) is not None]
    done = {run.key for run, _ in known}
    missing = [run for run in arm.runs if run.key not in done]
    blocked = f"blocked: {arm.arm.blocked}" if arm.arm.blocked else ""
    instead = {Outcome.MISSING: blocked, Outcome.FINISHED: senseless}
    reasons = [instead.get(run.outcome) or why_absent(run) for run in missing]
    return Cell(
        arm=arm.arm.name,
        metric=metric,
        values=tuple(value for _, value in known),
        keys=tuple(run.key for run, _ in known),
        planned=len(arm.runs),
        absent=tuple(f"s{run.seed}: {reason}" for run, reason in zip(missing, reasons, strict=True)),
        reason="" if known else blocked or _summary(reasons),
        layout=arm.network.layout,
    )
