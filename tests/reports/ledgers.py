"""Made-up runs written as a results directory, in the ledger's own format, to be read back as any other."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.ledger import FORMAT, STREAMS, plain
from orchestrator.runs import Outcome, Run
from orchestrator.studies import RecordedStudy, write_study

TIME = 1_767_600_000.0
"""Seconds since 1970 at which every made-up trial began."""


def write_ledger(results: Path, study: RecordedStudy, runs: Iterable[Run]) -> None:
    """The study's record, and a folder for each run that is not missing.

    Of a run's result only what a trial records is written: what curves come down to is computed anew by the reader.
    """
    write_study(results, study)
    for run in runs:
        if run.outcome is not Outcome.MISSING:
            write_trial(results / "trials" / run.key, run, (_curves(run), _clock(run), _lines(run.probes)))


def write_trial(folder: Path, run: Run, streams: Sequence[bytes]) -> None:
    """A trial's folder. `streams` is the text of each of STREAMS, whatever the run's own curves are."""
    (folder / "attempts").mkdir(parents=True)
    for number, attempt in enumerate(run.attempts, start=1):
        _json(folder / "attempts" / f"{number:04d}.json", attempt)
    about = {
        "key": run.key,
        "name": run.name,
        "arm": run.arm,
        "seed": run.seed,
        "parameters": 0,
        "multiply_adds": 0,
        "params": {**run.params, "data": _data(run.params["network"]["data"])},
    }
    _json(folder / "trial.json", {"format": FORMAT, "created": "2026-01-05T10:00:00Z"} | about)
    data = dict(zip(STREAMS, streams, strict=True))
    for name, text in data.items():
        (folder / name).write_bytes(text)
    result = None
    if run.outcome in (Outcome.FINISHED, Outcome.DIVERGED):
        told = {
            name: value for name, value in run.result.items() if name in ("diverged_at", "weights_sha256", "growth")
        }
        kept = {name: read() for name, read in run.kept.items()}
        for name, text in kept.items():
            (folder / name).write_bytes(text)
        result = {"outcome": run.outcome.value, **told}
        result |= {"kept": {name: hashlib.sha256(text).hexdigest() for name, text in kept.items()}} if kept else {}
    commit = {
        "iteration": run.iteration,
        "streams": {name: [len(text), hashlib.sha256(text).hexdigest()] for name, text in data.items()},
        "checkpoint": f"checkpoint-{run.iteration:08d}-0001.pt",
        "checkpoint_sha256": hashlib.sha256(b"").hexdigest(),
        "seconds": run.seconds,
        "attempt": max(1, len(run.attempts)),
        "time": TIME + run.seconds,
        "result": result,
    }
    _json(folder / "commit.json", {"format": FORMAT, "key": run.key, "commits": [commit]})


def _iterations(run: Run) -> list[int]:
    return sorted({at for curve in run.curves.values() for at in curve.iterations})


def _data(name: str) -> Mapping[str, str]:
    return {"name": name, "fingerprint": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"}


def _curves(run: Run) -> bytes:
    """A line for each iteration; an error that the result has and no curve is put into the last line."""
    lines: dict[int, dict[str, float]] = {at: {"iteration": at} for at in _iterations(run) or [run.iteration]}
    for name, curve in run.curves.items():
        for at, value in zip(curve.iterations, curve.values, strict=True):
            lines[at][name] = value
    last = lines[max(lines)]
    for name, value in run.result.items():
        metric = name.removeprefix("last_")
        if name != metric and name.endswith("_error") and metric not in run.curves:
            last[metric] = value
    return _lines(lines.values())


def _clock(run: Run) -> bytes:
    points = _iterations(run) or [run.iteration]
    shares = [at / max(points[-1], 1) for at in points]
    costs = {name: value for name, value in run.costs.items() if name != "device_energy_joules"}
    energy = run.costs.get("device_energy_joules")
    return _lines(
        {
            "iteration": at,
            "time": TIME + share * run.seconds,
            "seconds": share * run.seconds,
            **costs,
            **({} if energy is None else {"device_energy_joules": energy / len(points)}),
        }
        for at, share in zip(points, shares, strict=True)
    )


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(plain(record)).encode() + b"\n" for record in records)


def _json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(plain(data)), encoding="utf-8")
