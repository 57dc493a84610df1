"""What a doctor says of this machine: Python, PyTorch, GPUs, compiler, limits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations import doctor
from ablations.data.photographs import decode
from ablations.doctor import asked_torch, machine_findings, torch_findings

SEEN = {"version": "2.15.0", "cuda": "13.2", "devices": ["H100", "H100"]}
NAMES = ["NVIDIA H100", "NVIDIA H100"]


def test_this_machine_can_run_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that a trial needs is told once, and the tests run here, so that none of it is bad."""
    monkeypatch.setattr(doctor, "asked_torch", lambda: SEEN | {"devices": doctor.gpus()})
    found = machine_findings()
    assert [each.about for each in found] == [
        *("Python", "packages", "PyTorch", "GPUs", "compiler", "photographs", "open files", "shared memory")
    ]
    assert not [each.line for each in found if each.level == "bad"]


def test_torch_is_asked_in_a_process_of_its_own() -> None:
    """It is loaded there, and not here."""
    facts = asked_torch()
    assert facts["version"].startswith("2.")
    assert isinstance(facts["devices"], list)


def test_gpus_that_torch_does_not_see_are_a_fault() -> None:
    """A driver that is too old, or a variable that hides them."""
    assert {each.level for each in torch_findings(SEEN, NAMES, "580.1")} == {"ok"}
    assert torch_findings(SEEN, NAMES, "580.1")[1].says == "2 x NVIDIA H100, driver 580.1"
    blind = torch_findings(SEEN | {"devices": []}, NAMES, None)[1]
    assert (blind.level, blind.says) == ("bad", "2 x NVIDIA H100 (driver unknown), and PyTorch sees 0")
    assert "CUDA_VISIBLE_DEVICES" in blind.do
    assert "for CPUs alone" in torch_findings(SEEN | {"cuda": None, "devices": []}, [], None)[0].says


def ends(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    real = subprocess.run
    monkeypatch.setattr(doctor.subprocess, "run", lambda _, **how: real([sys.executable, "-c", program], **how))


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("raise ImportError('libcudart.so is missing')", "cannot be loaded: ImportError: libcudart.so is missing"),
        ("import os; os._exit(139)", "cannot be loaded: its process ended with 139"),
        ("import time; time.sleep(60)", "cannot be loaded: it did not load within 0.3 s"),
    ],
)
def test_torch_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, program: str, line: str) -> None:
    """It may crash or hang: that is told too."""
    ends(monkeypatch, program)
    if "sleep" in program:
        monkeypatch.setattr(doctor, "TORCH_SECONDS", 0.3)
    (found,) = torch_findings(asked_torch(), [], None)
    assert (found.level, found.says) == ("bad", line)


def test_a_machine_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or one that does not compile, or nowhere to keep what comes out: slower, not wrong."""
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))
    assert doctor._compiler().level == "ok"
    monkeypatch.setattr(doctor, "FLAGS", ("-no-such-flag",))
    assert "kernels cannot be compiled" in doctor._compiler().says
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor._compiler()
    assert (found.level, found.says[:38]) == ("warn", "kernels cannot be compiled: none of cc")
    (tmp_path / "file").touch()
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "file" / "cache"))
    assert doctor._compiler().level == "warn"


def test_a_machine_that_decodes_photographs_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says by what, why, and what to install; FFCV is told, and not missed."""
    assert doctor._photographs().says.startswith("decoded by the kernel over libjpeg-turbo, fed by ")
    monkeypatch.setattr(doctor, "machine", lambda _: {"packages": {"ffcv": None}})
    assert doctor._photographs().level == "ok"
    assert doctor._photographs().says.endswith("fed by threads, for FFCV is not installed")
    monkeypatch.setattr(decode, "LINKS", ("-ljpeg-of-nobody",))
    decode.decoder.cache_clear()
    try:
        found = doctor._photographs()
    finally:
        decode.decoder.cache_clear()
    assert found.level == "warn"
    assert found.says.startswith(
        "decoded by Pillow, whole images (it needs libjpeg-turbo's headers: install libjpeg-dev"
    )
    assert found.do == "install gcc and libjpeg-dev: the same pixels, at several times the speed"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: dict[str, Any] = {"ray": None, "torch": None, "rich": "14"}
    (found,) = doctor._packages(versions)
    assert (found.level, found.says) == ("bad", "ray, torch not installed")
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert doctor._python().level == "bad"


def test_the_driver_is_read_where_linux_shows_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "DRIVER", tmp_path / "version")
    assert doctor._driver() is None
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23")
    assert doctor._driver() == "580.95.05"
