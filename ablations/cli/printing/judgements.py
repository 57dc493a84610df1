"""What was judged: the verdicts of `check`, and the findings of `doctor`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from ablations.cli.printing.tables import coloured
from orchestrator.remote.findings import Finding


def print_verdicts(verdicts: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Each claim with its verdict, and the numbers or the reason under it."""
    for each in verdicts:
        console.print(
            f"{coloured(each['verdict'])} [bold]{each['id']}[/] {escape(each['text'])}", highlight=False, soft_wrap=True
        )
        for line in (each["statistic"], each["reason"], each["measured"], *each["caveats"]):
            if line:
                console.print(f"    {line}", style="bright_black", highlight=False, markup=False, soft_wrap=True)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Each on one line, with what to do about it."""
    for each in findings:
        level = coloured(each.level) + " " * (4 - len(each.level))
        console.print(f"{level}  {escape(each.line)}", highlight=False, soft_wrap=True)
