"""The command line. Each command imports what it needs when it is called: `plan` loads no torch, Ray or MLflow."""

import sys


def main() -> None:
    """The program `ablate`. Nothing is imported before Ctrl-C is looked after, from the first moment on."""
    try:
        from ablations.cli.app import main as program

        program()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; what was committed is kept, and the same command goes on from there\n")
        raise SystemExit(130) from None
