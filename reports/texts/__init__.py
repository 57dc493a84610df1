"""A report as text for other programs: Markdown, one long CSV table, LaTeX, JSON."""

from collections.abc import Callable, Mapping

from reports.report import Report
from reports.texts.document import as_json
from reports.texts.latex import as_latex
from reports.texts.markdown import as_markdown
from reports.texts.tidy import as_csv

__all__ = ["WRITERS"]

WRITERS: Mapping[str, Callable[[Report], str]] = {"md": as_markdown, "csv": as_csv, "latex": as_latex, "json": as_json}
"""By the name that `--format` gives."""
