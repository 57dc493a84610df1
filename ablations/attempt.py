"""How an attempt at a trial is made on this machine: nothing here can change its result."""

from pathlib import Path

from orchestrator.worker import Setting

THREADS = 1
"""Of a trial on the CPU. Results differ between one thread and two, so it is fixed, and recorded with each attempt."""


def setting(results: Path, device: str, commit_seconds: float) -> Setting:
    """How an attempt is made on `cpu` or `cuda`; prepared data lie in the results, which all nodes see."""
    return Setting(
        results=str(results),
        entry="ablations.trial:run",
        site={"data": str(results / "data"), "device": device, "threads": THREADS},
        commit_seconds=commit_seconds,
    )
