"""Two errors on the same test images: their difference over seeds where there are several, else over the images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.spec import Shortcut
from orchestrator.ledger import LedgerError
from orchestrator.runs import MULTI_SCALE, TEN_CROP, TEST, Run
from reports.arms import Pool
from reports.cells import Metric
from reports.evidence import Alike, Beyond, Gap
from reports.noise import difference
from reports.samples import Sample, sample
from reports.verdicts import NotEnoughError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reports import ensembles

SEEDS = 3
"""So many seeds of both arms tell of the noise by themselves: claims.csv, "3 seeds or paired bootstrap with 1"."""
FILES: Mapping[Metric, tuple[str, int]] = {
    Metric.LAST_TEST: (TEST, 1),
    Metric.LAST_TEST_TOP5: (TEST, 5),
    Metric.LAST_PRECISE_TEST: (TEST, 1),
    Metric.LAST_TEN_CROP: (TEN_CROP, 1),
    Metric.LAST_TEN_CROP_TOP5: (TEN_CROP, 5),
    Metric.LAST_MULTI_SCALE: (MULTI_SCALE, 1),
    Metric.LAST_MULTI_SCALE_TOP5: (MULTI_SCALE, 5),
}
"""Which predictions an error was counted over, and among how many of the likeliest classes."""
KNOWN = 256
"""Files whose mistakes are remembered: of 50,000 images 100 kB each, where the file itself has 100 MB."""


def error_of(pool: Pool, shortcut: Shortcut, depth: int, metric: Metric) -> Sample:
    """An arm's error in percent, of one seed at least.

    Raises NotInStudyError where there is no such arm, NotEnoughError while a trial is to come.
    """
    return sample(pool, shortcut, depth, metric, fewest=1)


@dataclass(frozen=True, kw_only=True)
class Versus:
    """Two arms and the gap between their errors, the one that should be higher first."""

    high: Sample
    low: Sample
    gap: Gap
    over: str
    """What the noise is of: `3 and 3 seeds`, `50,000 images`."""
    wanted: Mapping[str, int] | None = None
    """Seeds more of each arm after which seeds decide; None where they do."""

    @property
    def arms(self) -> tuple[str, ...]:
        return self.high.arm.arm.name, self.low.arm.arm.name

    def beyond(self, margin: float = 0.0) -> Beyond:
        return Beyond(gap=self.gap, arms=self.arms, margin=margin, wanted=self.wanted)

    def alike(self, margin: float) -> Alike:
        return Alike(gap=self.gap, arms=self.arms, margin=margin, wanted=self.wanted)

    @property
    def numbers(self) -> dict[str, Any]:
        low, high = self.gap.interval()
        return {"difference": self.gap.value, "low": low, "high": high, "over": self.over}

    @property
    def caveats(self) -> tuple[str, ...]:
        lost = (*self.high.caveats, *self.low.caveats)
        return lost if self.wanted is None else (*lost, of_images(self.high, self.low))

    def __str__(self) -> str:
        low, high = self.gap.interval()
        interval = f"{self.gap.value:+z.2f} ({low:+z.2f} to {high:+z.2f})".replace("-", "−")
        return f"{self.high} − {self.low} = {interval} over {self.over}"


def of_images(*used: Sample) -> str:
    """What an interval over images leaves open."""
    names = " against ".join(dict.fromkeys(each.label for each in used))
    return f"{names}: the interval tells of the images, not of other seeds"


def versus(high: Sample, low: Sample) -> Versus:
    """Over seeds (Welch) where both arms have three; else over the images that both predicted, of all their seeds.

    On each image stands the share of an arm's seeds that were mistaken. Images are drawn with replacement, seeds are
    not: two of them tell too little of their noise. Raises NotEnoughError where there are neither.
    """
    if min(high.n, low.n) >= SEEDS:
        over = f"{high.n} and {low.n} seeds"
        return Versus(high=high, low=low, gap=difference(high.values, low.values), over=over)
    wanted = missing_seeds(SEEDS, high, low)
    try:
        gap, images = over_images(high, low)
    except (LedgerError, ValueError) as error:
        raise NotEnoughError(
            f"needs {SEEDS} seeds of {high.label} and {low.label}, or what they predicted for each image: {error}",
            wanted,
        ) from None
    return Versus(high=high, low=low, gap=gap, over=f"{images:,} images", wanted=wanted)


def missing_seeds(seeds: int, *of: Sample) -> dict[str, int]:
    """How many more of each arm are so many, by its name."""
    planned = {each.arm.arm.name: len(each.arm.runs) for each in of}
    return {arm: seeds - number for arm, number in planned.items() if number < seeds}


def over_images(high: Sample, low: Sample) -> "tuple[ensembles.Gap, int]":
    """The gap of two errors by what was predicted for each image, and how many images these are.

    Raises LedgerError and ValueError where predictions are missing, of other images, or not those of the errors.
    """
    from reports.ensembles import bootstrap

    first, second = ([_mistakes(run, each) for run in _runs(each)] for each in (high, low))
    if len({each.images for each in (*first, *second)}) > 1:
        raise ValueError(f"{high.label} and {low.label} predicted other images; they must be the same images")
    one, other = _shares(first, high), _shares(second, low)
    return bootstrap(one, other), len(one)


def error_over_images(of: Sample) -> "tuple[ensembles.Gap, int]":
    """An error by itself, with its noise over images, in the same way."""
    import numpy as np

    from reports.ensembles import bootstrap

    wrong = _shares([_mistakes(run, of) for run in _runs(of)], of)
    return bootstrap(wrong, np.zeros_like(wrong)), len(wrong)


def _runs(of: Sample) -> tuple[Run, ...]:
    return tuple(run for run in of.arm.finished if run.seed in of.by_seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mistakes:
    """Of one run by one view: (N,) of each image, and which images these are."""

    by_top: "Mapping[int, NDArray[np.bool_]]"
    images: str


@lru_cache(maxsize=KNOWN)  # a study's claims compare an arm many times
def _seen(kept: Callable[[], bytes], told: str) -> _Mistakes:
    from hashlib import sha256

    from orchestrator.predictions import unpack

    found = unpack(kept(), told)
    by_top = {top: found.wrong(top) for top in (1, 5)}
    return _Mistakes(by_top=by_top, images=sha256(found.labels.tobytes()).hexdigest())


def _kept(of: Sample) -> tuple[str, int]:
    """Raises ValueError for an error that was not counted over predictions that are kept."""
    if of.metric is None or of.metric not in FILES:
        raise ValueError(f"no predictions are kept of {of.metric}")
    if of.metric in (Metric.LAST_TEST, Metric.LAST_TEST_TOP5) and of.arm.arm.recipe.get("precise_bn"):
        raise ValueError(f"the predictions of {of.label} are those of its precise_test_error")
    return FILES[of.metric]


def _mistakes(run: Run, of: Sample) -> _Mistakes:
    """Raises LedgerError where none are kept, ValueError where they are not those that the error was counted over."""
    file, top = _kept(of)
    if file not in run.kept:
        raise LedgerError(f"{run.name}: kept no {file}")
    found = _seen(run.kept[file], f"{run.name}: {file}")
    wrong = found.by_top[top]
    apart = abs(int(wrong.sum()) - of.by_seed[run.seed] / 100 * len(wrong))
    if apart > max(1, len(wrong) / 1000):  # of like scores, rounding may choose another
        raise ValueError(f"{run.name}: {file} is mistaken on {wrong.mean():.2%}, not {of.by_seed[run.seed]:.2f} %")
    return found


def _shares(mistakes: "list[_Mistakes]", of: Sample) -> "NDArray[np.bool_] | NDArray[np.float64]":
    """(N,): on each image whether the run was mistaken, or what share of the runs."""
    import numpy as np

    wrong = [each.by_top[_kept(of)[1]] for each in mistakes]
    return wrong[0] if len(wrong) == 1 else np.mean(wrong, axis=0)
