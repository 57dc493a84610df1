"""Provenance: facts of machine and software, and nothing secret."""

import json
from pathlib import Path

import pytest

from orchestrator import provenance as module
from orchestrator.provenance import provenance, version


def test_it_is_json_and_names_what_a_reader_needs() -> None:
    """Commit, changes, versions, processor, cores, GPUs."""
    facts = json.loads(json.dumps(provenance()))
    assert {"host", "hardware", "versions", "commit", "dirty"} <= set(facts)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["hardware"]["cores"] >= 1


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
