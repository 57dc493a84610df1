"""Large studies as results directories: made up, quick to write, in the ledger's own format and length of records."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ledgers import TIME, write_trial
from synthetic import CIFAR_RECIPE, key_of, make_arm, make_run, make_study

from models.spec import CIFAR_DEPTHS, SHORTCUTS, Network
from orchestrator.runs import Outcome
from orchestrator.studies import RecordedArm, RecordedStudy, write_study

RECIPE: Mapping[str, Any] = {**CIFAR_RECIPE, "record_every": 160, "evaluate_every": 1120}
"""The paper's, with 400 records and 58 evaluations."""
RATES = (0.1, 0.05, 0.2, 0.02, 0.5)
"""The paper's learning rate and others: arms under each are a set of their own."""
DEPTHS = (*CIFAR_DEPTHS[:5], 8, 14, 26, 38, 50)
SIZES: Mapping[int, tuple[int, int, int]] = {100: (5, 1, 5), 1000: (10, 1, 25), 10_000: (10, 5, 50)}
"""Runs -> depths, learning rates and seeds; each with the four shortcuts."""
CLAIMS = ("DEG-01", "DEG-02", "DEG-03", "DEG-05", "RES-06", "RES-07", "RES-08", "RES-09", "RES-15", "SC-05", "SC-06")
SOURCES: Mapping[str, Any] = {
    "started": "2026-01-05T10:00:00.000+00:00",
    "ended": "2026-01-05T12:10:00.000+00:00",
    "from_iteration": 0,
    "notes": [],
    "pid": 4711,
    "hardware": {"cpu": "AMD EPYC", "cores": 32, "memory_gib": 251.5, "gpus": ["NVIDIA A100-SXM4-80GB"] * 4},
    "versions": {
        "python": "3.11.7", "ablate": "0.1.0", "torch": "2.11.0", "torchvision": "0.26.0", "ray": "2.60.0",
        "mlflow": "3.17.2", "ffcv": "1.0.2", "numpy": "2.4.6", "pandas": "3.1.1", "plotly": "7.1.0",
    },
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "site": {"data": "/data", "device": "cuda", "threads": 4, "share": 0.5},
    "kernels": "PyTorch's",
    "activations": "kept",
    "cause": "ended",
}  # fmt: skip
"""What an attempt records, as long as that of a real one."""


def large_study(runs: int) -> RecordedStudy:
    """20 arms with 5 seeds, 40 with 25, or 200 with 50."""
    depths, rates, seeds = SIZES[runs]
    arms = [
        make_arm(
            Network(depth=depth, shortcut=shortcut),
            {**RECIPE, "lr": rate},
            seeds=seeds,
            deviations=() if rate == RECIPE["lr"] else (f"lr {rate:g} (paper 0.1)",),
            name=f"{Network(depth=depth, shortcut=shortcut).name}-lr{rate:g}",
        )
        for rate, shortcut, depth in product(RATES[:rates], SHORTCUTS, DEPTHS[:depths])
    ]
    return make_study(
        arms, name=f"runs-{runs}", claims=CLAIMS, tables=("table-6", "table"), figures=("curves", "costs")
    )


def write_large(results: Path, runs: int) -> RecordedStudy:
    """The study and its trials: of a hundred one each is missing, failed, running and diverged."""
    study = large_study(runs)
    write_study(results, study)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write_arm, [results] * len(study.arms), study.arms, range(len(study.arms))))
    return study


OUTCOMES = {11: Outcome.MISSING, 32: Outcome.FAILED, 53: Outcome.RUNNING, 74: Outcome.DIVERGED}
"""By number of the trial within each hundred."""


def _write_arm(results: Path, arm: RecordedArm, place: int) -> None:
    for seed, key in arm.trials:
        number = place * len(arm.trials) + seed
        outcome = OUTCOMES.get(number % 100, Outcome.FINISHED)
        if outcome is not Outcome.MISSING:
            _write_trial(results / "trials" / key, arm, seed, number, outcome)
        if outcome is Outcome.FINISHED:
            published = results / "published" / f"{key}.json"
            published.parent.mkdir(exist_ok=True)
            published.write_text(json.dumps({"run_id": key_of(f"mlflow {key}") * 2}))


def _write_trial(folder: Path, arm: RecordedArm, seed: int, number: int, outcome: Outcome) -> None:
    whole = outcome is Outcome.FINISHED
    end = RECIPE["iterations"] // (1 if whole else 2)
    seconds = 36.0 * arm.network["depth"] * end / RECIPE["iterations"]
    attempt = {**SOURCES, "host": f"node-{number % 8 + 1}"}
    if outcome is Outcome.FAILED:
        attempt |= {"cause": "error", "reason": "RuntimeError: CUDA error: an illegal memory access was encountered"}
    run = make_run(
        arm, seed, test=0.0, train=0.0, outcome=outcome, seconds=seconds, iteration=end, attempts=(attempt,),
        result={"diverged_at": end} if outcome is Outcome.DIVERGED else {},
    )  # fmt: skip
    noise = np.random.default_rng(number)
    probes = list(_probes(arm, noise)) if seed == 0 and whole else []
    streams = (_curves(arm, end, noise), _clock(end, seconds, noise), _lines(probes))
    write_trial(folder, run, [text.encode() for text in streams])


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def _falling(at: np.ndarray, final: float, noise: np.random.Generator) -> np.ndarray:
    """Percent: from chance to `final`, in steps where the learning rate drops."""
    share = at / RECIPE["iterations"]
    level = final * (1 + 1.2 * (share < 0.5) + 0.1 * (share < 0.75))
    return np.clip(level + (90 - level) * np.exp(-at / 2600) + noise.normal(0, 0.3, len(at)), 0, 90)


def _curves(arm: RecordedArm, end: int, noise: np.random.Generator) -> str:
    """As training writes them: whole parts of a batch and of the test set, with all their digits."""
    depth, plain, rate = arm.network["depth"], arm.network["shortcut"] == "none", arm.recipe["lr"]
    final = (6 + depth / 8 if plain else 9 - depth / 50) + abs(rate - 0.1) * 3 + noise.normal(0, 0.15)
    at = np.arange(RECIPE["record_every"], end + 1, RECIPE["record_every"])
    train = np.round(_falling(at, final / 3, noise) * 204.8) / 204.8
    test = np.round(_falling(at, final, noise) * 100) / 100
    lines = []
    for iteration, wrong, tested in zip(at.tolist(), train.tolist(), test.tolist(), strict=True):
        lr = rate if iteration < 32_000 else rate / 10 if iteration < 48_000 else rate / 100
        line = f'{{"iteration":{iteration},"train_loss":{wrong / 29!r},"train_error":{wrong!r},"lr":{lr!r}'
        if iteration % RECIPE["evaluate_every"] == 0 or iteration == end:
            line += f',"test_loss":{tested / 31!r},"test_error":{tested!r}'
        lines.append(line + "}\n")
    return "".join(lines)


def _clock(end: int, seconds: float, noise: np.random.Generator) -> str:
    step = RECIPE["record_every"]
    speeds = np.round(step * 128 / seconds * end / step + noise.normal(0, 20, end // step), 1).tolist()
    return "".join(
        f'{{"iteration":{at},"time":{TIME + seconds * at / end:.3f},"seconds":{seconds * at / end:.3f},'
        f'"images_per_second":{speed!r},"peak_memory_mib":853.1}}\n'
        for at, speed in zip(range(step, end + 1, step), speeds, strict=True)
    )


def _probes(arm: RecordedArm, noise: np.random.Generator) -> Iterator[dict[str, Any]]:
    """At the first update, at the half and at the end."""
    depth, plain = arm.network["depth"], arm.network["shortcut"] == "none"
    for iteration in (1, 32_000, 64_000):
        layers = noise.lognormal(0, 0.3, (4, depth)).tolist()
        yield {
            "iteration": iteration,
            "gradient": layers[0],
            "norm_variance": layers[1][1:],
            "activation_variance": layers[2],
            "response": layers[3][1:],
            "residual_over_input": [] if plain else layers[3][: depth // 2 - 1],
        }
