"""What checks are made of: samples compared as a rule asks, and the finding that comes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.spec import Shortcut
from orchestrator.runs import Run
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric
from reports.evidence import above
from reports.noise import Difference
from reports.samples import Comparison, Sample, compare, sample, samples_used
from reports.verdicts import WITHIN_NOISE, Answer, Finding, NotEnoughError, Part, all_of

TRAIN = Metric.TAIL_TRAIN
TEST = Metric.LAST_TEST
PAIRED_DEPTHS = (20, 32, 44, 56)
RESNET_DEPTHS = (20, 32, 44, 56, 110)
OTHER_RECIPE = "not the paper's recipe: "

Check = Callable[[Pool], Finding]
"""Over runs of arms that may be compared."""
CheckOfAll = Callable[[Sequence[MeasuredArm]], Finding]
"""Over every arm of the study."""


def finding(
    parts: Sequence[Part], statistic: str, used: Sequence[Sample], *, reason: str = "", **numbers: Any
) -> Finding:
    """What the parts come to: it holds where all do, and fails where one does."""
    answer = all_of(part.answer for part in parts)
    return Finding(
        answer=answer,
        statistic=statistic,
        n=sum(each.n for each in used),
        numbers={"samples": {each.arm.arm.name: each.numbers for each in used}, **numbers},
        reason=(reason or WITHIN_NOISE) if answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(caveat for each in used for caveat in each.caveats)),
        arms=tuple(each.arm.arm.name for each in used),
        parts=tuple(parts),
    )


def of_comparisons(
    decided: Sequence[Comparison],
    parts: Sequence[Part] | None = None,
    *,
    reported: Sequence[Comparison] = (),
    first: str = "",
    **numbers: Any,
) -> Finding:
    """What comparisons come to, each of which must exceed its noise unless the parts say otherwise.

    Those that are `reported` are told and decide nothing; `first` stands before them all.
    """
    told = [*decided, *reported]
    words = [each.short for each in told] if len(told) > 1 else [str(each) for each in told]
    return finding(
        [above(each) for each in decided] if parts is None else parts,
        "; ".join([*([first] if first else []), *words]),
        samples_used(told),
        differences={f"{each.high.label} − {each.low.label}": each.numbers for each in told},
        **numbers,
    )


def compared(pool: Pool, high: tuple[Shortcut, int], low: tuple[Shortcut, int], metric: Metric) -> Comparison:
    """Two networks of a pool, the one that should have the higher error first."""
    return compare(sample(pool, *high, metric), sample(pool, *low, metric))


def recorded(run: Run, metric: Metric) -> float:
    """Raises NotEnoughError where the run has none."""
    if metric.value not in run.result:
        raise NotEnoughError(f"{run.name} recorded no {metric.value}")
    return float(run.result[metric.value])


def differ_in_warm_up(one: MeasuredArm, other: MeasuredArm) -> bool:
    """Whether two arms are one network under one recipe, but for how it starts."""
    recipes = [
        {name: value for name, value in arm.arm.recipe.items() if not name.startswith("warmup_")}
        for arm in (one, other)
    ]
    return one.network == other.network and recipes[0] == recipes[1] and one.warms_up != other.warms_up


def numbers_of(gap: Difference) -> Mapping[str, float]:
    return {"difference": gap.value, "two_standard_errors": gap.noise}


def caveats(deviations: Sequence[str]) -> tuple[str, ...]:
    """A claim of the paper that was tested on other arms than the paper's says so."""
    return (f"{OTHER_RECIPE}{'; '.join(deviations)}",) if deviations else ()
