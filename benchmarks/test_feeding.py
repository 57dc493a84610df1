"""How fast photographs are fed under the paper's augmentation, in one run: images per CPU second, each way in turn.

The ways are in `photographs.py`. Each is a process of its own, several times over; what counts is CPU time of it and
its children, which other processes disturb less than the clock on the wall. Files are warm.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import photographs
import pytest

from ablations.data.photographs.decode import decoder
from orchestrator.provenance import provenance

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "imagenet-samples.tar"
REPEATS, EPOCHS, SECONDS = 3, 6, 300
ROOT = Path(__file__).parents[1]
YARDSTICK = "torchvision"
SOME = (YARDSTICK, "stock FFCV, jpeg500q90", "ours by threads, original", "ours by threads, raw400")
"""What is measured with one worker as well."""


def measured(names: Iterable[str], folder: Path, workers: int) -> dict[str, list[Mapping[str, float]]]:
    """What each says of itself, all in turn."""
    told: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    for _ in range(REPEATS):
        for name, each in told.items():
            command = [sys.executable, photographs.__file__, name, folder, str(workers), str(EPOCHS)]
            around = {**os.environ, "PYTHONPATH": str(ROOT)}
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=around)
            assert ended.returncode == 0, f"{name}: {ended.stderr[-2000:]}"
            each.append(json.loads(ended.stdout.splitlines()[-1]))
    return told


def rows(told: Mapping[str, list[Mapping[str, float]]], workers: int) -> list[dict[str, Any]]:
    """Of each way the median, against torchvision's and against what libjpeg alone takes for the same files."""
    rates = {
        name: [each["images"] / each["cpu_seconds"] for each in every if each["cpu_seconds"]]
        for name, every in told.items()
    }
    medians = {name: statistics.median(each) for name, each in rates.items()}
    table = []
    for name, rate in medians.items():
        storage = name.rsplit(", ", 1)[-1]
        window, whole = (medians.get(f"libjpeg alone, {storage}, {how}") for how in ("window", "whole"))
        every = told[name]
        row = {
            "way": name,
            "workers": workers,
            "images per CPU second": round(rate),
            "least and most": [round(min(rates[name])), round(max(rates[name]))],
            "images per second": round(statistics.median(each["images"] / each["wall_seconds"] for each in every)),
            "against torchvision": round(rate / medians[YARDSTICK], 2),
            "of the window's decode": round(rate / window, 2) if window else None,
            "of the whole decode": round(rate / whole, 2) if whole else None,
            "CPU seconds to the first batch": round(
                statistics.median(each["first_batch_cpu_seconds"] for each in every), 1
            ),
            "MiB": round(statistics.median(each["mib"] for each in every)),
        }
        table.append(row)
    return table


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not SAMPLES.exists(), reason="needs ../shared/data/imagenet-samples.tar, which is not there")
def test_feeding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints images per CPU second of every way, with two workers and some with one."""
    count = photographs.unpack(SAMPLES, tmp_path)
    ffcv = importlib.util.find_spec("ffcv") is not None
    if ffcv:
        photographs.write_stock(tmp_path)
    names = [name for name in photographs.CONTENDERS if ffcv or ("FFCV" not in name and "stock" not in name)]
    table = rows(measured(names, tmp_path, 2), 2) + rows(measured([n for n in SOME if n in names], tmp_path, 1), 1)
    about = provenance()
    facts = {
        "photographs": count,
        "n": REPEATS,
        "epochs": EPOCHS,
        "decoder": decoder().name,
        "versions": about["versions"] | _versions("torchvision", "pillow", "ffcv"),
        "cpu": about["hardware"]["cpu"],
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print("\n" + json.dumps(facts, indent=1))  # noqa: T201 - what a benchmark is for
        print(_drawn(table))  # noqa: T201
    assert all(row["images per CPU second"] > 0 for row in table)


def _versions(*names: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in names if importlib.util.find_spec("PIL" if name == "pillow" else name)}


def _drawn(table: list[dict[str, Any]]) -> str:
    lines = [list(table[0]), *([str("" if cell is None else cell) for cell in row.values()] for row in table)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
