"""Error against iterations, of any study."""

from collections.abc import Sequence

from reports.arms import SHORTCUT_TITLES, MeasuredArm, Pool, pools
from reports.figures.lines import Figure, finding, numbered, panel_of, with_lines


def _curves_of(pool: Pool, number: int) -> Figure:
    panels = [
        panel_of(SHORTCUT_TITLES[shortcut], [arm for arm in pool.arms if arm.network.shortcut == shortcut])
        for shortcut in pool.shortcuts
    ]
    title = "Error against iterations" if pool.paper else f"Error against iterations, {pool.title}"
    return Figure(
        id=numbered("curves", number),
        title=title,
        caption=f"Dashed: training error; bold: test error. {finding(pool)}",
        panels=with_lines(panels),
    )


def curves_of(arms: Sequence[MeasuredArm]) -> tuple[Figure, ...]:
    """One panel per shortcut for the arms there are; one figure for each set of comparable arms."""
    return tuple(_curves_of(pool, number) for number, pool in enumerate(pools(arms), start=1))
