"""A report as Markdown that GitHub shows: verdicts, tables, provenance."""

import re
from collections.abc import Iterable, Sequence

from reports.names import prose
from reports.page.summary import departures, gaps, opening
from reports.report import Report, numbers_of
from reports.tables import Table
from reports.tables.entries import Row

_MARKS = re.compile(r"([\\`*_\[\]#|~!{}])")
_STARTS_A_BLOCK = re.compile(r"^(\s*)([-+>=]|\d+[.)])")


def escaped(text: str) -> str:
    """A text that Markdown prints as it is, on one line: no mark, tag, link or mention is made of it."""
    said = prose(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    said = _MARKS.sub(r"\\\1", said)
    said = said.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    return _STARTS_A_BLOCK.sub(lambda found: f"{found[1]}{found[2][:-1]}\\{found[2][-1]}", said).strip()


def as_markdown(report: Report) -> str:
    """The whole report as text."""
    parts = [
        f"# {escaped(report.study.question)}",
        f"Study {escaped(report.study.name)}. {escaped(opening(report.arms, report.verdicts))}",
        *_demonstrations(report),
        *_verdicts(report),
        *[part for table in report.tables for part in _table(table)],
        *[f"The study asks for table {escaped(name)}, which this version does not have." for name in report.unknown],
        *_missing(report),
        *_provenance(report),
    ]
    return "\n\n".join(parts) + "\n"


def _demonstrations(report: Report) -> list[str]:
    return [
        f"**Not the paper's recipe**: {escaped(each.title)} ({each.arms} of {len(report.arms)} arms). What differs: "
        f"{escaped('; '.join(each.deviations))}."
        for each in departures(report.arms)
    ]


def _verdicts(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    rows = [
        (
            f"**{each.verdict.value}**",
            escaped(each.id),
            escaped(each.text),
            escaped("; ".join((numbers_of(each), *each.caveats))),
        )
        for each in report.verdicts
    ]
    return ["## Verdicts", _grid(("verdict", "claim", "says", "numbers"), rows)]


def _table(table: Table) -> list[str]:
    heads = [escaped(f"{each.group}: {each.title}" if each.group else each.title) for each in table.columns]
    right = [each.numeric for each in table.columns]
    return [
        f"## {escaped(table.title)}",
        escaped(table.caption),
        _grid(heads, [_row(row) for row in table.rows], right),
        *(["\n".join(f"- {escaped(note)}" for note in table.notes)] if table.notes else []),
    ]


def _row(row: Row) -> tuple[str, ...]:
    texts = (escaped(entry.text) for entry in row.entries)
    return tuple(f"*{text}*" if row.quoted and text else text for text in texts)


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool] = ()) -> str:
    rules = ["---:" if place < len(right) and right[place] else "---" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def _missing(report: Report) -> list[str]:
    found = gaps(report.arms)
    if not found:
        return []
    rows = [(escaped(each.name), escaped(each.reason)) for each in found]
    return ["## Without a final number", _grid(("trial", "why"), rows)]


def _provenance(report: Report) -> list[str]:
    lines = [f"- {escaped(fact.label)}: {escaped('; '.join(fact.values))}" for fact in report.facts]
    command = report.about.get("command")
    return ["## Provenance", "\n".join([*lines, *([f"- command: {escaped(command)}"] if command else [])])]
