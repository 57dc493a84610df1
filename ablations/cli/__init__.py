"""The command line. Each command imports what it needs when it is called: `plan` loads no torch, Ray or MLflow."""

from ablations.cli.app import main

__all__ = ["main"]
