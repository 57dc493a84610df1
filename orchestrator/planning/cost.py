"""What a trial is expected to take on one kind of hardware: seconds of an iteration, and memory.

The model counts multiply-adds and launches, and has a rule of thumb for what several replicas gain and what a shared
GPU loses. What the ledger measured on the same hardware takes the place of each of these, the nearest first.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import median
from typing import Any

from orchestrator.ledger import Commit, Ledger, LedgerError, TrialFolder
from orchestrator.trial import Resources, Trial

CPU_MULTIPLY_ADDS_PER_SECOND = 55e9
CPU_SECONDS_PER_LAUNCH = 3.5e-4
GPU_MULTIPLY_ADDS_PER_SECOND = 20e12
GPU_SECONDS_PER_LAUNCH = 7.5e-5
"""First guesses, one core or one GPU."""
DOUBLING = 0.95
"""Of twice the replicas' speed, what is left of it until it is measured."""
MOST_SHARING = 4
"""Trials on one GPU of which a gain is assumed before it is measured."""
CONTENTION = 0.8
"""Trials that share a GPU gain less than its idle time: of 3 times at most, 2.4 times."""
BYTES_PER_MULTIPLY_ADD = 0.04
"""Of a batch's forward pass, kept for the backward pass in fp32: ResNet-20 to -1202 on CIFAR-10 keep 0.033 to 0.037,
ImageNet's networks less."""
BYTES_PER_PARAMETER = 16.0
"""Weight, gradient, momentum and a copy for the checkpoint."""
PROCESS_MIB = 800.0
"""What a process takes on a GPU beside its tensors, which is not measured."""
SPARE = 1.1
"""Times the measured peak that is asked for: allocators round up."""
GPU_MEMORY_GIB: Mapping[str, float] = {
    "B200": 180, "H200": 141, "H100": 80, "A100": 40, "L40": 48, "A6000": 48, "A40": 48, "L4": 24, "A10": 24,
    "RTX 4090": 24, "RTX 3090": 24, "V100": 16, "T4": 16,
}  # fmt: skip
"""Of GPUs whose name does not say it, as that of an A100 80GB does."""
LEAST_GPU_MEMORY_GIB = 16.0
"""Of a GPU that nobody knows."""
TAIL_BYTES = 8192
"""Of the clock's records: what the last few dozen iterations between records cost stands for all."""

LEAST_ITERATIONS, LEAST_SHARE, LEAST_SECONDS = 20, 0.05, 30.0
"""Before the pace of a trial that is not done is one: so many iterations and so much of the trial, or so long."""


class Origin(StrEnum):
    """Where an expected time comes from."""

    MEASURED = "measured"
    """The same arm, on this hardware, with the same share and replicas."""
    SCALED = "scaled"
    """From other trials on this hardware, or from other resources."""
    GUESSED = "guessed"
    """Nothing was measured on this hardware."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One iteration of a trial, whatever it runs on."""

    multiply_adds: float
    """Forward and backward, of a whole batch."""
    launches: float

    def seconds(self, resources: Resources) -> float:
        """Alone on one GPU, or on a core."""
        if resources.gpus:
            return self.multiply_adds / GPU_MULTIPLY_ADDS_PER_SECOND + self.launches * GPU_SECONDS_PER_LAUNCH
        return self.multiply_adds / CPU_MULTIPLY_ADDS_PER_SECOND + self.launches * CPU_SECONDS_PER_LAUNCH

    @property
    def busy(self) -> float:
        """Share of the time in which a GPU computes; in the rest it waits for launches."""
        computes = self.multiply_adds / GPU_MULTIPLY_ADDS_PER_SECOND
        whole = self.seconds(Resources(gpus=1))
        return computes / whole if whole else 1.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """What of an attempt's resources decides its speed."""

    sharing: int = 1
    """Trials that share its GPU, itself among them."""
    replicas: int = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the ledger measured of one trial where it ran last."""

    key: str
    arm: str
    """The trial's parameters without its seed."""
    kin: str
    """Network and size of an iteration: the same under another schedule."""
    work: Work
    hardware: str
    """Model of its GPU, or of its processor."""
    on_gpu: bool
    site: Site
    seconds: float
    """Of an iteration, with its share of evaluations and commits."""
    peak_memory_mib: float | None = None


def work(trial: Trial) -> Work:
    """One iteration of the trial."""
    return Work(multiply_adds=trial.work / trial.iterations, launches=trial.launches / trial.iterations)


def guess(trial: Trial) -> float:
    """Seconds of a whole trial, alone on a GPU or a core, before anything was measured."""
    return work(trial).seconds(trial.resources) * trial.iterations


def site(resources: Resources) -> Site:
    """Where a trial with these resources runs."""
    sharing = round(1 / resources.gpus) if 0 < resources.gpus < 1 else 1
    return Site(sharing=sharing, replicas=resources.replicas)


def same_hardware(one: str, other: str) -> bool:
    """Whether two names mean one model: Ray calls an `NVIDIA H100 80GB HBM3` an `H100`."""
    words, others = _words(one), _words(other)
    return bool(words and others) and (words <= others or others <= words)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9.]+", name.lower())) - {"nvidia", "tesla", "geforce"}


@cache
def gpu_memory_mib(hardware: str) -> float:
    """Of one GPU: what its name says, or its model has."""
    if said := re.search(r"(\d+) ?GB", hardware):
        return float(said.group(1)) * 1e9 / 2**20
    known = (size for model, size in GPU_MEMORY_GIB.items() if _words(model) <= _words(hardware.replace("-", " ")))
    return next(known, LEAST_GPU_MEMORY_GIB) * 1024


# What the ledger measured ---------------------------------------------------------------------------------------------


def measured(folder: TrialFolder, head: Commit, about: Mapping[str, Any]) -> Measured | None:
    """What the trial cost where its last attempt ran; None where the record does not tell where that was."""
    attempts = folder.attempts()[: head.attempt]
    if not attempts or not head.iteration:
        return None
    places = [_place(each) for each in attempts]
    if places[-1] is None:
        return None
    hardware, on_gpu, where = places[-1]
    clock = [each for each in _clock_tail(folder, head) if each["iteration"] > attempts[-1].get("from_iteration", 0)]
    alike = all(each == places[-1] for each in places)
    done = head.result is not None
    began = 0 if alike else attempts[-1].get("from_iteration", 0)
    seconds = None if alike and done else _pace(clock)
    if seconds is None and alike:
        seconds = head.seconds / head.iteration
    if not seconds or not (done or _enough(head.iteration - began, about["iterations"], seconds)):
        return None
    arm, kin = _identities(about)
    return Measured(
        key=about["key"], arm=arm, kin=kin, hardware=hardware, on_gpu=on_gpu, site=where, seconds=seconds,
        work=Work(
            multiply_adds=about["work"] / about["iterations"], launches=about["launches"] / about["iterations"]
        ),
        peak_memory_mib=max((each["peak_memory_mib"] for each in clock if "peak_memory_mib" in each), default=None),
    )  # fmt: skip


def measured_beside(ledger: Ledger, known: Collection[str]) -> Iterator[Measured]:
    """What was measured of the trials that are not `known`: of other studies. What is damaged is left out."""
    for key in ledger.trials():
        if key not in known:
            folder = ledger.folder(key)
            with suppress(LedgerError, OSError, KeyError, TypeError, ValueError, ZeroDivisionError):
                about, head = folder.about(), folder.head()
                if about and head and (found := measured(folder, head, about)) is not None:
                    yield found


def identities(trial: Trial) -> tuple[str, str]:
    """`Measured.arm` and `Measured.kin` of a trial."""
    return _identities({
        "params": trial.params, "work": trial.work, "launches": trial.launches, "iterations": trial.iterations
    })  # fmt: skip


def _identities(about: Mapping[str, Any]) -> tuple[str, str]:
    params = {name: value for name, value in about["params"].items() if name != "seed"}
    size = [round(about[name] / about["iterations"]) for name in ("work", "launches")]
    return json.dumps(params, sort_keys=True), json.dumps([params.get("network"), *size], sort_keys=True)


def _place(attempt: Mapping[str, Any]) -> tuple[str, bool, Site] | None:
    hardware, told = attempt.get("hardware") or {}, attempt.get("site") or {}
    on_gpu = told.get("device") == "cuda"
    name = next(iter(hardware.get("gpus", ())), None) if on_gpu else hardware.get("cpu")
    if not name:
        return None
    sharing = round(1 / (told.get("share") or 1.0)) if on_gpu else 1
    return name, on_gpu, Site(sharing=sharing, replicas=told.get("replicas") or 1)


def _clock_tail(folder: TrialFolder, head: Commit) -> list[dict[str, float]]:
    """The last records of the committed clock: a trial of many days is read as fast as one of minutes."""
    length = head.streams["clock.jsonl"][0]
    try:
        with (folder.path / "clock.jsonl").open("rb") as file:
            begin = max(0, length - TAIL_BYTES)
            file.seek(begin)
            lines = file.read(length - begin).splitlines()[1 if begin else 0 :]
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []


def _pace(clock: Sequence[Mapping[str, float]]) -> float | None:
    """Seconds of an iteration between these records: what came before the first of them is start-up too."""
    iterations = clock[-1]["iteration"] - clock[0]["iteration"] if clock else 0
    return (clock[-1]["seconds"] - clock[0]["seconds"]) / iterations if iterations > 0 else None


def _enough(iterations: int, whole: int, pace: float) -> bool:
    """Whether so few iterations of a trial tell what the others take: a run that was interrupted at its beginning has
    measured how it warms up."""
    many = iterations >= LEAST_ITERATIONS and iterations >= LEAST_SHARE * whole
    return many or iterations * pace >= LEAST_SECONDS


# What is expected -----------------------------------------------------------------------------------------------------


class Costs:
    """What was measured on one kind of hardware, and what is expected there of anything else."""

    def __init__(self, found: Iterable[Measured], hardware: str) -> None:
        here = [each for each in found if same_hardware(each.hardware, hardware)]
        self.hardware = hardware
        self._by: dict[str, list[Measured]] = {}
        for each in here:
            for name in {each.key, each.arm, each.kin}:
                self._by.setdefault(name, []).append(each)
        self.gains = _gains(here)
        """Trials on one GPU -> how much more they train together than one alone, as measured."""
        self.doubling = _doubling(here)
        """Of twice the replicas' speed, what is left; measured, or None."""
        self._corrections = {
            on_gpu: median(self._ratio(each) for each in here if each.on_gpu is on_gpu)
            for on_gpu in {each.on_gpu for each in here}
        }
        self._names: dict[str, tuple[str, str, str]] = {}
        self._known: dict[tuple[str, str, str, Site, bool], tuple[float, Origin]] = {}
        """Seeds of an arm cost the same."""

    def iteration(self, trial: Trial, resources: Resources) -> tuple[float, Origin]:
        """Expected seconds of one iteration, and where that comes from."""
        at, on_gpu = site(resources), resources.gpus > 0
        names = self._names_of(trial)
        if (known := self._known.get((*names, at, on_gpu))) is None:
            known = self._known[*names, at, on_gpu] = self._iteration(names, work(trial), at, on_gpu)
        return known

    def _iteration(self, names: Sequence[str], job: Work, at: Site, on_gpu: bool) -> tuple[float, Origin]:
        groups = [[each for each in self._by.get(name, ()) if each.on_gpu is on_gpu] for name in names]
        for group in groups[:2]:
            if exact := [each.seconds for each in group if each.site == at]:
                return median(exact), Origin.MEASURED
        model = self._model(job, at, on_gpu)
        for group in groups:
            if near := _nearest(group, at):
                return median(map(self._ratio, near)) * model, Origin.SCALED
        if on_gpu in self._corrections:
            return self._corrections[on_gpu] * model, Origin.SCALED
        return model, Origin.GUESSED

    def memory_mib(self, trial: Trial) -> float:
        """What it takes of a GPU's memory, alone: measured, or estimated from multiply-adds and parameters."""
        for name in self._names_of(trial):
            peaks = [each.peak_memory_mib for each in self._by.get(name, ()) if each.on_gpu and each.peak_memory_mib]
            if peaks:
                return SPARE * max(peaks) + PROCESS_MIB
        kept = work(trial).multiply_adds / 3 * BYTES_PER_MULTIPLY_ADD
        return (kept + trial.parameters * BYTES_PER_PARAMETER) / 2**20 + PROCESS_MIB

    def sharings(self, trial: Trial) -> list[int]:
        """Trials that may share a GPU with this one, itself among them: 1, and as many as its memory allows."""
        most = max(1, int(gpu_memory_mib(self.hardware) // self.memory_mib(trial)))
        tried = {*range(1, MOST_SHARING + 1), *self.gains}
        return sorted(each for each in tried if each <= most)

    def gain(self, job: Work, sharing: int) -> float:
        """How much more so many trials train together on one GPU than one alone."""
        if sharing == 1:
            return 1.0
        return self.gains.get(sharing) or min(sharing, MOST_SHARING, 1 / max(job.busy, 1e-9)) ** CONTENTION

    def _names_of(self, trial: Trial) -> tuple[str, str, str]:
        """Under what something may be known of it: its key, its arm, its kin."""
        if (names := self._names.get(trial.key)) is None:
            names = self._names[trial.key] = (trial.key if trial.key in self._by else "", *identities(trial))
        return names

    def _ratio(self, each: Measured) -> float:
        """Measured over modelled."""
        return each.seconds / self._model(each.work, each.site, each.on_gpu)

    def _model(self, job: Work, at: Site, on_gpu: bool) -> float:
        seconds = job.seconds(Resources(gpus=1 if on_gpu else 0)) * at.sharing / self.gain(job, at.sharing)
        return max(seconds / (2 * (self.doubling or DOUBLING)) ** math.log2(at.replicas), 1e-12)


def _nearest(group: Sequence[Measured], at: Site) -> list[Measured]:
    """Those measured at the site that is least far from this one."""
    if not group:
        return []

    def far(each: Measured) -> tuple[float, float]:
        return abs(math.log2(each.site.replicas / at.replicas)), abs(math.log2(each.site.sharing / at.sharing))

    least = min(map(far, group))
    return [each for each in group if far(each) == least]


def _gains(here: Iterable[Measured]) -> dict[int, float]:
    """Of arms that were measured alone on a GPU and sharing one."""
    found: dict[int, list[float]] = {}
    for sites in _sites(here).values():
        alone = sites.get(Site())
        for at, seconds in sites.items():
            if alone and at.sharing > 1:
                found.setdefault(at.sharing, []).append(at.sharing * alone / seconds)
    return {sharing: median(gains) for sharing, gains in found.items()}


def _doubling(here: Iterable[Measured]) -> float | None:
    """Of arms that were measured with one replica and with several, whole GPUs each."""
    found = [
        (sites[Site()] / seconds) ** (1 / math.log2(at.replicas)) / 2
        for sites in _sites(here).values() if Site() in sites
        for at, seconds in sites.items() if at.replicas > 1
    ]  # fmt: skip
    return median(found) if found else None


def _sites(here: Iterable[Measured]) -> dict[str, dict[Site, float]]:
    """Network -> median seconds of an iteration at each site, on GPUs."""
    found: dict[str, dict[Site, list[float]]] = {}
    for each in here:
        if each.on_gpu:
            found.setdefault(each.kin, {}).setdefault(each.site, []).append(each.seconds)
    return {kin: {at: median(seconds) for at, seconds in sites.items()} for kin, sites in found.items()}


def most_measured_gpu(found: Iterable[Measured]) -> str:
    """The GPU on which most trials were measured; empty where none was."""
    names = Counter(each.hardware for each in found if each.on_gpu)
    return names.most_common(1)[0][0] if names else ""
