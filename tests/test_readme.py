"""What README.md and docs/ say is there is there: links, targets of the Makefile, commands with their options."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links() -> Iterator[tuple[Path, str]]:
    """Every link that is not to another site."""
    for page in PAGES:
        yield from ((page, link) for link in LINK.findall(prose(page)) if "://" not in link)


def commands() -> Iterator[tuple[Path, str]]:
    """Every line of a console block that begins with `$ `, continued lines joined, the comment cut off."""
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "console":
                lines = block.replace("\\\n", " ").splitlines()
                yield from ((page, line[2:].strip()) for line in lines if line.startswith("$ "))


def named(values: Iterator[tuple[Path, str]]) -> list:
    return [pytest.param(page, text, id=f"{page.name}: {text.splitlines()[0]}") for page, text in values]


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), named(links()))
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_two_commands_are_there() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"demo", "test"} <= targets()
    assert "make demo" in first
    assert "make test" in first


def test_help_names_every_target() -> None:
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets() - {"help"} == {line.split()[1] for line in printed.splitlines() if line.startswith("make ")}


@cache
def ablate(*arguments: str) -> str:
    """What the command line prints; it must know the verb."""
    ended = subprocess.run(
        [sys.executable, "-c", "import sys; from ablations.cli import main; sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "TERM": "dumb"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    return ended.stdout


SMALLEST = {"name": "shown", "question": "Is it valid?", "data": "cifar10", "matrix": "{depth: [20, 56]}"}


def studies() -> Iterator[tuple[Path, str]]:
    """Every YAML block as a whole study: one that shows some keys gets the others that a study needs."""
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "yaml":
                shown = set(re.findall(r"^(\w+):", block, re.MULTILINE))
                rest = {} if "name" in shown else SMALLEST
                yield page, block + "".join(f"{key}: {value}\n" for key, value in rest.items() if key not in shown)


@pytest.mark.parametrize(("page", "study"), named(studies()))
def test_a_study_is_valid(page: Path, study: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(study, encoding="utf-8")
    assert "trials" in ablate("plan", str(file), "--results", str(tmp_path / "results"))


GROUPS = {("data", "prepare"): 3, ("data",): 2}
"""Verbs of more words than one, by the words they begin with."""


def check_ablate(words: list[str]) -> None:
    if words[0].startswith("-"):
        assert words[0] in ablate("--help")
        return
    depth = next((depth for start, depth in GROUPS.items() if tuple(words[: len(start)]) == start), 1)
    verb, rest = words[:depth], words[depth:]
    manual = ablate(*verb, "--help")
    options = [word.split("=")[0] for word in rest if word.startswith("-")]
    for option in options:
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", manual), f"ablate {' '.join(verb)} has no {option}"
    if verb[0] not in ("init", "data", "diff") and rest and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rest[0]):
        assert rest[0] in ablate("studies").split(), f"no study is called {rest[0]}"


@cache
def trial_manual() -> str:
    """What `python -m ablations.trial --help` prints."""
    command = [sys.executable, "-m", "ablations.trial", "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout


def check_trial(words: list[str]) -> None:
    study, *rest = words
    for option in (word for word in rest if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", trial_manual()), f"a trial has no {option}"
    assert study.endswith(".json") or study in ablate("studies").split(), f"no study is called {study}"


@pytest.mark.parametrize(("page", "command"), named(commands()))
def test_a_command_exists(page: Path, command: str) -> None:
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *rest = words
    if program in ("ablate", ".venv/bin/ablate"):
        check_ablate(rest)
    elif rest[:2] == ["-m", "ablations.trial"]:
        assert program in ("python", ".venv/bin/python")
        check_trial(rest[2:])
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= targets()
    elif program.startswith(".venv/bin/"):
        assert Path(sys.executable).with_name(Path(program).name).exists()
    elif program.startswith(".ci/"):
        assert (ROOT / program).exists()
    else:
        assert program in ("cd", "git"), f"{page.name} shows {program}, which nothing here can check"


def test_checks_can_fail() -> None:
    with pytest.raises(AssertionError, match="has no --colour"):
        check_ablate(["plan", "digits-depth", "--colour"])
    with pytest.raises(AssertionError, match="no study is called digits-width"):
        check_ablate(["plan", "digits-width"])
    with pytest.raises(AssertionError):
        check_ablate(["ponder", "digits-depth"])
    with pytest.raises(AssertionError, match="ablate data prepare imagefolder has no --colour"):
        check_ablate(["data", "prepare", "imagefolder", "--from", "birds", "--colour"])
    with pytest.raises(AssertionError, match="a trial has no --colour"):
        check_trial(["digits-depth", "--colour"])
    with pytest.raises(AssertionError, match="no study is called digits-width"):
        check_trial(["digits-width", "--arm", "x"])
