"""Drawings that need no script: they are XML, their points are where the numbers say, and names stay text."""

import math
import re
from dataclasses import replace
from itertools import accumulate, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import digits, imagenet_like, paper_like

from reports.arms import gather
from reports.drawing import draw, variables
from reports.drawing.axes import end_labels, powers, ticks, views
from reports.drawing.svg import BOTTOM, HEIGHT, LEFT, TOP, svg
from reports.figures import FIGURES, Figure, Line, Panel
from reports.figures.lines import ERROR, ITERATIONS, Axis

SVG = "{http://www.w3.org/2000/svg}"


def line(**changes: object) -> Line:
    values = {"x": (0, 50, 100), "median": (80.0, 40.0, 10.0), "low": (79.0, 39.0, 9.0), "high": (81.0, 41.0, 11.0)}
    return replace(Line(label="plain-20", depth=20, metric="test_error", n=3, **values), **changes)


def parsed(panel: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(svg(panel, "some-panel"))


def curve(root: ElementTree.Element) -> list[tuple[float, float]]:
    path = next(each for each in root.iter(f"{SVG}path") if each.get("class") == "line")
    numbers = [float(each) for each in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", path.get("d") or "")]
    return list(zip(accumulate(numbers[::2]), accumulate(numbers[1::2]), strict=True))


def test_points_are_where_the_numbers_say():
    """On axes from 0 to 100: the first point at the left end and 80 % of the height, the last at the right end."""
    panel = Panel(
        title="Plain", lines=(line(),), x=replace(ITERATIONS, range=(0, 100)), y=replace(ERROR, range=(0, 100))
    )
    (x0, y0), (x1, y1), (x2, y2) = curve(parsed(panel))
    height = HEIGHT - BOTTOM - TOP
    assert x0 == LEFT
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert [round(HEIGHT - BOTTOM - y, 1) for y in (y0, y1, y2)] == [
        pytest.approx(share * height, abs=0.1) for share in (0.8, 0.4, 0.1)
    ]


@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like])
def test_every_figure_is_drawn(made):
    """One drawing for each panel, of some kilobytes, whatever its kind; a script gives it nothing but life."""
    study, runs = made()
    names = ("figure-1", "figure-4", "figure-6", "curves", "costs", "sizes")
    for figure in (figure for name in names for figure in FIGURES[name](gather(study, runs))):
        for chart, panel in zip(draw(figure), figure.panels, strict=True):
            root = ElementTree.fromstring(chart["svg"])
            assert root.tag == f"{SVG}svg"
            drawn = [each for each in root.iter() if each.get("class") in ("line", "paper")]
            bars = list(root.iter(f"{SVG}rect"))
            assert len(drawn if panel.kind != "bars" else bars) == len(panel.lines)
            assert len(chart["svg"]) < 60_000


HOSTILE = (
    "</text><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "a\u202eb\x00c",
    "x" * 5000,
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["curves", "points", "bars"])
def test_names_stay_text(name: str, kind):
    single = {"x": (1,), "median": (3.0,), "low": (2.0,), "high": (4.0,)}
    one = line(label=name, **({} if kind != "bars" else single), names=(name,) * 3)
    panel = Panel(
        title=name, lines=(one, replace(one, label="other")), x=Axis(title=name), y=Axis(title=name), kind=kind
    )
    root = parsed(panel)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        "svg",
        "path",
        "g",
        "text",
        "rect",
        "circle",
        "clipPath",
    }
    assert not [key for each in root.iter() for key in each.attrib if key.startswith("on")]
    assert max(len(each.text or "") for each in root.iter(f"{SVG}text")) <= 200


def test_a_band_is_drawn_where_there_are_seeds():
    several, one = (parsed(Panel(title="", lines=(line(n=n),))) for n in (3, 1))
    bands = [[each for each in root.iter(f"{SVG}path") if each.get("fill-opacity")] for root in (several, one)]
    assert [len(each) for each in bands] == [1, 0]


def test_what_is_not_shown_at_first_is_not_drawn():
    root = parsed(Panel(title="", lines=(line(), line(label="plain-56", depth=56, shown=False))))
    assert len([each for each in root.iter(f"{SVG}path") if each.get("class") == "line"]) == 1


def test_the_papers_line_code():
    """Dashed and thin is training, bold is test, and the paper's own is quiet."""
    lines = (line(), line(metric="train_error"), line(paper=True, label="plain-20, the paper's"))
    paths = {
        (each.get("class"), each.get("data-metric")): each
        for each in parsed(Panel(title="", lines=lines)).iter(f"{SVG}path")
    }
    test, training, quiet = (
        paths[key] for key in (("line", "test_error"), ("line", "train_error"), ("paper", "test_error"))
    )
    assert float(test.get("stroke-width") or 0) > float(training.get("stroke-width") or 0) > 1
    assert (test.get("stroke-dasharray"), training.get("stroke-dasharray")) == (None, "6 4")
    assert "--c-quiet" in (quiet.get("style") or "")
    assert "--c-blue" in (test.get("style") or "")


def test_colours_are_there_in_light_and_in_dark():
    css = variables()
    assert css.count("--c-blue:") == 3
    assert 'data-theme="dark"' in css


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6))
def test_ticks_are_even_and_within(low: float, width: float):
    found = ticks(low, low + width)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert 1 <= len(found) <= 13
    assert len(steps) <= 2  # of rounding
    assert all(low - 1e-6 * width <= each <= low + width * (1 + 1e-6) for each in found)


@settings(deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1.5, 1e6))
def test_logarithmic_ticks_are_within(low: float, ratio: float):
    found = powers(low, low * ratio)
    assert all(low * (1 - 1e-6) <= each <= low * ratio * (1 + 1e-6) for each in found)
    assert found == sorted(found)
    assert len(found) >= 1 or ratio < 3


def test_a_logarithmic_axis_may_hold_zero():
    panel = Panel(title="", lines=(line(median=(80.0, 0.0, 0.0), low=(80.0, 0.0, 0.0)),))
    view = views(panel)["Log"]
    assert view.low > 0
    assert math.isfinite(view.height(0.0))


def test_labels_name_the_layers_of_a_family_and_the_arm_where_families_mix():
    family = Panel(title="", lines=(line(), line(label="plain-56", depth=56)))
    assert [name for _, name, _ in end_labels(family, views(family)["Linear"])] == ["20-layer", "56-layer"]
    mixed = Panel(title="", lines=(line(), line(label="ResNet-20 A")))
    assert [name for _, name, _ in end_labels(mixed, views(mixed)["Linear"])] == ["plain-20", "ResNet-20 A"]


def test_equal_figures_give_equal_bytes():
    figure = Figure(id="f", title="", caption="", panels=(Panel(title="", lines=(line(),)),))
    assert draw(figure) == draw(figure)
