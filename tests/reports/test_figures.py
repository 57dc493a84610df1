"""Lines, bands and panels as numbers; then that what is drawn says the same."""

import json
from itertools import pairwise

import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import (
    CIFAR_RECIPE,
    IMAGENET_RECIPE,
    digits,
    imagenet,
    imagenet_like,
    make_arm,
    make_run,
    make_study,
    paper_like,
)

from models.spec import Network
from orchestrator.runs import Curve, Outcome
from reports.arms import gather
from reports.drawing import CONFIG, dark, draw
from reports.drawing.axes import place
from reports.drawing.plotly import text
from reports.drawing.plotly import ways as views
from reports.drawing.themes import THEMES
from reports.figures import FIGURES, Figure, band, line


def curve(*values: float) -> Curve:
    return Curve(metric="test_error", iterations=tuple(range(100, 100 * len(values) + 1, 100)), values=values)


def figure_of(name: str, made) -> Figure:
    study, runs = made
    return FIGURES[name](gather(study, runs))[0]


def test_a_band_is_median_lowest_and_highest():
    seeds = [{100: 9.0, 200: 5.0}, {100: 7.0, 200: 6.0}, {100: 8.0, 300: 1.0}]
    curves = [Curve(metric="test_error", iterations=tuple(each), values=tuple(each.values())) for each in seeds]
    made = band("plain-20", 20, "test_error", curves)
    assert made.x == (100,)
    assert (made.median, made.low, made.high, made.n) == ((8.0,), (7.0,), (9.0,), 3)


def test_lines_are_of_finished_runs_where_there_are_any():
    arm = make_arm(Network(depth=20), seeds=3)
    finished = make_run(arm, 0, test=9, train=1, curves={"test_error": curve(20, 10)})
    running = make_run(arm, 1, test=9, train=1, outcome=Outcome.RUNNING, curves={"test_error": curve(30)})
    (both,) = gather(make_study([arm]), [finished, running])
    (alone,) = gather(make_study([arm]), [running])
    assert (line(both, "test_error") or pytest.fail("no line")).median == (20, 10)
    so_far = line(alone, "test_error") or pytest.fail("no line")
    assert (so_far.partial, so_far.median) == (True, (30,))
    assert line(alone, "train_error") is None


def test_figure_6_has_the_papers_panels():
    figure = figure_of("figure-6", paper_like())
    assert [panel.title for panel in figure.panels] == ["Plain", "ResNet", "ResNet-110 and ResNet-1202"]
    depths = [sorted({each.depth for each in panel.lines}) for panel in figure.panels]
    assert depths == [[20, 32, 44, 56], [20, 32, 44, 56, 110], [110, 1202]]
    assert [panel.y.range for panel in figure.panels] == [(0.0, 20.0)] * 3
    assert [drop.iteration for drop in figure.panels[0].drops] == [32_000, 48_000]
    assert "74.0 ± 0.1 (5) % and is not displayed" in figure.panels[0].notes[0]


def test_the_papers_curves_lie_only_beside_the_papers_networks():
    figure = figure_of("figure-6", paper_like())
    quiet = [each for panel in figure.panels for each in panel.lines if each.paper]
    assert len(quiet) == 22
    assert all(each.label.endswith("the paper's") for each in quiet)
    arm = make_arm(
        Network(depth=20), {**CIFAR_RECIPE, "iterations": 2000}, deviations=("iterations 2000 (paper 64000)",)
    )
    run = make_run(arm, 0, test=9, train=1, curves={"test_error": curve(20, 15)})
    (other,) = FIGURES["figure-6"](gather(make_study([arm]), [run]))
    assert not any(each.paper for panel in other.panels for each in panel.lines)
    assert other.panels[0].y.range is None
    assert "2,000 iterations" in other.title


def test_plain_110_is_displayed_where_it_learned():
    arm = make_arm(Network(depth=110), seeds=1)
    run = make_run(arm, 0, test=15, train=14, curves={"test_error": curve(20, 15)})
    (figure,) = FIGURES["figure-6"](gather(make_study([arm]), [run]))
    assert [each.depth for each in figure.panels[0].lines] == [110]
    assert "is displayed" in figure.panels[0].notes[0]


def test_curves_have_a_panel_for_each_shortcut():
    figure = figure_of("curves", digits())
    assert [panel.title for panel in figure.panels] == [
        "Plain", "ResNet, option A", "ResNet, option B", "ResNet, option C",
    ]  # fmt: skip
    assert {len(panel.lines) for panel in figure.panels} == {8}
    assert {each.n for panel in figure.panels for each in panel.lines} == {3}
    assert [drop.iteration for drop in figure.panels[0].drops] == [75, 112]


def test_figure_1_has_training_left_and_test_right():
    figure = figure_of("figure-1", paper_like())
    assert [{each.metric for each in panel.lines} for panel in figure.panels] == [{"train_error"}, {"test_error"}]
    assert {each.depth for panel in figure.panels for each in panel.lines} == {20, 56}


def test_figure_4_has_the_papers_panels():
    """Plain left and ResNet right, 18 and 34 layers of each, on the paper's axes, over the paper's curves."""
    figure = figure_of("figure-4", imagenet_like())
    assert [panel.title for panel in figure.panels] == ["Plain", "ResNet"]
    for panel in figure.panels:
        for paper in (True, False):
            drawn = [(each.depth, each.metric) for each in panel.lines if each.paper == paper]
            assert sorted(drawn) == [(d, metric) for d in (18, 34) for metric in ("test_error", "train_error")]
        assert (panel.x.range, panel.y.range) == ((0.0, 600_000.0), (20.0, 60.0))
        assert [drop.iteration for drop in panel.drops] == [150_000, 300_000, 450_000]
    (quiet,) = [
        each for each in figure.panels[1].lines if each.paper and (each.depth, each.metric) == (34, "test_error")
    ]
    (mine,) = [
        each for each in figure.panels[1].lines if not each.paper and (each.depth, each.metric) == (34, "test_error")
    ]
    assert (quiet.label, quiet.median[-1], quiet.x[-1]) == ("ResNet-34, the paper's", 28.23, 550_000)
    assert (mine.label, mine.n, mine.median) == ("ResNet-34 A", 3, quiet.median)
    assert "compare differences between curves, not levels" in figure.caption
    assert draw(figure)[0]["layout"]["xaxis"]["title"]["text"] == "iterations (1e4)"


def test_figure_4_of_another_recipe_has_its_own_axes_and_none_of_the_papers_curves():
    """So has one of other data; a study of deep networks alone has no such figure."""
    small = make_arm(imagenet(18, "A", data="samples"), {**IMAGENET_RECIPE, "iterations": 300}, seeds=1,
                     deviations=("data samples (paper imagenet)", "iterations 300 (paper 600000)"))  # fmt: skip
    run = make_run(small, 0, test=70, train=60, curves={"test_error": curve(90, 80, 70)})
    (figure,) = FIGURES["figure-4"](gather(make_study([small]), [run]))
    assert figure.title == "The panels of Figure 4, measured on samples, 300 iterations"
    (panel,) = figure.panels
    assert (panel.title, panel.x.range, panel.y.range) == ("ResNet", None, None)
    assert [each.paper for each in panel.lines] == [False]
    assert "the paper's curves are not drawn" in figure.caption
    assert FIGURES["figure-4"](gather(make_study([make_arm(imagenet(50, "B"), IMAGENET_RECIPE)]), [])) == ()


# Drawn


@pytest.mark.parametrize(
    ("name", "made"),
    [("figure-6", paper_like), ("curves", digits), ("figure-1", paper_like), ("figure-4", imagenet_like)],
)
def test_charts_are_figures_that_plotly_accepts(name: str, made):
    for chart in draw(figure_of(name, made())):
        figure = go.Figure({"data": chart["data"], "layout": {**chart["layout"], "template": None}})
        assert len(figure.data) == len(chart["data"])  # pyright: ignore[reportArgumentType]
        for view in chart["views"].values():
            figure.update_layout(annotations=view["annotations"])


def test_the_papers_code():
    """Training is dashed and thin, test bold and solid; axes as in the paper at first, free on demand."""
    chart = draw(figure_of("figure-6", paper_like()))[0]
    strokes = {(each["meta"]["role"], each["meta"]["metric"]): each["line"] for each in chart["data"]}
    assert strokes["line", "train_error"]["dash"] == "dash"
    assert strokes["line", "test_error"]["dash"] == "solid"
    assert strokes["line", "test_error"]["width"] > 1.5 * strokes["line", "train_error"]["width"]
    assert list(chart["views"]) == ["As in the paper", "Free axes", "Log"]
    assert chart["layout"]["yaxis"]["range"] == [0.0, 20.0]
    assert chart["layout"]["xaxis"]["range"] == [0.0, 6.4]
    assert chart["layout"]["xaxis"]["title"]["text"] == "iterations (1e4)"


def test_one_seed_is_drawn_without_a_band():
    arm = make_arm(Network(depth=20), seeds=1)
    run = make_run(arm, 0, test=9, train=1, curves={"test_error": curve(20, 9)})
    (figure,) = FIGURES["curves"](gather(make_study([arm]), [run]))
    assert [each["meta"]["role"] for each in draw(figure)[0]["data"]] == ["line"]


def test_nothing_is_sent_anywhere():
    assert CONFIG["displaylogo"] is False
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["plotlyServerURL"] == ""


def test_names_in_charts_are_text():
    assert text("<a href='x'>&$x$</a>\u202e\x00") == "&lt;a href='x'&gt;&amp;x&lt;/a&gt;"


def test_a_log_axis_has_no_zero():
    figure = figure_of("curves", digits())
    low, high = views(figure.panels[1])["Log"]["yaxis.range"]
    assert low >= -2
    assert high > low


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("name", ["blue", "green", "purple", "vermilion", "ink", "gold", "quiet", "text"])
def test_every_line_can_be_seen(name: str):
    """At least 3:1 in light and in dark, and 4.5:1 where the colour writes a label."""
    needed = 3.0 if name == "quiet" else 4.5
    for ground, colour in zip(THEMES["paper"], THEMES[name], strict=True):
        assert contrast(ground, colour) >= needed


def test_every_drawn_colour_has_a_dark_one():
    drawn = json.dumps(draw(figure_of("figure-6", paper_like())))
    used = {colour for pair in THEMES.values() for colour in pair if colour in drawn}
    assert used <= set(dark())


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_stand_apart(wanted: list[float]):
    placed = place(wanted, 0.06, 0.0, 1.0)
    ordered = sorted(placed)
    assert all(after - before >= 0.06 - 1e-9 for before, after in pairwise(ordered))
    assert max(placed) <= 1.0 + 1e-9
    assert [placed[i] for i in sorted(range(len(wanted)), key=wanted.__getitem__)] == ordered


def test_many_recipes_of_a_network_stand_in_one_panel():
    """A study of many single departures has a figure, not one for each of them."""
    recipes = [
        {**CIFAR_RECIPE, **change} for change in ({}, {"lr": 0.05}, {"lr": 0.2}, {"nesterov": True}, {"drops": [0.6]})
    ]
    arms, runs = [], []
    for shortcut in ("none", "A"):
        for number, recipe in enumerate(recipes):
            network = Network(depth=56, shortcut=shortcut)
            deviations = [f"change {number} (paper none)"] if number else []
            name = f"{network.name}+change={number}" if number else network.name
            arm = make_arm(network, recipe, seeds=2, deviations=deviations, name=name)
            arms.append(arm)
            curves = {"test_error": curve(60 + number, 30, 10 + number)}
            runs += [make_run(arm, seed, test=10.0 + number, train=1.0, curves=curves) for seed in (0, 1)]
    (figure,) = FIGURES["curves"](gather(make_study(arms), runs))
    assert [panel.title for panel in figure.panels] == ["cifar10-plain-56", "cifar10-resnet-56-A"]
    first = figure.panels[0]
    assert [line.label for line in first.lines] == ["as it is", "change=1", "change=2", "change=3", "change=4"]
    assert len({line.colour for line in first.lines}) == 5
    assert first.drops == ()
    assert "no drop is marked" in first.notes[-1]
    assert "from 10.00 % (cifar10-plain-56) to 14.00 % (" in figure.caption
    assert "No trial has finished yet." in FIGURES["curves"](gather(make_study(arms), []))[0].caption
