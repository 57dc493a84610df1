"""How large the page of a study is, how long it takes to build from the ledger, and how it opens in a browser, in one
run with plotly's own page of the same lines. Everything is written anew but the made-up ledgers; files are warm."""

import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import pages
import pages_ledgers
import pytest

from orchestrator.ledger import Ledger
from orchestrator.runs import read_runs
from orchestrator.studies import read_study
from reports.arms import gather
from reports.figures import FIGURES

REPEATS = 3
GOALS = {100: (1.0, 2, 500), 1000: (1.5, 5, 500), 10_000: (3.0, 20, 800)}
"""Runs -> megabytes, seconds to build, milliseconds to the largest contentful paint."""
ROOT = Path(__file__).parents[1]


def built(results: Path, name: str, page: Path) -> tuple[float, float]:
    """Seconds of `ablate report` in a process of its own, and its largest resident memory in MiB."""
    command = [sys.executable, "-m", "ablations.cli", "report", name, "--results", str(results), "--to", str(page)]
    began = time.perf_counter()
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=results
    )
    seconds = time.perf_counter() - began
    assert ended.returncode == 0, ended.stderr
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def plotlys(results: Path, name: str, page: Path) -> None:
    """The lines of the page's figures, as `plotly.io.write_html` writes them by default."""
    import plotly.graph_objects as go

    study = read_study(results, name)
    arms = gather(study, read_runs(study, Ledger(results)))
    figure = go.Figure()
    for made in (made for asked in study.figures for made in FIGURES[asked](arms)):
        for line in (line for panel in made.panels for line in panel.lines):
            figure.add_scatter(x=line.x, y=line.median, name=f"{line.label} {line.metric}", mode="lines")
    figure.write_html(page)


def opening(page: Path) -> dict[str, Any]:
    """Medians over fresh browsers."""
    seen = [pages.opened(page) for _ in range(REPEATS)]
    known = {name: [each[name] for each in seen if each[name] is not None] for name in seen[0]}
    return {name: median(values) if values else None for name, values in known.items()}


def shown(label: str, megabytes: float, build: str, seen: dict[str, Any]) -> str:
    times = [
        f"{seen[name]:,.0f} ms" if seen[name] is not None else "-" for name in ("LCP", "first chart", "blocked", "sort")
    ]
    return (
        f"{label:>22} {megabytes:>7.2f} MB {build:>22} "
        + " ".join(f"{each:>11}" for each in times)
        + f" {seen['nodes']:>8,}"
    )


@pytest.mark.bench
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_pages(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path_factory.mktemp("pages")
    heads = [f"{each:>11}" for each in ("LCP", "first chart", "blocked", "sort")]
    table = [f"{'page of':>22} {'bytes':>10} {'build, memory':>22} {' '.join(heads)} {'nodes':>8}"]
    for runs, (megabytes, seconds, paint) in GOALS.items():
        results = pages_ledgers.folder_of(runs, place)
        page, other = place / f"{runs}.html", place / f"{runs}-plotly.html"
        times = [built(results, f"runs-{runs}", page) for _ in range(REPEATS)]
        plotlys(results, f"runs-{runs}", other)
        ours, theirs = opening(page), opening(other)
        sizes = [each.stat().st_size / 1e6 for each in (page, other)]
        build = f"{median(each for each, _ in times):.2f} s, {max(each for _, each in times):,.0f} MiB"
        table += [
            shown(f"{runs:,} runs", sizes[0], build, ours),
            shown("plotly's default", sizes[1], "", theirs),
            f"{'goals':>22} {megabytes:>7.2f} MB {f'{seconds} s':>22} {f'{paint} ms':>11};"
            f" against plotly's {sizes[0] / sizes[1]:.2f} of the bytes (goal 0.2),"
            f" {ours['first chart'] / theirs['first chart']:.2f} of the time to the first chart (goal 0.4)",
        ]
    told = ", ".join(f"{name} {version(name)}" for name in ("plotly", "jinja2", "numpy"))
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{machine}, {told}\n")
        sys.stdout.write(
            f"n = {REPEATS}; builds are processes of their own from the ledger on disk; browsers are fresh\n"
        )
        sys.stdout.write("\n".join(table) + "\n")
