"""The paper's own training, as a ledger: its digitised curves, each ending at the number that its tables print."""

from collections.abc import Mapping, Sequence

from synthetic import CIFAR_RECIPE, PAPER_ENDS, make_arm, make_run, make_study

from models.spec import Network, Shortcut
from orchestrator.runs import Curve, Run
from orchestrator.studies import RecordedArm, RecordedStudy
from reports.published import paper_curves

END = 64_000
SEEDS = (0.0, -0.08, 0.08, -0.16, 0.16)
"""Added to the test errors of five seeds: their mean and median are the printed number, their deviation is 0.13."""
RESNET_110 = (0.0, -0.18, -0.11, 0.07, 0.22)
"""Five runs with mean 6.61, deviation 0.16 and best 6.43, as Table 6 prints them."""
TRAIN = 0.1
"""Training errors spread by a tenth of that."""
Key = tuple[Shortcut, int]
Bend = Mapping[Key, tuple[float, float]]
"""Added to the test and training errors of networks, over the whole of their curves."""
COLD = "warmup_from_depth null (paper 110)"


def shifts(shortcut: Shortcut, depth: int) -> Sequence[float]:
    return RESNET_110 if (shortcut, depth) == ("A", 110) else SEEDS


def digitised(shortcut: Shortcut, depth: int, metric: str) -> Mapping[int, float]:
    """Points of the curve as read off Figure 6, and the printed end; plain-110, which it does not display, is flat.

    Training errors below what the figure resolves are flat at their end too.
    """
    test, train = PAPER_ENDS[shortcut, depth]
    panel = "left" if shortcut == "none" else "right" if depth == 1202 else "middle"
    found = [
        each.curve
        for each in paper_curves("fig6")
        if (each.panel, each.shortcut, each.depth, each.curve.metric) == (panel, shortcut, depth, metric)
    ]
    end = test if metric == "test_error" else train
    points = dict(zip(found[0].iterations, found[0].values, strict=True)) if found else {END // 2: end}
    if metric == "train_error" and max(points) < 54_000:
        return {**points, 55_000: end, 60_000: end, END: end}
    return {**points, END: end} if metric == "test_error" or END not in points else points


def printed(bend: Bend | None = None, *, claims: Sequence[str] = ()) -> tuple[RecordedStudy, list[Run]]:
    """The networks of Table 6 and Figure 6, five seeds each, and plain-110 without warm-up beside that with it."""
    arms, runs = list[RecordedArm](), list[Run]()
    for shortcut, depth in PAPER_ENDS:
        arms.append(make_arm(Network(depth=depth, shortcut=shortcut), seeds=5))
        runs += _runs(arms[-1], shortcut, depth, bend or {})
    cold = {**CIFAR_RECIPE, "warmup_from_depth": None}
    arms.append(make_arm(Network(depth=110), cold, seeds=5, deviations=(COLD,), name="cifar10-plain-110+cold"))
    runs += _runs(arms[-1], "none", 110, bend or {})
    return make_study(arms, name="printed", claims=claims, tables=("table-6",), figures=("figure-6", "figure-1")), runs


def _runs(arm: RecordedArm, shortcut: Shortcut, depth: int, bend: Bend) -> list[Run]:
    test, train = bend.get((shortcut, depth), (0.0, 0.0))
    moved = {"test_error": test, "train_error": train}
    found = []
    for (seed, _), shift in zip(arm.trials, shifts(shortcut, depth), strict=True):
        curves = {
            name: _curve(name, digitised(shortcut, depth, name), by + shift * (TRAIN if name == "train_error" else 1))
            for name, by in moved.items()
        }
        ends = {name: curve.values[-1] for name, curve in curves.items()}
        found.append(make_run(arm, seed, test=ends["test_error"], train=ends["train_error"], curves=curves))
    return found


def _curve(metric: str, points: Mapping[int, float], by: float) -> Curve:
    values = tuple(min(100.0, max(0.0, value + by)) for value in points.values())
    return Curve(metric=metric, iterations=tuple(points), values=values)
