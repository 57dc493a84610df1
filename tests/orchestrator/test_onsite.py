"""What is seen on a node, without Ray: the shared folder, its locks, the code, and looks that have a limit."""

import ast
import fcntl
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.remote import onsite
from orchestrator.remote.onsite import MARK, digest, laid_out, look, machine, storage, within

ROOT = Path(__file__).parents[2]


def test_it_needs_nothing_of_ours() -> None:
    """Its text runs where our code is not."""
    tree = ast.parse(Path(onsite.__file__).read_text(encoding="utf-8"))
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "ray"}


def test_it_fits_on_a_command_line() -> None:
    """Linux takes 128 KiB for one argument."""
    assert Path(onsite.__file__).stat().st_size < 100_000


def test_a_node_that_shares_the_folder_reads_it_and_sees_its_lock(tmp_path: Path) -> None:
    """And nothing is left of it."""
    results = tmp_path / "results"
    with laid_out(results) as folder:
        seen = look(str(folder), "node-1", ["ray", "no-such-package"])
        assert seen["storage"]["lock"] == "held"
        assert seen["storage"]["free_bytes"] > 0
        assert (folder / "node-1").read_text() == "node-1"
    assert seen["packages"]["no-such-package"] is None
    assert seen["code"] == {"root": str(ROOT), "digest": digest(ROOT)}
    json.dumps(seen)
    assert not results.exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    with laid_out(tmp_path):
        pass
    assert tmp_path.exists()
    assert not list(tmp_path.iterdir())


def test_a_node_that_does_not_share_the_folder_says_so(tmp_path: Path) -> None:
    """Nothing is there, or something else is."""
    with laid_out(tmp_path / "results") as folder:
        assert "No such file" in look(str(folder.with_name(".probe-0")), "n", [])["storage"]["error"]
        other = tmp_path / folder.name
        shutil.copytree(folder, other)
        (other / "word").write_text("another")
        with pytest.raises(OSError, match="another folder of the same name"):
            storage(other, "n")


def test_a_lock_that_is_not_seen_is_told(tmp_path: Path) -> None:
    """As on a file system that keeps locks to each machine."""
    with laid_out(tmp_path) as folder:
        (folder / "held").unlink()
        (folder / "held").touch()
        assert storage(folder, "n")["lock"] == "free"


def test_the_results_directory_is_made_only_where_its_folder_is(tmp_path: Path) -> None:
    """A path that is written wrong makes no tree of folders."""
    with pytest.raises(FileNotFoundError), laid_out(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()


def test_what_waits_for_ever_is_left_behind() -> None:
    """What it returns or raises in time is passed on."""
    assert within(5, lambda: 3) == 3
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"])
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0.1 s"):
        within(0.1, lambda: time.sleep(3))
    assert time.monotonic() - began < 2.5


def test_a_held_lock_keeps_a_second_probe_out(tmp_path: Path) -> None:
    """The lock is one that other processes see."""
    with laid_out(tmp_path) as folder, (folder / "held").open() as again, pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_where_no_ray_runs_it_is_told_in_a_line(tmp_path: Path) -> None:
    """On standard output, marked; whatever Ray prints beside it."""
    command = [sys.executable, "-P", onsite.__file__, "reach", "auto"]
    environment = {"PATH": "/usr/bin:/bin", "RAY_ADDRESS": "not-an-address", "HOME": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    told = [json.loads(line.removeprefix(MARK)) for line in ended.stdout.splitlines() if line.startswith(MARK)]
    assert told[0]["step"] == "started"
    assert told[-1]["step"] == "done"
    assert "error" in told[-1]


def test_facts_of_this_machine() -> None:
    seen = machine(["ray"])
    assert seen["packages"] == {"ray": machine(["ray"])["packages"]["ray"]}
    assert seen["shm_bytes"] is None or seen["shm_bytes"] > 0
    assert abs(seen["time"] - time.time()) < 60
