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
        for line in (each["statistic"], each["reason"], _surely(each), _more(each), each["measured"], *each["caveats"]):
            if line:
                console.print(f"    {line}", style="bright_black", highlight=False, markup=False, soft_wrap=True)


def _surely(verdict: Mapping[str, Any]) -> str:
    """The p value, alone and among the others."""
    if verdict["p"] is None:
        return ""
    alone = f"p = {verdict['p']:.2g}"
    if verdict["tested"] == 1 and verdict["p"] == verdict["p_corrected"]:
        return alone
    return f"{alone}; corrected for {verdict['tested']} tested claims: {verdict['p_corrected']:.2g}"


def _more(verdict: Mapping[str, Any]) -> str:
    """How many seeds would decide it."""
    if verdict["verdict"] != "undecided" or not (verdict["further"] or verdict["p"] is not None):
        return ""
    if verdict["further"] is None:
        return "no number of seeds up to 100 would decide it, at the means and spreads seen"
    seeds = ", ".join(f"{seeds} of {arm}" for arm, seeds in verdict["further"].items())
    return f"further seeds that would decide it: {seeds}" if seeds else ""


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Each on one line, with what to do about it."""
    for each in findings:
        level = coloured(each.level) + " " * (4 - len(each.level))
        console.print(f"{level}  {escape(each.line)}", highlight=False, soft_wrap=True)
