"""What the paper says of ImageNet: depth and shortcuts in 10-crop errors, several scales, ensembles (Tables 2 to 5)."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from models.spec import Shortcut
from orchestrator.runs import MULTI_SCALE, TEN_CROP, TEST, Run
from reports.arms import MeasuredArm, Pool
from reports.cells import Metric
from reports.checks.rules import TRAIN, Check, recorded
from reports.evidence import Beyond, Plain, plain
from reports.paired import Versus, error_of, versus
from reports.samples import Sample, ended, sample_of
from reports.verdicts import WITHIN_NOISE, Answer, Finding, NotEnoughError, NotInStudyError, Part, all_of

TOP1, TOP5 = Metric.LAST_TEN_CROP, Metric.LAST_TEN_CROP_TOP5
Net = tuple[Shortcut, int]
PLAIN_18: Net = ("none", 18)
PLAIN_34: Net = ("none", 34)
A_18: Net = ("A", 18)
A_34: Net = ("A", 34)
B_34: Net = ("B", 34)
C_34: Net = ("C", 34)


def _versus(pool: Pool, high: Net, low: Net, metric: Metric = TOP1) -> Versus:
    return versus(error_of(pool, *high, metric), error_of(pool, *low, metric))


def _found(
    parts: Sequence[Part],
    gaps: Sequence[Versus] = (),
    *,
    sides: Sequence[Sample] = (),
    after: str = "",
    reason: str = WITHIN_NOISE,
    **numbers: object,
) -> Finding:
    """What the parts come to, with the gaps and errors that they rest on."""
    used = {each.arm.arm.name: each for gap in gaps for each in (gap.high, gap.low)}
    used |= {each.arm.arm.name: each for each in sides}
    answer = all_of(part.answer for part in parts)
    words = [*map(str, gaps), *([after] if after else [])]
    return Finding(
        answer=answer,
        statistic="; ".join(words or map(str, used.values())),
        n=sum(each.n for each in used.values()),
        numbers={
            "samples": {name: each.numbers for name, each in used.items()},
            "differences": {f"{gap.high.arm.label} − {gap.low.arm.label}": gap.numbers for gap in gaps},
            **numbers,
        },
        reason=reason if answer is Answer.UNDECIDED else "",
        caveats=tuple(dict.fromkeys(caveat for each in (*gaps, *used.values()) for caveat in each.caveats)),
        arms=tuple(used),
        parts=tuple(parts),
    )


def _band(gap: Versus, about: float, width: float) -> str:
    """How near the paper's own gap is, which is reported and decides nothing."""
    within = "within" if abs(gap.gap.value - about) <= width else "outside"
    return f"{within} the band {about:.2f} ± {width:g} of the paper's gap"


# Degradation


def deg_06(pool: Pool) -> Finding:
    """10-crop top-1, plain-34 - plain-18: 95 % CI of the difference above 0."""
    gap = _versus(pool, PLAIN_34, PLAIN_18)
    return _found([gap.beyond()], [gap])


VGG_16 = (28.07, 9.33)
"""Top-1 and top-5 error, 10-crop, as Table 3 prints them."""


def deg_12(pool: Pool) -> Finding:
    """plain-34, 10-crop: within 1.0 point of the VGG-16 row in top-1 and in top-5."""
    sides = [error_of(pool, *PLAIN_34, metric) for metric in (TOP1, TOP5)]
    _paper_only(pool)
    gaps = [each.mean - printed for each, printed in zip(sides, VGG_16, strict=True)]
    told = f"plain-34 {sides[0].mean:.2f} / {sides[1].mean:.2f} against VGG-16 {VGG_16[0]} / {VGG_16[1]}"
    return _found([plain(abs(gap) <= 1.0) for gap in gaps], sides=sides[:1], after=told, to_vgg_16=gaps)


def _paper_only(pool: Pool) -> None:
    if not pool.paper:
        raise NotEnoughError(f"compares with an error that the paper printed, and this was {pool.title}")


# Residual networks


def res_01(pool: Pool) -> Finding:
    """10-crop top-1, ResNet-18 A - ResNet-34 A: 95 % CI above 0; the band 2.85 +- 0.6 is reported."""
    gap = _versus(pool, A_18, A_34)
    return _found([gap.beyond()], [gap], after=_band(gap, 2.85, 0.6))


def _tail(arm: MeasuredArm) -> float:
    return fmean(recorded(run, TRAIN) for run in arm.finished)


def res_03(pool: Pool) -> Finding:
    """10-crop top-1, plain-34 - ResNet-34 A: 95 % CI above 0, training error lower too; the band 3.5 +- 0.8 is
    reported."""
    gap = _versus(pool, PLAIN_34, A_34)
    trains = [_tail(each.arm) for each in (gap.high, gap.low)]
    told = f"training error {trains[0]:.2f} and {trains[1]:.2f}; {_band(gap, 3.5, 0.8)}"
    return _found([gap.beyond(), plain(trains[0] > trains[1])], [gap], after=told, training=trains)


def res_04(pool: Pool) -> Finding:
    """10-crop top-1, plain-18 - ResNet-18 A: 95 % CI of the difference inside +-0.75 point (two one-sided tests)."""
    gap = _versus(pool, PLAIN_18, A_18)
    return _found([gap.alike(0.75)], [gap], reason="the interval reaches beyond ±0.75 point on one side")


# Shortcuts


def sc_01(pool: Pool) -> Finding:
    """10-crop top-1, plain-34 minus each of A, B and C: 95 % CI of each gain above 2 points."""
    gaps = [_versus(pool, PLAIN_34, each) for each in (A_34, B_34, C_34)]
    return _found([gap.beyond(2.0) for gap in gaps], gaps)


def _slightly(gap: Versus) -> Finding:
    """0 < difference < 1 point with its interval above 0, else unresolved."""
    part = gap.beyond()
    if part.answer is Answer.HOLDS and gap.gap.value < 1.0:
        return _found([part], [gap])
    reason = WITHIN_NOISE if part.answer is Answer.UNDECIDED else "the gap is not between 0 and 1 point: unresolved"
    parts: list[Beyond | Plain] = [part] if part.answer is Answer.UNDECIDED else [Plain(answer=Answer.UNDECIDED)]
    return _found(parts, [gap], reason=reason)


def sc_02(pool: Pool) -> Finding:
    """10-crop top-1, A - B at 34 layers: 0 < diff < 1 point and CI above 0 for a pass; otherwise unresolved."""
    return _slightly(_versus(pool, A_34, B_34))


def sc_03(pool: Pool) -> Finding:
    """10-crop top-1, B - C at 34 layers: 0 < diff < 1 point and CI above 0 for a pass; otherwise unresolved."""
    return _slightly(_versus(pool, B_34, C_34))


def sc_04(pool: Pool) -> Finding:
    """10-crop top-1 at 34 layers: spread of A, B and C over the gain of A on plain < 1/3."""
    base, *options = (error_of(pool, *each, TOP1) for each in (PLAIN_34, A_34, B_34, C_34))
    means = [each.mean for each in options]
    wide, gain = max(means) - min(means), base.mean - means[0]
    ratio = wide / gain if gain > 0 else None
    told = f"spread {wide:.2f}, gain {_signed(gain)}"
    told += f", ratio {ratio:.2f} against 1/3" if ratio is not None else ": no gain to be small beside"
    return _found(
        [plain(ratio is not None and ratio < 1 / 3)], sides=[base, *options], after=f"{_listed(base, *options)}; {told}"
    )


def _listed(*sides: Sample) -> str:
    return ", ".join(map(str, sides))


# Depth


def dep_01(pool: Pool) -> Finding:
    """10-crop, ResNet-34 B minus each of 50, 101, 152: better in top-1 and in top-5 (CI above 0), in top-1 by a CI
    above 1 point; in top-5 the paper's own gap at 50 layers is 0.75."""
    nets: list[Net] = [("B", 50), ("B", 101), ("B", 152)]
    top1, top5 = ([_versus(pool, B_34, net, metric) for net in nets] for metric in (TOP1, TOP5))
    return _found([*[gap.beyond(1.0) for gap in top1], *[gap.beyond() for gap in top5]], [*top1, *top5])


def dep_02(pool: Pool) -> Finding:
    """10-crop top-1: 50 - 101 CI above 0 and 101 - 152 CI above 0."""
    gaps = [_versus(pool, ("B", shallow), ("B", deep)) for shallow, deep in ((50, 101), (101, 152))]
    return _found([gap.beyond() for gap in gaps], gaps)


def dep_07(pool: Pool) -> Finding:
    """ResNet-152, top-5 on validation, multi-scale: below 4.82, the best earlier ensemble."""
    found = error_of(pool, "B", 152, Metric.LAST_MULTI_SCALE_TOP5)
    _paper_only(pool)
    return _found([plain(found.mean < 4.82)], sides=[found], after=f"{found} top-5, multi-scale, against 4.82")


# Ensembles and scales


def _voters(pool: Pool) -> tuple[list[Run], str]:
    """The finished residual networks that kept what one view saw, of three depths at least, and the view's file."""
    arms = {arm.arm.name: arm for arm in pool.arms if arm.network.shortcut != "none"}
    depth = {name: arm.network.depth for name, arm in arms.items()}
    if len(set(depth.values())) < 3:
        raise NotInStudyError("needs residual networks of at least 3 depths, which are not in this study")
    runs = [run for arm in arms.values() for run in ended(arm, fewest=1)]
    for file in (MULTI_SCALE, TEN_CROP, TEST):
        kept = [run for run in runs if file in run.kept]
        if len({depth[run.arm] for run in kept}) >= 3:
            return kept, file
    raise NotEnoughError("needs trials of 3 depths that kept their predictions; the recipe's `views` ask for them")


SIX: Mapping[Net, int] = {("A", 18): 1, ("B", 34): 1, ("B", 50): 1, ("B", 101): 1, ("B", 152): 2}
"""Six models of different depth, two of 152 layers (Table 5); which options they have is not said."""


def _six(pool: Pool, runs: Sequence[Run]) -> list[Run]:
    """The paper's set among these, where they are more than that; else none."""
    found = [
        [run for run in runs if (arm := pool.find(*net)) and run.arm == arm.arm.name][:count]
        for net, count in SIX.items()
    ]
    complete = all(len(each) == count for each, count in zip(found, SIX.values(), strict=True))
    return [run for each in found for run in each] if complete and len(runs) > sum(SIX.values()) else []


def ens_01(pool: Pool) -> Finding:
    """Averaged softmax of at least 3 residual networks of different depth against the best of them, same images: the
    ensemble is better, paired CI above 0, in top-1 and, where there are more than 10 classes, in top-5. The best is
    chosen by these images, which speaks for it."""
    from reports.ensembles import Member, bootstrap, ensemble

    runs, file = _voters(pool)
    made = ensemble(runs, file)
    arms = {arm.arm.name: arm.network.depth for arm in pool.arms}
    if made.predictions is None or len({arms[each.arm] for each in made.members}) < 3:
        raise NotEnoughError(f"needs 3 depths that can vote; {'; '.join(made.absent)}")

    def error(of: Member, top: int) -> float:
        return of.top1 if top == 1 else of.top5

    told, parts, gaps = [], [], {}
    for top in (1, 5) if made.predictions.probabilities.shape[1] > 10 else (1,):
        best = min(made.members, key=lambda each: (error(each, top), each.name))
        gap = bootstrap(best.wrong_top1 if top == 1 else best.wrong_top5, made.predictions.wrong(top))
        parts.append(Beyond(gap=gap, arms=(), wanted={}))
        gaps[f"top-{top}"] = {"difference": gap.value, "low": gap.low, "high": gap.high}
        together = f"{len(made.members)} together {made.predictions.error(top):.2f}"
        told.append(f"top-{top}: {best.name} {error(best, top):.2f} − {together} = {gap}")
    six = ensemble(_six(pool, runs), file).predictions
    if six is not None:
        told.append(f"six as the paper's: top-5 {six.error(5):.2f}")
    return Finding(
        answer=all_of(part.answer for part in parts),
        statistic="; ".join(told),
        n=len(made.members),
        numbers={"differences": gaps, "file": file},
        reason=WITHIN_NOISE if all_of(part.answer for part in parts) is Answer.UNDECIDED else "",
        arms=tuple(dict.fromkeys(each.arm for each in made.members)),
        caveats=("on the validation set; the paper's ensemble was measured on the test server", *made.absent),
        parts=tuple(parts),
    )


def ens_02(pool: Pool) -> Finding:
    """Each ImageNet ResNet, top-1 and top-5: multi-scale lower than 10-crop by > 1 point for every net."""
    nets = [arm for arm in pool.arms if arm.network.shortcut != "none" and arm.network.layout == "imagenet"]
    if not nets:
        raise NotInStudyError("needs a residual network on ImageNet, which is not in this study")
    protocols = {"top-1": (TOP1, Metric.LAST_MULTI_SCALE), "top-5": (TOP5, Metric.LAST_MULTI_SCALE_TOP5)}
    pairs = {
        top: [tuple(sample_of(arm, metric, fewest=1) for metric in both) for arm in nets]
        for top, both in protocols.items()
        if top == "top-1" or nets[0].network.classes > 5  # of five classes none is beyond the five likeliest
    }
    told = [
        f"{top}: " + ", ".join(f"{ten} − {many.mean:.2f} = {_signed(ten.mean - many.mean)}" for ten, many in each)
        for top, each in pairs.items()
    ]
    return _found(
        [plain(ten.mean - many.mean > 1.0) for each in pairs.values() for ten, many in each],
        sides=[ten for ten, _ in pairs["top-1"]],
        after="; ".join(told),
    )


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


CHECKS: Mapping[str, Check] = {
    "DEG-06": deg_06,
    "DEG-12": deg_12,
    "RES-01": res_01,
    "RES-03": res_03,
    "RES-04": res_04,
    "SC-01": sc_01,
    "SC-02": sc_02,
    "SC-03": sc_03,
    "SC-04": sc_04,
    "DEP-01": dep_01,
    "DEP-02": dep_02,
    "DEP-07": dep_07,
    "ENS-01": ens_01,
    "ENS-02": ens_02,
}
