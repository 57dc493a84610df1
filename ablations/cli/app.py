"""The program: its verbs in the order of `--help`, and what becomes of an error."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from ablations.cli.exits import DAMAGED, INTERRUPTED, OK, OUR_BUG, UNREACHABLE, WRONG_INPUT, Stop, say
from ablations.cli.verbs.clusters import doctor, submit
from ablations.cli.verbs.data import data
from ablations.cli.verbs.progress import cancel, logs, status
from ablations.cli.verbs.results import check, diff, report, show
from ablations.cli.verbs.runs import plan, run
from ablations.cli.verbs.studies import export, init, schema, studies
from ablations.cli.verbs.tracking import publish, ui
from ablations.data.errors import DataError, NotThereError, UnfitError
from ablations.reader import StudyError

VERBS = (
    *(studies, init, plan, run, submit, doctor),
    *(status, logs, cancel, show, report, check, diff),
    *(publish, export, ui, schema),
)

app = typer.Typer(
    help="Rebuild the experiments of Deep Residual Learning (He et al., 2015), and judge its claims. With --debug, any"
    " command shows the traceback of its error.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb in VERBS:
    app.command()(verb)
app.add_typer(data)


def _say_version(asked: bool) -> None:
    from orchestrator.provenance import version

    if asked:
        typer.echo(f"ablate {version('ablate') or 'unknown'}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Every error that a user can cause ends in one line on standard error and the exit code of DESIGN.md."""
    debug = "--debug" in sys.argv
    arguments = [each for each in sys.argv[1:] if each != "--debug"]
    usage_error: Any = typer.BadParameter.__mro__[2]  # click's own base of usage errors, whichever click typer carries
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
        if not arguments:
            code = WRONG_INPUT  # the help is a person's answer; a script whose verb is missing is told
        if code == INTERRUPTED:  # typer's answer to Ctrl-C
            say("interrupted; what was committed is kept, and the same command goes on from there", INTERRUPTED)
    except usage_error as error:
        code = say(_usage(error), WRONG_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK
    except Exception as error:  # noqa: BLE001 - the last resort: one line, and the traceback only where it is asked for
        if debug:
            traceback.print_exc()
        code = say(_line(error), _code(error))
    raise SystemExit(code if isinstance(code, int) else OK)


def _usage(error: Any) -> str:
    """What click says of an option or a verb, with the value that was given, which it leaves out, and where to look."""
    context, said = error.ctx, error.format_message().rstrip(".")
    problems = getattr(error.__cause__, "errors", list)()  # typer checks values with pydantic
    if problems:
        must = problems[0]["msg"].replace("Input should be", "must be")
        said = f"{' / '.join(error.param.opts)}: {must}, not {str(problems[0]['input'])[:200]!r}"
    verbs: list[str] = []
    while context is not None and context.parent is not None:
        verbs.insert(0, context.info_name)
        context = context.parent
    return f"{said}; see `{' '.join(('ablate', *verbs))} --help`"


def _code(error: Exception) -> int:
    if isinstance(error, StudyError):
        return WRONG_INPUT
    if isinstance(error, Stop):
        return error.code
    if isinstance(error, DataError):
        return (
            WRONG_INPUT
            if isinstance(error, UnfitError)
            else UNREACHABLE
            if isinstance(error, NotThereError)
            else DAMAGED
        )
    from orchestrator.drive import UnplaceableError
    from orchestrator.ledger import LedgerError
    from orchestrator.remote.access import TokenError
    from orchestrator.remote.package import TooLargeError
    from orchestrator.remote.request import AddressError
    from orchestrator.studies import StudyInUse

    if isinstance(error, StudyInUse | UnplaceableError | ConnectionError):
        return UNREACHABLE
    if isinstance(error, LedgerError):
        return DAMAGED
    wrong = isinstance(error, OSError | AddressError | TokenError | TooLargeError)
    return WRONG_INPUT if wrong else OUR_BUG


def _line(error: Exception) -> str:
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: {error.strerror}; make it yours with chown or chmod, or name another"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if _code(error) != OUR_BUG:
        return str(error)
    return f"{type(error).__name__}: {error}; this is a bug in Ablate, --debug shows where"
