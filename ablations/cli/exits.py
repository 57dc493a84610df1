"""How a command ends: the exit codes of DESIGN.md, and an error in one line on standard error."""

from typing import NoReturn

import typer

OK, TRIALS_FAILED, WRONG_INPUT, CONTRADICTED, UNREACHABLE, DAMAGED, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130


class Stop(Exception):
    """Ends the command with a line and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail(message: str, code: int) -> NoReturn:
    raise Stop(message, code)


def say(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code
