"""SC: the shortcut options A, B and C, and what they cost (sec. 3.2, 4.1, Table 3)."""

from collections.abc import Mapping, Sequence

from models.complexity import multiply_adds, parameters
from models.spec import CIFAR_DEPTHS, IMAGENET_BLOCKS, Layout, Network, Shortcut
from reports.arms import MeasuredArm, Pool
from reports.checks.rules import TEST, Check, CheckOfAll, finding
from reports.evidence import Plain
from reports.samples import Sample, sample
from reports.verdicts import Answer, Finding, NotInStudyError, whether


def _options(pool: Pool, depth: int) -> list[Sample]:
    return [sample(pool, shortcut, depth, TEST) for shortcut in ("A", "B", "C")]


def sc_05(pool: Pool) -> Finding:
    """Final test error of A, B and C: reported; a spread below 0.5 point is expected."""
    depths = [depth for depth in pool.depths if all(pool.find(each, depth) for each in ("A", "B", "C"))]
    if not depths or pool.layout != "cifar":
        raise NotInStudyError("needs CIFAR networks with options A, B and C at one depth, which are not in this study")
    groups = [_options(pool, depth) for depth in depths]
    spreads = [max(each.mean for each in group) - min(each.mean for each in group) for group in groups]
    parts = [f"{', '.join(map(str, group))}: spread {wide:.2f}" for group, wide in zip(groups, spreads, strict=True)]
    return finding(
        [Plain(answer=Answer.UNDECIDED)],
        "; ".join(parts),
        [each for group in groups for each in group],
        reason="the rule reports the order and decides nothing; the paper has no number",
        spreads=dict(zip(map(str, depths), spreads, strict=True)),
    )


def _pair(layout: Layout, depth: int) -> tuple[Network, Network]:
    """The plain network of the paper and its residual twin with option A."""
    if layout == "cifar":
        return Network(depth=depth), Network(depth=depth, shortcut="A")
    plain = Network(data="imagenet", layout="imagenet", classes=1000, size=224, depth=depth)
    twin = Network(data="imagenet", layout="imagenet", classes=1000, size=224, depth=depth, shortcut="A")
    return plain, twin


def sc_06(arms: Sequence[MeasuredArm]) -> Finding:
    """All plain / A pairs, of the paper and of this study: parameters and multiply-adds exactly equal."""
    pairs = [_pair("cifar", depth) for depth in CIFAR_DEPTHS] + [_pair("imagenet", depth) for depth in IMAGENET_BLOCKS]
    for arm in arms:
        twin = _with_shortcut(arm.network, "A" if arm.network.shortcut == "none" else "none")
        if arm.network.shortcut in ("none", "A"):
            pairs.append((arm.network, twin))
    costs = [[(parameters(each), multiply_adds(each)) for each in pair] for pair in dict.fromkeys(pairs)]
    unequal = sum(plain != twin for plain, twin in costs)
    return Finding(
        answer=whether(unequal == 0),
        statistic=f"{len(costs) - unequal} of {len(costs)} pairs have equal parameters and multiply-adds",
        n=0,
        numbers={"pairs": len(costs), "unequal": unequal},
    )


def _with_shortcut(network: Network, shortcut: Shortcut) -> Network:
    """The same with another shortcut; what sets shortcuts or blocks apart a plain network does not have."""
    own = {"padding": "appended", "block_layers": 2} if shortcut == "none" else {}
    return Network(**{**vars(network), **own, "shortcut": shortcut})


CHECKS: Mapping[str, Check] = {
    "SC-05": sc_05,
}
CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {"SC-06": sc_06}
