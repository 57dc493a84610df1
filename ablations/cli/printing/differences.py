"""What sets two trials, arms or studies apart, as `diff` prints it."""

from rich.console import Console
from rich.markup import escape

from ablations.cli.printing.tables import folding_table, many, print_table
from reports.diff import Difference, Gap, Parting


def print_difference(found: Difference, names: tuple[str, str], console: Console) -> None:
    """`names` are the sides as they were given."""
    a, b = names
    if found.changes:
        table = folding_table("asked and computed", "part", "what", f"A: {escape(a)}", f"B: {escape(b)}")
        for each in found.changes:
            table.add_row(escape(each.part), escape(each.name), _value(each.a), _value(each.b))
        print_table(table, console)
    if found.gaps:
        table = folding_table("came out", "what", "A|", "B|", "B-A|")
        for each in found.gaps:
            n_a, n_b = (each.n_a, each.n_b) if found.kind != "trials" else (0, 0)
            table.add_row(escape(each.name), _mean(each.a, n_a), _mean(each.b, n_b), _difference(each))
        print_table(table, console)
    if found.same_key:
        for line in _partings(found):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if found.nothing:
        console.print("no difference", highlight=False)


def _value(text: str) -> str:
    return escape(text) if text else "[bright_black]none[/]"


def _mean(value: float, n: int) -> str:
    """With the number of its runs, where there may be several."""
    return f"{value:.2f} ({n})" if n else f"{value:.2f}"


def _difference(gap: Gap) -> str:
    return f"{gap.difference:+z.2f}" + ("" if gap.noise is None else f" ± {gap.noise:.2f}")


def _partings(found: Difference) -> list[str]:
    equal = [each for each in found.curves if each.at is None]
    lines = [_parting(each) for each in found.curves if each.at is not None]
    if equal:
        points = many(min(each.shared for each in equal), "point")
        lines.append(f"one key, and equal in all that both have: {', '.join(e.metric for e in equal)} ({points} each)")
    return lines


def _parting(each: Parting) -> str:
    return f"one key, but {each.metric} parts at iteration {each.at:,}: {each.a:g} and {each.b:g}"
