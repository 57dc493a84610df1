"""What travels to a cluster: our packages and a study file, the same bytes for the same content, and nothing else."""

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from orchestrator import provenance as provenance_module
from orchestrator.provenance import SOURCE
from orchestrator.remote.onsite import PACKAGES, digest
from orchestrator.remote.package import TooLargeError, pack

ROOT = Path(__file__).parents[2]


def write(root: Path, name: str, content: bytes = b"x = 1\n") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for package in PACKAGES:
        write(tmp_path, f"{package}/__init__.py")
    write(tmp_path, "ablations/studies/mine.yaml")
    return tmp_path


def test_only_our_packages_and_the_study_travel(tree: Path) -> None:
    """Results, data, environments, repositories, caches and products stay, wherever they lie."""
    for name in (
        *("results/trials/k/commit.json", "data/cifar.bin", ".git/config", ".venv/bin/python", "secrets.env"),
        *("models/__pycache__/a.pyc", "ablations/.cache/x", "reports/old.py~", "models/kernel.so", "tests/test_a.py"),
    ):
        write(tree, name)
    package = pack(tree, ("mine.yaml", "name: mine\n"))
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        names = set(archive.namelist())
        assert archive.read("mine.yaml") == b"name: mine\n"
        assert set(json.loads(archive.read(SOURCE))) == {"commit", "dirty"}
    ours = {f"{package}/__init__.py" for package in PACKAGES}
    assert names == ours | {"ablations/studies/mine.yaml", "mine.yaml", SOURCE}


def test_equal_content_is_the_same_package(tree: Path) -> None:
    """Whenever it was written; a changed letter is another one."""
    before, seen = pack(tree), digest(tree)
    for path in tree.rglob("*.py"):
        os.utime(path, (0, 0))
    assert pack(tree) == before
    write(tree, "models/__init__.py", b"x = 2\n")
    assert pack(tree).uri != before.uri
    assert digest(tree) != seen


def test_our_own_tree_is_small() -> None:
    """All that a trial needs is in it, and a head takes it a hundred times over."""
    package = pack(ROOT)
    with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
        names = set(archive.namelist())
    assert {"ablations/cli/app.py", "ablations/kernels/augment.c", "reports/page/page.html.j2"} <= names
    assert {"ablations/studies/digits-depth.yaml", "orchestrator/remote/onsite.py"} <= names
    assert len(package.content) < 2**20 * 10


def test_what_is_too_large_is_named(tree: Path) -> None:
    """The largest files, with their sizes, in one line, before anything is sent."""
    write(tree, "models/weights.bin", os.urandom(3 * 2**20))
    write(tree, "ablations/cache.npy", os.urandom(2 * 2**20))
    with pytest.raises(TooLargeError, match=r"5\.0 MiB packed.* takes 4\.0 MiB") as refused:
        pack(tree, most_bytes=4 * 2**20)
    assert "models/weights.bin (3.0 MiB), ablations/cache.npy (2.0 MiB)" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_commit_travels_with_the_code(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the repository is not, its commit is still known."""
    monkeypatch.setattr(provenance_module, "__file__", str(tree / "orchestrator" / "provenance.py"))
    (tree / SOURCE).write_text(json.dumps({"commit": "abc", "dirty": True}))
    assert provenance_module._source() == {"commit": "abc", "dirty": True}
    (tree / SOURCE).write_text("{")
    assert provenance_module._source() == {"commit": None, "dirty": None}
