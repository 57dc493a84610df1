"""The report: one HTML file that opens from disk and asks the network for nothing."""

from reports.page.render import render

__all__ = ["render"]
