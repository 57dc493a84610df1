"""One embedded Ray for all tests that use one in this process: Ray keeps the first token that a process shows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cluster import Cluster, embedded

SLOTS = 2


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Its workers find the toy trial, and this tree."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parents[1]))))
        started = embedded(SLOTS, pytest.fail)
        joined = started.__enter__()
    try:
        yield joined
    finally:
        started.__exit__(None, None, None)
