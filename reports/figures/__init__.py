"""Figures as plain data, by the name that a study gives."""

from collections.abc import Callable, Mapping, Sequence

from reports.arms import MeasuredArm
from reports.figures.economy import costs_of, sizes_of
from reports.figures.inside import figure_7_of, gradients_of
from reports.figures.lines import Drop, Figure, Line, Panel, band, line
from reports.figures.paper import figure_1_of, figure_4_of, figure_6_of
from reports.figures.training import curves_of

__all__ = ["FIGURES", "Drop", "Figure", "Line", "Panel", "band", "line"]

FIGURES: Mapping[str, Callable[[Sequence[MeasuredArm]], tuple[Figure, ...]]] = {
    "figure-1": figure_1_of,
    "figure-4": figure_4_of,
    "figure-6": figure_6_of,
    "figure-7": figure_7_of,
    "curves": curves_of,
    "gradients": gradients_of,
    "costs": costs_of,
    "sizes": sizes_of,
}
"""What `report: {figures: [...]}` of a study may name."""
