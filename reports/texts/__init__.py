"""A report as text for other programs: Markdown, one long CSV table, LaTeX, JSON."""

from collections.abc import Callable, Mapping

from reports.report import Report
from reports.texts.document import document
from reports.texts.latex import latex
from reports.texts.markdown import markdown
from reports.texts.tidy import tidy

__all__ = ["WRITERS"]

WRITERS: Mapping[str, Callable[[Report], str]] = {"md": markdown, "csv": tidy, "latex": latex, "json": document}
"""By the name that `--format` gives."""
