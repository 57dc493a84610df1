"""Runs made up from formulas: no clock, no random generator, the same on every machine."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from models.complexity import multiply_adds, parameters
from models.spec import Network, Shortcut
from orchestrator.predictions import MULTI_SCALE, Predictions, pack
from orchestrator.runs import Curve, Outcome, Run
from orchestrator.studies import RecordedArm, RecordedStudy
from reports.published import paper_curves, plain_facts, table_2, table_3, table_4, table_6

CIFAR_RECIPE: Mapping[str, Any] = {
    "iterations": 64_000,
    "batch": 128,
    "lr": 0.1,
    "drops": [0.5, 0.75],
    "drop_factor": 0.1,
    "warmup_lr": 0.01,
    "warmup_until_error": 80.0,
    "warmup_from_depth": 110,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "record_every": 1000,
    "evaluate_every": 1000,
}
DIGITS_RECIPE: Mapping[str, Any] = {
    **CIFAR_RECIPE,
    "iterations": 150,
    "batch": 64,
    "lr": 0.03,
    "warmup_from_depth": None,
    "record_every": 5,
    "evaluate_every": 15,
}
IMAGENET_RECIPE: Mapping[str, Any] = {
    **CIFAR_RECIPE,
    "iterations": 600_000,
    "batch": 256,
    "drops": [0.25, 0.5, 0.75],
    "warmup_from_depth": None,
    "evaluate_every": 5000,
}
DIGITS_DEVIATIONS = (
    "data digits (paper cifar10)",
    "iterations 150 (paper 64000)",
    "lr 0.03 (paper 0.1)",
    "augmentation none (paper pad-crop-flip)",
)
SEED_SHIFTS = (0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0)
"""Added, times a scale, to the values of seed 0, 1, 2, ...: an odd number of seeds keeps its mean."""


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def make_arm(
    network: Network,
    recipe: Mapping[str, Any] = CIFAR_RECIPE,
    *,
    seeds: int = 5,
    deviations: Sequence[str] = (),
    name: str | None = None,
    blocked: str | None = None,
) -> RecordedArm:
    arm = name or network.name
    return RecordedArm(
        name=arm,
        network=asdict(network),
        recipe=dict(recipe),
        deviations=tuple(deviations),
        parameters=parameters(network),
        multiply_adds=multiply_adds(network),
        trials=tuple((seed, key_of(f"{arm}.s{seed}")) for seed in range(seeds)),
        blocked=blocked,
    )


def make_study(
    arms: Iterable[RecordedArm],
    *,
    claims: Iterable[str | Mapping[str, str]] = (),
    tables: Sequence[str] = ("table",),
    figures: Sequence[str] = ("curves",),
    name: str = "synthetic",
    question: str = "Do plain networks get worse with depth while residual ones improve?",
) -> RecordedStudy:
    text = f"name: {name}\nquestion: {question}\n"
    return RecordedStudy(
        name=name,
        question=question,
        source="sec. 4.2, Table 6, Figure 6",
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        overrides=(),
        arms=tuple(arms),
        tables=tuple(tables),
        figures=tuple(figures),
        claims=tuple({"id": each} if isinstance(each, str) else each for each in claims),
    )


ATTEMPT: Mapping[str, Any] = {
    "started": "2026-01-05T10:00:00Z",
    "ended": "2026-01-05T10:00:06Z",
    "cause": "finished",
    "host": "node-1",
    "hardware": "2 CPU cores",
    "versions": {"python": "3.11.2", "torch": "2.11.0"},
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
}


def make_run(
    arm: RecordedArm,
    seed: int,
    *,
    test: float,
    train: float,
    best: float | None = None,
    outcome: Outcome = Outcome.FINISHED,
    curves: Mapping[str, Curve] | None = None,
    seconds: float = 6.0,
    **changes: Any,
) -> Run:
    iterations = int(arm.recipe["iterations"])
    result = {
        "last_train_error": train,
        "last_test_error": test,
        "best_test_error": test - 0.1 if best is None else best,
        "best_iteration": iterations // 2,
        "tail_train_error": train,
    }
    run = Run(
        key=dict(arm.trials)[seed],
        name=f"{arm.name}.s{seed}",
        arm=arm.name,
        seed=seed,
        params={"network": arm.network, "recipe": arm.recipe, "seed": seed},
        outcome=outcome,
        iteration=iterations,
        iterations=iterations,
        curves=curves or {},
        result=result if outcome is Outcome.FINISHED else {},
        attempts=(ATTEMPT,),
        seconds=seconds,
        mlflow_run=key_of(f"mlflow {arm.name}.s{seed}"),
    )
    return replace(run, **changes)


def make_runs(arm: RecordedArm, test: float, train: float, scale: float = 0.1) -> list[Run]:
    """One finished run per trial; values differ by `scale` times SEED_SHIFTS."""
    shifts = [(seed, scale * SEED_SHIFTS[seed % 8]) for seed, _ in arm.trials]
    return [make_run(arm, seed, test=test + shift, train=max(0.0, train + shift)) for seed, shift in shifts]


# The digits demonstration


def _wobble(iteration: int, seed: int, depth: int) -> float:
    """In -1 .. 1, a fixed function of its arguments."""
    return math.sin(iteration * 1.7 + seed * 2.3 + depth) * math.cos(iteration * 0.6 + seed)


DIGITS_ENDS: Mapping[Shortcut, Mapping[int, tuple[float, float]]] = {
    "none": {20: (0.9, 3.6), 32: (10.3, 13.5), 44: (65.1, 69.0), 56: (85.9, 86.4)},
    "A": {20: (0.0, 1.8), 32: (0.1, 2.1), 44: (0.2, 2.1), 56: (0.2, 2.2)},
    "B": {20: (0.0, 1.7), 32: (0.1, 1.9), 44: (0.3, 2.4), 56: (0.5, 2.5)},
    "C": {20: (0.0, 1.9), 32: (0.4, 2.9), 44: (8.1, 11.2), 56: (26.7, 31.0)},
}
"""Training and test error at the end, as measured for plain, A and the ends of C, and made up between."""


def _falling(iterations: range, end: float, pace: float, noise: Callable[[int], float]) -> list[float]:
    """From chance to `end`, faster for a larger pace."""
    last = iterations[-1]
    shape = [math.exp(-pace * at / last) for at in iterations]
    return [
        max(0.0, min(95.0, end + (90.0 - end) * fall + (1 + 3 * fall) * noise(at)))
        for at, fall in zip(iterations, shape, strict=True)
    ]


def _digits_run(arm: RecordedArm, shortcut: Shortcut, depth: int, seed: int) -> Run:
    train_end, test_end = DIGITS_ENDS[shortcut][depth]
    shift = SEED_SHIFTS[seed] * min(1.0, 0.05 + train_end / 20)
    pace = 9.0 if shortcut != "none" else 7.0 - depth / 14
    points, tests = range(5, 151, 5), range(15, 151, 15)
    train = _falling(points, max(0.0, train_end + shift), pace, lambda at: _wobble(at, seed, depth))
    test = _falling(tests, max(0.3, test_end + shift), pace * 0.8, lambda at: 1.4 * _wobble(at + 3, seed, depth))
    curves = {
        "train_error": Curve(metric="train_error", iterations=tuple(points), values=tuple(train)),
        "test_error": Curve(metric="test_error", iterations=tuple(tests), values=tuple(test)),
    }
    return make_run(
        arm,
        seed,
        train=sum(train[-5:]) / 5,
        test=test[-1],
        best=min(test),
        curves=curves,
        seconds=depth / 9 + seed / 10,
    )


DIGITS_CLAIMS: tuple[str | Mapping[str, str], ...] = (
    "DEG-01",
    "DEG-02",
    "DEG-03",
    "DEG-05",
    "RES-08",
    "RES-09",
    "RES-15",
    "SC-05",
    "SC-06",
    {
        "id": "digits-options",
        "say": "train_error(C, 56) > train_error(A, 56) + 5",
        "text": "With a projection on every shortcut, depth hurts training again.",
    },
    {"id": "digits-solved", "say": "test_error(A, 20) < 5", "text": "The shallow residual network solves the task."},
)


def digits() -> tuple[RecordedStudy, list[Run]]:
    """48 trials: plain, A, B and C at four depths with three seeds."""
    arms, runs = [], []
    for shortcut in DIGITS_ENDS:
        for depth in (20, 32, 44, 56):
            network = Network(data="digits", depth=depth, shortcut=shortcut, channels=1, size=8)
            arm = make_arm(network, DIGITS_RECIPE, seeds=3, deviations=DIGITS_DEVIATIONS)
            arms.append(arm)
            runs += [_digits_run(arm, shortcut, depth, seed) for seed, _ in arm.trials]
    study = make_study(
        arms,
        name="digits-demo",
        claims=DIGITS_CLAIMS,
        question="Does depth hurt plain networks, and do shortcuts mend it, on handwritten digits in a minute?",
    )
    return study, runs


# Table 6 and Figure 6, from the paper's numbers


GRID = tuple(range(1000, 64_001, 1000))


def _read_off(known: Mapping[int, float], at: int) -> float:
    """Between two points of a digitised curve, and flat beyond its end."""
    before = max((each for each in known if each <= at), default=min(known))
    after = min((each for each in known if each >= at), default=max(known))
    share = 0.0 if after == before else (at - before) / (after - before)
    return known[before] + share * (known[after] - known[before])


def _made_up(first: float, at: int, depth: int) -> float:
    """Before the first digitised point: from about 60 % to a noisy level, which drops where the curve begins."""
    level = first * 1.5 + 3.0
    return level + (62.0 - level) * math.exp(-at / 2600) + 0.9 * _wobble(at // 1000, 1, depth)


def _paper_curve(shortcut: Shortcut, depth: int, metric: str, shift: float, end: float) -> Curve:
    """The paper's digitised curve on a grid, ending at `end`, moved by `shift`."""
    if (shortcut, depth) == ("none", 110):
        return Curve(metric=metric, iterations=GRID, values=tuple(end + shift + _wobble(at, 0, 110) for at in GRID))
    panel = "left" if shortcut == "none" else "right" if depth == 1202 else "middle"
    wanted = (panel, shortcut, depth, metric)
    found = next(
        each.curve
        for each in paper_curves("fig6")
        if (each.panel, each.shortcut, each.depth, each.curve.metric) == wanted
    )
    known = {**dict(zip(found.iterations, found.values, strict=True)), 64_000: end}
    start = min(known)
    values = [
        _made_up(known[start], at, depth) if at < start else _read_off(known, at) + 0.3 * _wobble(at, 2, depth) * shift
        for at in GRID
    ]
    return Curve(metric=metric, iterations=GRID, values=tuple(max(0.0, value + shift) for value in values))


PAPER_ENDS: Mapping[tuple[Shortcut, int], tuple[float, float]] = {
    **{
        ("none", fact.depth): (float(fact.test_error), float(fact.train_error))
        for fact in plain_facts().values()
        if fact.depth < 110
    },
    ("none", 110): (74.0, 76.0),
    **{
        ("A", row.layers): (row.comparable, {20: 0.63, 32: 0.27, 44: 0.25, 56: 0.18, 110: 0.08, 1202: 0.04}[row.layers])
        for row in table_6()
        if row.layers and not row.quoted
    },
}
"""Test and training error: Table 6 and the readings of Figure 6, made up below its resolution."""
DEPTH_CLAIMS = (
    "DEG-01", "DEG-02", "DEG-03", "DEG-04", "DEG-05", "DEG-08", "RES-06", "RES-07", "RES-08", "RES-09", "RES-11",
    "RES-12", "RES-13", "RES-15", "SC-06", "PAP-02", "PAP-04",
)  # fmt: skip


def paper_like(*, scale: float = 0.08) -> tuple[RecordedStudy, list[Run]]:
    """Five seeds whose means are the paper's numbers and whose curves are its curves, shifted by seed."""
    arms, runs = [], []
    for (shortcut, depth), (test, train) in PAPER_ENDS.items():
        arm = make_arm(Network(depth=depth, shortcut=shortcut), seeds=5)
        arms.append(arm)
        for seed, _ in arm.trials:
            shift = scale * SEED_SHIFTS[seed]
            curves = {
                "train_error": _paper_curve(shortcut, depth, "train_error", shift / 10, train),
                "test_error": _paper_curve(shortcut, depth, "test_error", shift, test),
            }
            end = max(0.0, train + shift / 10)
            runs.append(make_run(arm, seed, test=test + shift, train=end, curves=curves, seconds=36.0 * depth))
    study = make_study(
        arms, name="cifar10-depth", claims=DEPTH_CLAIMS, tables=("table-6", "table"), figures=("figure-6",)
    )
    return study, runs


# Tables 2 to 5 and Figure 4, from the paper's numbers


def imagenet(depth: int, shortcut: Shortcut, data: str = "imagenet") -> Network:
    return Network(
        data=data, layout="imagenet", depth=depth, shortcut=shortcut, classes=1000, size=224, width=64
    )  # fmt: skip


def kept(predictions: Predictions | bytes) -> Mapping[str, Callable[[], bytes]]:
    """What a run has that kept this as its multi-scale predictions."""
    data = predictions if isinstance(predictions, bytes) else pack(predictions)
    return {MULTI_SCALE: lambda: data}


def predicted(number: int, *, images: int = 240, classes: int = 40, skill: float = 1.0) -> Predictions:
    """Softmax outputs of the `number`-th classifier: noise of its own, and the more sense the more skill."""
    labels = np.arange(images) * 7 % classes
    scores = np.random.default_rng(number).normal(size=(images, classes))
    scores[np.arange(images), labels] += skill
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Predictions(probabilities=shares.astype(np.float16), labels=labels)


def printed_errors() -> Mapping[tuple[Shortcut, int], Mapping[str, float]]:
    """What the paper prints for each of its nine networks, under the names of results."""
    found: dict[tuple[Shortcut, int], dict[str, float]] = {}
    for row in table_2():
        found[("none", row.depth)] = {"last_ten_crop_error": float(row.plain)}
        found[("A", row.depth)] = {"last_ten_crop_error": float(row.resnet)}
    for name, rows in (("ten_crop", table_3()), ("multi_scale", table_4())):
        for row in rows:
            if row.shortcut and row.depth:
                errors = found.setdefault((row.shortcut, row.depth), {})
                errors |= {f"last_{name}_error": float(row.top1), f"last_{name}_top5_error": float(row.top5)}
    return found


def _figure_4_curves(shortcut: Shortcut, depth: int, shift: float) -> Mapping[str, Curve]:
    found = [each for each in paper_curves("fig4") if (each.shortcut, each.depth) == (shortcut, depth)]
    return {
        each.curve.metric: replace(each.curve, values=tuple(value + shift for value in each.curve.values))
        for each in found
    }


def imagenet_like(*, seeds: int = 3, scale: float = 0.1) -> tuple[RecordedStudy, list[Run]]:
    """The paper's nine networks with its numbers as means, and its curves where Figure 4 has them."""
    arms, runs = [], []
    for (shortcut, depth), errors in printed_errors().items():
        arm = make_arm(imagenet(depth, shortcut), IMAGENET_RECIPE, seeds=seeds)
        arms.append(arm)
        for seed, _ in arm.trials:
            shift = scale * SEED_SHIFTS[seed]
            run = make_run(arm, seed, test=30.0 + shift, train=25.0, curves=_figure_4_curves(shortcut, depth, shift))
            result = dict(run.result) | {name: value + shift for name, value in errors.items()}
            votes = kept(predicted(len(runs), skill=0.5 + depth / 200)) if shortcut == "B" else {}
            runs.append(replace(run, result=result, kept=votes))
    study = make_study(
        arms,
        name="imagenet",
        tables=("table-1", "table-2", "table-3", "table-4", "table-5"),
        figures=("figure-4",),
        claims=("DEG-06", "RES-01"),
    )
    return study, runs
