"""The tree, who may import whom, and what our packages never do.

The rules stand first, as data; then a reader of Python source that says where one is broken. It reads the syntax tree,
so it sees imports inside functions and under TYPE_CHECKING as well. Planted violations prove that it can fail.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]

HOSTS = re.compile(r"pypi\.org|python[h]osted|npmjs\.(org|com)|deb\.debian\.org|download\.pytorch\.org", re.IGNORECASE)
ONE_MACHINE = re.compile(r"(?<![A-Za-z0-9_.])/(work|farm)/|/[r]oot/|/tmp/[b]ash_jobs|/[h]ome/[a-z]")

PACKAGES = ("models", "orchestrator", "reports", "ablations")
FOLDERS = {*PACKAGES, "benchmarks", "docs", "tests"}
"""Top-level folders; those whose names begin with a dot are free."""

BESIDE: Mapping[str, frozenset[str]] = {
    "models": frozenset(),
    "orchestrator": frozenset(),
    "reports": frozenset({"orchestrator", "models"}),
    "ablations": frozenset({"orchestrator", "models"}),
}
"""Which of our packages each package may import beside itself."""
COMMAND_LINE = "ablations/cli/"
"""The part of `ablations` that may import `reports`. The rest does not import this part, which would be a way round."""

NEVER: Mapping[str, frozenset[str]] = {
    "orchestrator": frozenset({"torch", "torchvision"}),
    "reports": frozenset({"torch", "torchvision", "ray", "mlflow"}),
}
"""What a package must not import from outside, on top of HOME."""
MODELS_MAY_IMPORT = frozenset({"torch", "models", *sys.stdlib_module_names})

HOME: Mapping[str, str] = {
    "ray": "orchestrator/",
    "mlflow": "orchestrator/tracking/view.py",
    "ffcv": "ablations/data/",
}
"""The one file or folder that may import each of these."""

EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "base"})
"""Words that say nothing about what a file holds."""

FORBIDDEN: Mapping[str, str] = {
    "pickle.load": "unpickling runs code",
    "pickle.loads": "unpickling runs code",
    "pickle.Unpickler": "unpickling runs code",
    "cloudpickle": "unpickling runs code",
    "joblib": "unpickling runs code",
    "yaml.load": "use a safe loader",
    "yaml.load_all": "use a safe loader",
    "yaml.full_load": "use a safe loader",
    "yaml.unsafe_load": "use a safe loader",
    "yaml.unsafe_load_all": "use a safe loader",
    "yaml.UnsafeLoader": "use a safe loader",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "os.system": "runs text in a shell",
    "os.popen": "runs text in a shell",
    "subprocess.getoutput": "runs text in a shell",
    "subprocess.getstatusoutput": "runs text in a shell",
}
"""Names that our packages never use, and why."""


def empty_names(path: PurePosixPath) -> list[str]:
    """The parts of a path that say nothing, such as `helpers.py`."""
    return [part for part in path.parts if EMPTY_NAMES & set(re.split(r"[^a-z]+", part.lower()))]


def imports(path: PurePosixPath, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, wherever the import stands; relative ones in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: len(path.parts) - node.level] if node.level else ()
            module = ".".join((*above, *([node.module] if node.module else [])))
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _last(node.func) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def violations(path: PurePosixPath, source: str) -> list[str]:
    """Each broken rule as `models/blocks.py:3: models imports numpy`. `path` starts at the root of the tree."""
    tree = ast.parse(source)
    found = {*_bad_imports(path, tree), *_bad_uses(tree)}
    return [f"{path}:{line}: {message}" for line, message in sorted(found)]


def _bad_imports(path: PurePosixPath, tree: ast.Module) -> Iterator[tuple[int, str]]:
    package = path.parts[0]
    for line, module in imports(path, tree):
        top = module.split(".")[0]
        beside = BESIDE[package] | ({"reports"} if str(path).startswith(COMMAND_LINE) else set())
        if top in PACKAGES:
            if top != package and top not in beside:
                yield line, f"{package} imports {top}"
            if f"{module}.".startswith("ablations.cli.") and not str(path).startswith(COMMAND_LINE):
                yield line, "the command line is imported outside itself"
        elif package == "models":
            if top not in MODELS_MAY_IMPORT:
                yield line, f"models imports {top}"
        elif top in NEVER.get(package, ()):
            yield line, f"{package} imports {top}"
        elif top in HOME and not str(path).startswith(HOME[top]):
            yield line, f"{top} is imported outside {HOME[top]}"


def _bad_uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    names = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            used = _dotted(node, names)
            if used in FORBIDDEN:
                yield node.lineno, f"{used}: {FORBIDDEN[used]}"
            if used.endswith("Tuner.restore"):
                yield node.lineno, "Tuner.restore: the ledger is the truth, not Ray's pickles"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for name in (f"{module}{alias.name}", f"{module}{alias.name}".split(".")[0]):
                    if name in FORBIDDEN:
                        yield node.lineno, f"{name}: {FORBIDDEN[name]}"
        elif isinstance(node, ast.Call):
            keywords = {each.arg: each.value for each in node.keywords}
            if _dotted(node.func, names) == "torch.load" and not _is(keywords.get("weights_only"), True):
                yield node.lineno, "torch.load without weights_only=True"
            if "shell" in keywords and not _is(keywords["shell"], False):
                yield node.lineno, "shell=True: runs text in a shell"
    yield from _stops_ray(tree)


def _stops_ray(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """`ray stop`, in a text or as two arguments in a row; docstrings may speak of it."""
    speech = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        message = "`ray stop` ends every cluster of the machine"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in speech:
            if re.search(r"\bray\s+stop\b", node.value):
                yield node.lineno, message
        elif isinstance(node, ast.List | ast.Tuple | ast.Call):
            row = [each.value if isinstance(each, ast.Constant) else None for each in _items(node)]
            if any(str(first).split("/")[-1] == "ray" and second == "stop" for first, second in pairwise(row)):
                yield node.lineno, message


def _items(node: ast.List | ast.Tuple | ast.Call) -> list[ast.expr]:
    return node.args if isinstance(node, ast.Call) else node.elts


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: `from torch import load as read` gives `read` for `torch.load`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    """`a.b.c` as it is written, with imported names in full; empty for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _last(node: ast.expr) -> str:
    return _dotted(node, {}).split(".")[-1]


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@cache
def sources() -> dict[PurePosixPath, str]:
    """Every module of our packages, by its path from the root."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {PurePosixPath(file.relative_to(ROOT).as_posix()): file.read_text(encoding="utf-8") for file in files}


@cache
def tracked() -> tuple[PurePosixPath, ...]:
    """Every file that git tracks and that is there; without git, every file that does not look like a product."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.split("\0") if name]
        return tuple(PurePosixPath(name) for name in names if (ROOT / name).is_file())
    files = (PurePosixPath(file.relative_to(ROOT).as_posix()) for file in ROOT.rglob("*") if file.is_file())
    return tuple(file for file in files if not any(map(_is_product, file.parts)))


def _is_product(part: str) -> bool:
    """Whether a part of a path is what tools leave behind: `.ci` and `.gitignore` are ours, others not."""
    hidden = part.startswith(".") and part not in (".ci", ".gitignore")
    return hidden or part in {"node_modules", "results", "build", "__pycache__"} or part.endswith(".egg-info")


def test_every_package_keeps_the_rules() -> None:
    assert {path.parts[0] for path in sources()} == set(PACKAGES)
    broken = [line for path, source in sources().items() for line in violations(path, source)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("package", ["orchestrator", "reports"])
def test_torch_is_out_of_reach(package: str) -> None:
    """Not even through another of our modules: reports may import models.spec, but nothing that imports torch."""
    reached = {path for path in sources() if path.parts[0] == package}
    ways = {path: str(path) for path in reached}
    waiting = list(reached)
    while waiting:
        path = waiting.pop()
        modules = {module for _, module in imports(path, ast.parse(sources()[path]))}
        assert not any(module.split(".")[0] == "torch" for module in modules), f"{ways[path]} -> torch"
        for found in {file for module in modules for file in files_of(module)} - reached:
            reached.add(found)
            ways[found] = f"{ways[path]} -> {found}"
            waiting.append(found)


def files_of(module: str) -> set[PurePosixPath]:
    """The files that importing a module of ours runs: its own, and each package's `__init__.py` on the way."""
    parts = module.split(".")
    above = [PurePosixPath(*parts[:length], "__init__.py") for length in range(1, len(parts) + 1)]
    return {file for file in (*above, PurePosixPath(*parts).with_suffix(".py")) if file in sources()}


def test_only_the_named_folders_stand_at_the_top() -> None:
    folders = {file.parts[0] for file in tracked() if len(file.parts) > 1}
    strangers = {folder for folder in folders - FOLDERS if not folder.startswith(".")}
    assert not strangers, f"allowed are {', '.join(sorted(FOLDERS))}"


def test_every_name_says_what_the_file_holds() -> None:
    assert not [str(file) for file in tracked() if empty_names(file)]


@pytest.mark.parametrize(("pattern", "what"), [(HOSTS, "a registry's host"), (ONE_MACHINE, "a path of one machine")])
def test_no_file_names(pattern: re.Pattern[str], what: str) -> None:
    found = []
    for file in tracked():
        if file.parts[0] == "tests" and "data" in file.parts:
            continue
        content = (ROOT / file).read_bytes()
        if b"\0" in content[:8000]:
            continue
        lines = content.decode("utf-8", errors="replace").splitlines()
        found += [f"{file}:{number}: {line[:160]}" for number, line in enumerate(lines, 1) if pattern.search(line)]
    assert not found, f"{what} is named:\n" + "\n".join(found[:20])


BROKEN = {
    "models imports another package": (
        "models/blocks.py",
        "import orchestrator.planning.plan",
        "models imports orchestrator",
    ),
    "models imports numpy": ("models/blocks.py", "import numpy as np", "models imports numpy"),
    "orchestrator imports a model": (
        "orchestrator/planning/plan.py",
        "from models.spec import Network",
        "imports models",
    ),
    "orchestrator imports torch in a function": (
        "orchestrator/planning/plan.py",
        "def run() -> None:\n    import torch",
        "orchestrator imports torch",
    ),
    "orchestrator imports reports for typing": (
        "orchestrator/planning/plan.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reports.page import Page",
        "orchestrator imports reports",
    ),
    "orchestrator imports ablations by name": (
        "orchestrator/worker.py",
        "import importlib\nimportlib.import_module('ablations.trial')",
        "orchestrator imports ablations",
    ),
    "reports imports ablations": ("reports/page.py", "from ablations import study", "reports imports ablations"),
    "reports imports torch": ("reports/page.py", "import torch.nn", "reports imports torch"),
    "reports imports ray": ("reports/page.py", "from ray import tune", "reports imports ray"),
    "reports imports mlflow": ("reports/page.py", "import mlflow", "reports imports mlflow"),
    "a relative import leaves the package": ("reports/page.py", "from ..ablations import study", "imports ablations"),
    "ablations imports reports": ("ablations/trial.py", "import reports.page", "ablations imports reports"),
    "ablations imports its command line": ("ablations/trial.py", "from ablations import cli", "outside itself"),
    "ray outside its folder": ("ablations/trial.py", "import ray", "ray is imported outside orchestrator/"),
    "mlflow outside its file": ("ablations/trial.py", "import mlflow", "mlflow is imported outside"),
    "mlflow beside its file": ("orchestrator/tracking/publisher.py", "import mlflow", "mlflow is imported outside"),
    "ffcv outside its folder": ("ablations/train.py", "import ffcv", "ffcv is imported outside ablations/data/"),
    "pickle": ("ablations/trial.py", "import pickle\npickle.loads(b'')", "pickle.loads"),
    "pickle under another name": ("ablations/trial.py", "import pickle as p\np.load(None)", "pickle.load"),
    "pickle imported from": ("ablations/trial.py", "from pickle import loads as read", "pickle.loads"),
    "cloudpickle": ("orchestrator/worker.py", "import cloudpickle", "cloudpickle"),
    "part of joblib": ("ablations/trial.py", "from joblib.memory import Memory", "joblib"),
    "torch.load": ("ablations/trial.py", "import torch\ntorch.load('x')", "weights_only"),
    "torch.load imported from": ("ablations/trial.py", "from torch import load\nload('x')", "weights_only"),
    "torch.load unsafe": ("ablations/trial.py", "import torch\ntorch.load('x', weights_only=False)", "weights_only"),
    "yaml.load": ("ablations/reader.py", "import yaml\nyaml.load('', yaml.SafeLoader)", "yaml.load"),
    "yaml.unsafe_load": ("ablations/reader.py", "import yaml\nyaml.unsafe_load('')", "yaml.unsafe_load"),
    "eval": ("ablations/reader.py", "eval('1')", "eval"),
    "exec": ("ablations/reader.py", "exec('x = 1')", "exec"),
    "a shell": ("orchestrator/drive.py", "import subprocess\nsubprocess.run('ls', shell=True)", "shell"),
    "os.system": ("orchestrator/drive.py", "from os import system\nsystem('ls')", "os.system"),
    "Tuner.restore": ("orchestrator/schedule.py", "from ray import tune\ntune.Tuner.restore('x')", "Tuner.restore"),
    "ray stop as one text": ("orchestrator/drive.py", "command = 'ray stop --force'", "ray stop"),
    "ray stop as arguments": ("orchestrator/drive.py", "command = ['/usr/bin/ray', 'stop']", "ray stop"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_planted_violation_is_caught(case: str) -> None:
    path, source, message = BROKEN[case]
    found = violations(PurePosixPath(path), source)
    assert len(found) >= 1
    assert all(line.startswith(f"{path}:") for line in found)
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/networks.py", "import math\nimport torch\nfrom torch import nn\nfrom models.spec import Network"),
        ("orchestrator/schedule.py", "def run() -> None:\n    import ray\n    from ray import tune"),
        ("orchestrator/tracking/view.py", "from mlflow.entities import Metric"),
        (
            "orchestrator/drive.py",
            '"""Never calls `ray stop`."""\nimport subprocess\nsubprocess.run(["ls"], shell=False)',
        ),
        (
            "reports/tables/cifar10.py",
            "from orchestrator.runs import Run\nfrom .entries import Entry\nfrom models.spec import Network",
        ),
        ("ablations/cli/verbs/results.py", "def report() -> None:\n    from reports.page import write"),
        ("ablations/data/beton.py", "import ffcv"),
        ("ablations/trial.py", "import torch\ntorch.load('x', weights_only=True)\ntorch.nn.Linear(1, 1).eval()"),
        ("ablations/reader.py", "import yaml\nyaml.safe_load('')\nimport pickle\npickle.dumps(1)"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert violations(PurePosixPath(path), source) == []


def test_an_empty_name_is_caught() -> None:
    assert empty_names(PurePosixPath("reports/table_utils.py")) == ["table_utils.py"]
    assert empty_names(PurePosixPath("ablations/common/seeds.py")) == ["common"]
    assert empty_names(PurePosixPath("ablations/database.py")) == []


@pytest.mark.parametrize("line", ["see https://" + "pypi" + ".org/simple", "https://files." + "python" + "hosted.org"])
def test_a_host_is_caught(line: str) -> None:
    assert HOSTS.search(line)


@pytest.mark.parametrize(
    "line", ["in " + "/wo" + "rk/main", "/ro" + "ot/.cache", "/ho" + "me/someone", "'/fa" + "rm/x'"]
)
def test_a_path_is_caught(line: str) -> None:
    assert ONE_MACHINE.search(line)
