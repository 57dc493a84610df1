"""Where a command prints: facts as JSON, or a console whose listener may leave."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

NO_WIDTH = 80
"""Of a terminal that says that it has none."""


def print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=1, allow_nan=False))


def stdout() -> "Console":
    return _console(stderr=False)


def stderr() -> "Console":
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    """A console whose listener may leave: `ablate run ... | head` goes on without one."""
    from rich.console import Console

    class Unheard(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    told = os.environ.get("COLUMNS", "")
    return Unheard(stderr=stderr, width=NO_WIDTH if told.isdecimal() and int(told) == 0 else None)


def program() -> str:
    """This program as it was called, so that what is printed can be typed."""
    return shlex.quote(sys.argv[0]) if Path(sys.argv[0]).stem == "ablate" else "ablate"
