"""Where and with what an attempt ran: host, hardware, versions, commit. Reads no environment variable's value."""

import hashlib
import json
import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("ablate", "torch", "torchvision", "ray", "mlflow", "ffcv", "numpy", "pandas", "plotly", "scikit-learn")


SOURCE = "source.json"
"""Beside our packages where they were shipped without their repository: its `commit`, and whether it was `dirty`."""


@cache
def provenance() -> Mapping[str, Any]:
    """Facts of this process's machine and software, as JSON."""
    return {
        "host": socket.gethostname(),
        "hardware": {
            "cpu": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory() / 2**30, 1),
            "gpus": gpus(),
        },
        "driver": driver(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "packages_sha256": packages_sha256(),
        **_source(),
    }


def version(package: str) -> str | None:
    """Installed version of a package, without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """Names of the NVIDIA GPUs of this machine, from the driver; empty where there is none."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("Model")]
        names += model or ["NVIDIA GPU"]
    return names


def driver(told: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """Version of the NVIDIA driver; None where there is none."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)", told.read_text())
    except OSError:
        return None
    return found[1] if found else None


def packages_sha256() -> str:
    """Digest of the names and versions of all installed packages, CUDA's among them: equal where they are equal."""
    folders = {path.name for place in sys.path for path in Path(place or ".").glob("*.dist-info")}
    return hashlib.sha256("\n".join(sorted(folders)).encode()).hexdigest()


def processor() -> str:
    """Model of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _source() -> Mapping[str, Any]:
    """Commit of the source tree that this package runs from, and whether it was changed since."""
    tree = Path(__file__).resolve().parent.parent
    if not (tree / ".git").exists():
        return _shipped(tree)
    commit = _git(tree, "rev-parse", "HEAD")
    changes = _git(tree, "status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _shipped(tree: Path) -> Mapping[str, Any]:
    """What the machine that the code was shipped from knew."""
    try:
        said = json.loads((tree / SOURCE).read_text(encoding="utf-8"))
        return {"commit": said["commit"], "dirty": said["dirty"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"commit": None, "dirty": None}


def _git(tree: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(tree), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
