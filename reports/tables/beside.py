"""The paper's number beside the measured one: which arms may stand there, and how far apart the two are."""

from collections.abc import Collection, Sequence

from models.spec import Layout, Shortcut
from reports.arms import MeasuredArm, Pool, pools
from reports.cells import Cell
from reports.tables.entries import EMPTY, Entry, absent

PAPER_GROUP = "The paper"
PAPER_RECIPE = "Measured, the paper's recipe"
NOT_ASKED = "not in this study"


def papers(arms: Sequence[MeasuredArm], data: str) -> Pool | None:
    """The arms with the paper's networks, recipe and data."""
    return next((pool for pool in pools(arms) if pool.paper and pool.arms[0].network.data == data), None)


def others(arms: Sequence[MeasuredArm], layout: Layout, networks: Collection[tuple[Shortcut, int]]) -> tuple[Pool, ...]:
    """Arms with one of these networks that depart from the paper: each set has columns of its own."""
    found = (pool for pool in pools(arms) if not pool.paper and pool.layout == layout)
    return tuple(pool for pool in found if any(pool.find(*network) for network in networks))


def heading(pool: Pool) -> str:
    """Over the columns of a set of arms."""
    return pool.title[0].upper() + pool.title[1:]


def deviation_note(pool: Pool) -> str:
    """Why the numbers of a pool stand in a column of their own."""
    return (
        f"“{pool.title}” stands in its own columns and no difference to the paper is taken, because it departs from "
        f"the paper: {'; '.join(pool.deviations)}."
    )


def interval(cell: Cell) -> Entry:
    """95 % of the mean."""
    if cell.interval is None:
        return absent("" if not cell.n else "needs 2 seeds")
    low, high = cell.interval
    return Entry(text=f"{low:.2f} to {high:.2f}", value=low, cell=cell, unit=cell.unit)


def difference(cell: Cell, paper: float | None, words: str) -> Entry:
    """The measured mean minus the paper's value, which was printed in these words."""
    if cell.mean is None or paper is None:
        return EMPTY
    gap = cell.mean - paper
    return Entry(
        text=f"{gap:+z.2f}".replace("-", "−"),
        value=gap,
        cell=cell,
        note=f"{cell.mean:.2f} against the paper's {words}",
        unit="points",
        paper=paper,
    )
