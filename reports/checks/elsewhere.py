"""DET, GEN, RSP-04: whether residual learning carries over to other tasks (sec. 4.3, Tables 7 and 8), and to a block
alone (sec. 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.arms import MeasuredArm, pools
from reports.checks.rules import TEST, CheckOfAll, of_comparisons
from reports.samples import Comparison, compare, sample_of
from reports.verdicts import Finding, NotInStudyError

PAPERS_IMAGES = ("cifar10", "cifar10-jpeg", "imagenet")
"""The paper's tasks, whatever the images are stored as."""


def _no_detector(task: str, published: str) -> NotInStudyError:
    return NotInStudyError(
        f"needs Faster R-CNN with VGG-16 and with ResNet-101 on {task}, which no trial of this version trains;"
        f" the paper prints {published}"
    )


def det_01(_: Sequence[MeasuredArm]) -> Finding:
    """PASCAL VOC, mAP@.5 of Faster R-CNN: ResNet-101 gains > 2 points on VGG-16."""
    raise _no_detector("PASCAL VOC", "73.2 and 76.4 % on VOC 2007, 70.4 and 73.8 % on VOC 2012 (Table 7)")


def det_02(_: Sequence[MeasuredArm]) -> Finding:
    """COCO, mAP@[.5,.95] of Faster R-CNN: ResNet-101 gains > 4 points on VGG-16, and > 20 % relative."""
    raise _no_detector("COCO", "21.2 and 27.2 % (Table 8)")


def rsp_04(_: Sequence[MeasuredArm]) -> Finding:
    """A block of two conv-BN-ReLU layers that regresses its own input, with a shortcut and without, 10 seeds: with it,
    1 % relative error is reached in fewer steps in every seed."""
    raise NotInStudyError(
        "needs the experiment on a single block that regresses its input, which no trial of this version runs"
    )


def gen_01(arms: Sequence[MeasuredArm]) -> Finding:
    """The cheap proxy: on every data set in the study that is not the paper's, test error of plain minus residual
    (option A, else B, else C) at the deepest depth that both have: gain > 2 SE on every task tried."""
    gains = [gain for data in _other_data(arms) if (gain := _gain(arms, data))]
    if not gains:
        raise NotInStudyError("needs plain and residual networks of one depth on data that are not the paper's")
    made = of_comparisons(gains, first=", ".join(dict.fromkeys(each.high.arm.network.data for each in gains)))
    extends = "extends the paper, whose other tasks are detection and localisation"
    return replace(made, caveats=(extends, *made.caveats))


def _other_data(arms: Sequence[MeasuredArm]) -> list[str]:
    return list(dict.fromkeys(arm.network.data for arm in arms if arm.network.data not in PAPERS_IMAGES))


def _gain(arms: Sequence[MeasuredArm], data: str) -> Comparison | None:
    """Over the first set of comparable arms that has both; None where none has."""
    for pool in pools([arm for arm in arms if arm.network.data == data]):
        for depth in reversed(pool.depths):
            plain = pool.find("none", depth)
            residual = pool.find("A", depth) or pool.find("B", depth) or pool.find("C", depth)
            if plain and residual:
                return compare(sample_of(plain, TEST), sample_of(residual, TEST))
    return None


CHECKS_OF_ALL: Mapping[str, CheckOfAll] = {"DET-01": det_01, "DET-02": det_02, "GEN-01": gen_01, "RSP-04": rsp_04}
