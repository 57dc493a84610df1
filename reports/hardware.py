"""What computed a run, in a word, so that costs on unlike hardware are told apart."""

from collections.abc import Mapping

from orchestrator.ledger import replicas
from orchestrator.runs import Run


def hardware_of(run: Run) -> str:
    """Its GPUs where it ran on some, as many as shared in a trial, or the part of one that was its own; else the
    processor; several are joined."""
    names = dict.fromkeys(_machine(each) for each in run.attempts if each.get("hardware"))
    return " and ".join(names) or "hardware not recorded"


def _machine(attempt: Mapping[str, object]) -> str:
    hardware = attempt["hardware"]
    if not isinstance(hardware, Mapping):
        return str(hardware)
    site = attempt.get("site")
    gpus = hardware.get("gpus") or ()
    if not isinstance(site, Mapping) or site.get("device") != "cuda":
        return str(hardware.get("cpu", "a CPU"))
    name, count = str(next(iter(gpus), "a GPU")), replicas(attempt)
    if count == 1 and isinstance(share := site.get("share"), int | float) and 0 < share < 1:
        return f"1/{round(1 / share)} of {name}"
    return name if count == 1 else f"{count} × {name}"
