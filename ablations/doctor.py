"""What is wrong with this machine, in words: Python, PyTorch, GPUs, compiler, FFCV, limits.

PyTorch takes seconds to load and may crash where a driver does not fit: it is asked in a process of its own.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.kernels.compiler import COMPILERS, FLAGS, NoCompilerError, cache
from orchestrator.provenance import gpus
from orchestrator.remote.findings import Finding, machine_limits
from orchestrator.remote.onsite import machine
from orchestrator.remote.probe import REQUIRED

PYTHONS = ((3, 11), (3, 13))
"""The oldest and the newest that pyproject.toml allows."""
TORCH_SECONDS = 120
DRIVER = Path("/proc/driver/nvidia/version")


def machine_findings() -> list[Finding]:
    """All of this machine that a trial needs."""
    seen = machine(REQUIRED)
    found = [_python(), *_packages(seen["packages"])]
    if seen["packages"]["torch"] is not None:
        found += torch_findings(asked_torch(), gpus(), _driver())
    return [*found, _compiler(), _photographs(), *machine_limits(seen, seen["host"])]


def _python() -> Finding:
    oldest, newest = PYTHONS
    here = sys.version_info[:2]
    says = f"Python {sys.version.split()[0]} in {sys.executable}"
    if oldest <= here <= newest:
        return Finding(about="Python", level="ok", says=says)
    do = f"use Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    return Finding(about="Python", level="bad", says=says, do=do)


def _packages(versions: Mapping[str, str | None]) -> list[Finding]:
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        says = f"{', '.join(missing)} not installed"
        return [Finding(about="packages", level="bad", says=says, do="make setup")]
    return [Finding(about="packages", level="ok", says=f"all {len(versions)} are installed; Ray {versions['ray']}")]


def asked_torch() -> Mapping[str, Any]:
    """`version`, `cuda` (that it was built for), `devices` that it can use; or `error`, a line."""
    command = [sys.executable, "-m", "ablations.doctor"]
    root = Path(__file__).resolve().parent.parent
    try:
        ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"it did not load within {TORCH_SECONDS} s"}
    if ended.returncode != 0:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        return {"error": lines[-1].strip() if lines else f"its process ended with {ended.returncode}"}
    return json.loads(ended.stdout)


def torch_findings(torch: Mapping[str, Any], names: list[str], driver: str | None) -> list[Finding]:
    """What PyTorch says of itself, beside the GPUs (`names`) and the version of the driver that Linux shows."""
    if "error" in torch:
        return [Finding(about="PyTorch", level="bad", says=f"cannot be loaded: {torch['error']}", do="make setup")]
    built = f"for CUDA {torch['cuda']}" if torch["cuda"] else "for CPUs alone"
    found = [Finding(about="PyTorch", level="ok", says=f"{torch['version']}, built {built}")]
    if not names:
        return [*found, Finding(about="GPUs", level="ok", says="none; trials use cores")]
    listed = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    if len(torch["devices"]) < len(names):
        says = f"{listed} (driver {driver or 'unknown'}), and PyTorch sees {len(torch['devices'])}"
        do = "see CUDA_VISIBLE_DEVICES, then nvidia-smi; a PyTorch that is newer than the driver sees none"
        return [*found, Finding(about="GPUs", level="bad", says=says, do=do)]
    return [*found, Finding(about="GPUs", level="ok", says=f"{listed}, driver {driver or 'unknown'}")]


def _driver() -> str | None:
    try:
        words = DRIVER.read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _compiler() -> Finding:
    """Whether C can be compiled here and what comes out kept; without, the same is done slower."""
    try:
        kept = cache()
        kept.mkdir(parents=True, exist_ok=True)
        compiler = next((each for each in COMPILERS if shutil.which(each)), None)
        if compiler is None:
            raise NoCompilerError(f"none of {', '.join(COMPILERS)} is on the PATH")
        with tempfile.TemporaryDirectory(dir=kept) as folder:
            source = Path(folder) / "empty.c"
            source.write_text("#include <math.h>\nint nothing(void) { return 0; }\n", encoding="utf-8")
            command = [compiler, *FLAGS, str(source), "-o", str(source.with_suffix(".so"))]
            subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (NoCompilerError, OSError, subprocess.SubprocessError) as error:
        says = f"kernels cannot be compiled: {error}"
        return Finding(about="compiler", level="warn", says=says, do="install gcc, or set ABLATE_CACHE to a folder")
    return Finding(about="compiler", level="ok", says=f"{compiler}; kernels are kept in {kept}")


def _photographs() -> Finding:
    """What decodes photographs here and what feeds them; only ImageNet and sets like it need either."""
    from ablations.data.photographs.decode import decoder

    by, version = decoder(), machine(["ffcv"])["packages"]["ffcv"]
    fed = f"fed by FFCV {version}" if version else "fed by threads, for FFCV is not installed"
    says = f"decoded by {by.name}, {fed}"
    if by.compiled is None:
        do = "install gcc and libjpeg-dev: the same pixels, at several times the speed"
        return Finding(about="photographs", level="warn", says=says, do=do)
    return Finding(about="photographs", level="ok", says=says)


def _main() -> None:
    import torch

    devices = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    facts = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": devices}
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    _main()
