"""Figures drawn: from lines and panels to plotly's dictionaries, and to drawings that need no script."""

from typing import Any

from reports.drawing.plotly import CONFIG, layout, traces, ways
from reports.drawing.svg import svg
from reports.drawing.themes import dark, variables
from reports.figures.lines import Figure

__all__ = ["CONFIG", "dark", "draw", "variables"]


def draw(figure: Figure) -> list[dict[str, Any]]:
    """One chart per panel, with fixed ids: equal figures give equal bytes."""
    return [
        {
            "id": f"{figure.id}-panel-{number}",
            "kind": panel.kind,
            "data": traces(panel),
            "layout": layout(panel),
            "views": ways(panel),
            "svg": svg(panel, f"{figure.id}-panel-{number}"),
        }
        for number, panel in enumerate(figure.panels, start=1)
    ]
