"""Provenance: facts of machine and software, and nothing secret."""

import json
from pathlib import Path

import pytest

from orchestrator import provenance as module
from orchestrator.provenance import driver, packages_sha256, provenance, version


def test_it_is_json_and_names_what_a_reader_needs() -> None:
    """Commit, changes, versions, processor, cores, GPUs."""
    facts = json.loads(json.dumps(provenance()))
    assert {"host", "hardware", "versions", "commit", "dirty"} <= set(facts)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["hardware"]["cores"] >= 1


def test_the_driver_is_what_the_kernel_says(tmp_path: Path) -> None:
    told = tmp_path / "version"
    assert driver(told) is None
    told.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version: 12\n"
    )
    assert driver(told) == "570.86.15"
    told.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    assert driver(told) == "550.54.15"
    told.write_text("something else\n")
    assert driver(told) is None


def test_other_packages_have_another_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And the same packages elsewhere the same."""
    one, other = tmp_path / "one", tmp_path / "other"
    (one / "torch-2.11.0.dist-info").mkdir(parents=True)
    (other / "torch-2.11.0.dist-info").mkdir(parents=True)
    digests = []
    for place in (one, other):
        monkeypatch.setattr(module.sys, "path", [str(place)])
        digests.append(packages_sha256())
    (other / "nvidia_cudnn_cu13-9.1.dist-info").mkdir()
    assert digests[0] == digests[1] != packages_sha256()


def test_no_value_of_the_environment_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in the environment stays there."""
    monkeypatch.setenv("CANARY_TOKEN", "hunter2-canary")
    provenance.cache_clear()
    assert "hunter2-canary" not in json.dumps(provenance())


def test_outside_a_repository_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unknown, not made up; and a repository that git cannot read is unknown too."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "package" / "provenance.py"))
    assert module._source() == {"commit": None, "dirty": None}
    (tmp_path / ".git").mkdir()
    assert module._source() == {"commit": None, "dirty": None}


def test_a_package_that_is_not_there() -> None:
    """None, not an error."""
    assert version("no-such-package-here") is None
