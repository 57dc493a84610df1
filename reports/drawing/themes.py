"""Colours and letters of every figure, in light and in dark."""

from collections.abc import Mapping

from reports.figures.lines import Line

THEMES: Mapping[str, tuple[str, str]] = {
    "blue": ("#0072B2", "#56B4E9"),
    "green": ("#00805C", "#3DD6A3"),
    "purple": ("#A8508A", "#E8A6CC"),
    "vermilion": ("#C25400", "#FF8A4C"),
    "ink": ("#212121", "#E8E6E1"),
    "gold": ("#7A5F15", "#E0C060"),
    "quiet": ("#767676", "#8F8F8F"),
    "text": ("#3A3A3A", "#C9C7C1"),
    "grid": ("#ECEAE6", "#2E3137"),
    "axis": ("#B5B2AC", "#565B64"),
    "paper": ("#FFFFFF", "#191B1F"),
}
"""Each colour in light and in dark; every line has at least 3:1 against its ground."""
DEPTH_COLOURS: Mapping[int, str] = {
    20: "blue",
    32: "green",
    44: "purple",
    56: "vermilion",
    110: "ink",
    1202: "gold",
    18: "blue",
    34: "green",
    50: "purple",
    101: "vermilion",
    152: "ink",
}
BAND_ALPHA = 0.16
FONT = "-apple-system, 'Segoe UI', Inter, Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"


def light(name: str) -> str:
    return THEMES[name][0]


CYCLE = ("blue", "green", "purple", "vermilion", "ink", "gold")
"""Of depths that the paper has not."""


def named(line: Line) -> str:
    """The name of a line's colour: a depth has one in every figure, and a family of points one of its own."""
    return line.colour or DEPTH_COLOURS.get(line.depth, CYCLE[line.depth // 6 % len(CYCLE)])


def hue(line: Line) -> str:
    return light(named(line))


def shade(hexadecimal: str, alpha: float = BAND_ALPHA) -> str:
    red, green, blue = (int(hexadecimal[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def dark() -> dict[str, str]:
    """Each light colour, line and band, with the one that stands for it in dark."""
    pairs = dict(THEMES.values())
    return {**pairs, **{shade(light): shade(night, BAND_ALPHA + 0.06) for light, night in pairs.items()}}


def variables() -> str:
    """The colours as properties of CSS: light, dark by the reader's system or as chosen; on paper always light."""
    day, night = (";".join(f"--c-{name}:{pair[at]}" for name, pair in THEMES.items()) for at in (0, 1))
    return (
        f':root{{{day}}}@media screen and (prefers-color-scheme: dark){{:root:not([data-theme="light"]){{{night}}}}}'
        f'@media screen{{:root[data-theme="dark"]{{{night}}}}}'
    )
