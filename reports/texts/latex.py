"""A report as LaTeX: a document of its own, whose tables (booktabs) can be copied into another."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from reports.names import clean, prose
from reports.page.summary import opening
from reports.report import Report, numbers_of
from reports.tables import Table
from reports.tables.entries import Column, Row

SPECIAL = {
    **{each: f"\\{each}" for each in "{}$&#%_"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    **{each: f"{{{each}}}" for each in "[]*"},
    "`": "\\textasciigrave{}",
    "−": "$-$",
    "±": "$\\pm$",
    "×": "$\\times$",
    "·": "$\\cdot$",
    "≤": "$\\le$",
    "≥": "$\\ge$",
    "≈": "$\\approx$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": "\\ldots{}",
    "–": "--",
    "\u00a0": "~",
    "\0": "\\hspace{0pt}",
}
"""What LaTeX reads otherwise than as itself. A bracket in braces is no argument of the line before."""
_JOINED = re.compile(r"(?<=[-<>,'`?!])(?=[-<>,'`])")
"""Between characters of which fonts make one, as a dash of two hyphens."""
_LONG = re.compile(r"\S{40}(?=\S)")
"""A word that may be broken after it, where it goes on: one of thousands of letters has no place on any page."""
LETTERS = "ÄÖÜäöüßÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØÙÚÛÝàáâãåæçèéêëìíîïñòóôõøùúûýÿ"
"""Beyond ASCII, what every installation prints with T1 fonts."""
IN_A_CELL = 80
"""Characters of a table's entry; of a longer reason, the page and the other formats have the rest."""
IN_A_CAPTION = 1000
"""Characters; LaTeX sets a caption on one line first, which has an end."""
ON_ONE_PAGE = 40
"""Rows; a longer table runs over several pages."""


def escaped(text: str) -> str:
    """A text that LaTeX prints as it is; a character that a plain installation lacks is named by its code point."""
    breakable = _LONG.sub(lambda found: f"{found[0]}\0", prose(text))
    return "{}".join("".join(map(_printed, part)) for part in _JOINED.split(breakable))


def _printed(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii() or character in LETTERS:
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"


def as_latex(report: Report) -> str:
    """A document that compiles with pdfLaTeX and the packages of its first lines."""
    parts = [
        "\\documentclass[10pt]{article}",
        "\\usepackage[utf8]{inputenc}\n\\usepackage[T1]{fontenc}\n\\usepackage[margin=2cm]{geometry}",
        "\\usepackage{booktabs,caption,longtable,graphicx,textcomp}",
        "\\begin{document}",
        f"\\section*{{{escaped(report.study.question)}}}",
        f"Study {escaped(report.study.name)}. {escaped(opening(report.arms, report.verdicts))}",
        *_verdicts(report),
        *map(_table, report.tables),
        *_provenance(report),
        "\\end{document}",
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    rows = [
        [each.verdict.value, escaped(clean(each.id, IN_A_CELL)), escaped(each.text), escaped(numbers_of(each))]
        for each in report.verdicts
    ]
    head = _line(["verdict", "claim", "says", "numbers"])
    return [_long("llp{0.35\\linewidth}p{0.35\\linewidth}", "Verdicts.", head, map(_line, rows))]


def _table(table: Table) -> str:
    kinds = "".join("r" if column.numeric else "l" for column in table.columns)
    caption = escaped(clean(f"{table.title}. {table.caption}", IN_A_CAPTION))
    head = _heads(table.columns)
    rows = [_line(_cells(row)) for row in table.rows]
    short = len(rows) <= ON_ONE_PAGE
    drawn = _fitted(kinds, caption, head, rows) if short else _long(kinds, caption, head, rows)
    notes = "\n".join(f"\\item {escaped(note)}" for note in table.notes)
    return f"{drawn}\n\\begin{{itemize}}\\footnotesize\n{notes}\n\\end{{itemize}}" if notes else drawn


def _cells(row: Row) -> list[str]:
    texts = [escaped(clean(entry.text, IN_A_CELL)) for entry in row.entries]
    return [f"\\textit{{{text}}}" if row.quoted and text else text for text in texts]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _heads(columns: Sequence[Column]) -> str:
    """The titles, and over them the headings of groups with a rule each, where there are any."""
    titles = _line([escaped(clean(column.title, IN_A_CELL)) for column in columns])
    if not any(column.group for column in columns):
        return titles
    cells, rules, at = [], [], 1
    for name, group in groupby(columns, key=lambda column: column.group):
        width = len(list(group))
        cells.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(clean(name, IN_A_CELL))}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + width - 1}}}"] if name else []
        at += width
    return "\n".join((_line(cells), " ".join(rules), titles))


def _fitted(kinds: str, caption: str, head: str, rows: Iterable[str]) -> str:
    """On one page, and made smaller where it is wider than the text."""
    return "\n".join(
        (
            f"\\begin{{table}}[htbp]\n\\centering\n\\caption*{{{caption}}}",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{kinds}}}\n\\toprule",
            head,
            "\\midrule",
            *rows,
            "\\bottomrule\n\\end{tabular}}\n\\end{table}",
        )
    )


def _long(kinds: str, caption: str, head: str, rows: Iterable[str]) -> str:
    """Over as many pages as it needs, with its head on each."""
    return "\n".join(
        (
            f"\\begin{{longtable}}{{{kinds}}}\n\\caption*{{{caption}}}\\\\",
            f"\\toprule\n{head}\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot",
            *rows,
            "\\end{longtable}",
        )
    )


def _provenance(report: Report) -> list[str]:
    items = [f"\\item {escaped(fact.label)}: {escaped('; '.join(fact.values))}" for fact in report.facts]
    command = report.about.get("command")
    items += [f"\\item command: \\texttt{{{escaped(command)}}}"] if command else []
    listed = "\n".join(items)
    return [f"\\subsection*{{Provenance}}\n\\begin{{itemize}}\\small\n{listed}\n\\end{{itemize}}"] if items else []
