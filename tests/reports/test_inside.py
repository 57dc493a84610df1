"""What probes saw, what training cost and what size buys, as figures; and what of a figure a page has."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import (
    ATTEMPT,
    CIFAR_RECIPE,
    DIGITS_DEVIATIONS,
    DIGITS_RECIPE,
    digits,
    imagenet_like,
    make_arm,
    make_run,
    make_runs,
    make_study,
    paper_like,
)

from models.spec import Network
from orchestrator.runs import Outcome, Run
from reports.arms import gather
from reports.drawing import draw
from reports.drawing.axes import end_labels, views
from reports.drawing.svg import svg
from reports.figures import FIGURES, Figure, Line, Panel
from reports.figures.lines import Drop, spread
from reports.figures.thinning import LONGEST, SHORTEST, thin, thinned
from reports.published import paper_responses


def probed(run: Run, *, response: float = 1.0) -> Run:
    layers = run.params["network"]["depth"] - 1
    seen = {
        "gradient": [0.1 / (layer + 1) for layer in range(layers)],
        "response": [response + 0.1 * layer for layer in range(layers)],
    }
    return replace(run, probes=({**seen, "iteration": 0, "response": []}, {**seen, "iteration": run.iterations}))


def probed_digits(*, all_of_them: bool = True):
    study, runs = digits()
    return study, [probed(run, response=1 + 0.1 * run.seed) if all_of_them or run.seed == 0 else run for run in runs]


def test_figure_7_has_both_orders():
    """The median over seeds of each layer, and the same sorted by size on the right."""
    study, runs = probed_digits()
    (figure,) = FIGURES["figure-7"](gather(study, runs))
    in_order, by_size = figure.panels
    plain = next(each for each in in_order.lines if each.label == "plain-20")
    assert plain.median[:3] == pytest.approx((1.1, 1.2, 1.3))
    assert (plain.low[0], plain.high[0], plain.n, len(plain.x)) == (pytest.approx(1.0), pytest.approx(1.2), 3, 19)
    assert next(each for each in by_size.lines if each.label == "plain-20").median == plain.median[::-1]
    assert "plain-20 2.00" in figure.caption
    assert not any(each.paper for each in by_size.lines)


def test_the_papers_responses_lie_beside_the_papers_networks():
    study, runs = paper_like()
    (figure,) = FIGURES["figure-7"](gather(study, [probed(run) for run in runs]))
    quiet = {each.label: each for each in figure.panels[1].lines if each.paper}
    assert set(quiet) == {
        f"{net}, the paper's" for net in ("plain-20", "plain-56", "ResNet-20", "ResNet-56", "ResNet-110")
    }
    assert quiet["plain-20, the paper's"].median[:2] == (2.33, 2.15)


def test_the_papers_responses_have_the_means_that_claims_state():
    """RSP-01 and RSP-02: 1.82 and 1.61 at 20 layers, 1.50 and 1.13 at 56, 0.98 at 110."""
    means = {(each.shortcut, each.depth): sum(each.values) / len(each.values) for each in paper_responses()}
    expected = {("none", 20): 1.82, ("A", 20): 1.61, ("none", 56): 1.50, ("A", 56): 1.13, ("A", 110): 0.98}
    assert means == {key: pytest.approx(value, abs=0.01) for key, value in expected.items()}
    assert [len(each.values) == each.depth - 1 for each in paper_responses()] == [True] * 5


def test_plain_networks_are_dashed_and_named_as_what_they_are():
    """The paper's five; a response is no training error, and no button or name takes it for one."""
    study, runs = paper_like()
    (figure,) = FIGURES["figure-7"](gather(study, [probed(run) for run in runs]))
    mine = [each for each in figure.panels[0].lines if not each.paper]
    assert [each.label for each in mine] == ["plain-20", "plain-56", "ResNet-20 A", "ResNet-56 A", "ResNet-110 A"]
    assert [each.stroke for each in mine] == ["dashed"] * 2 + ["solid"] * 3
    assert {each.metric for each in mine} == {"response"}
    names = [trace["name"] for chart in draw(figure) for trace in chart["data"]]
    assert not [name for name in names if "training" in name]


def test_what_is_drawn_ends_beside_its_name():
    """Networks of unlike depth end at unlike layers."""
    study, runs = paper_like()
    (figure,) = FIGURES["figure-7"](
        gather(study, [probed(run, response=run.params["network"]["depth"]) for run in runs])
    )
    panel = figure.panels[0]
    labels = {each.name: each for each in end_labels(panel, next(iter(views(panel).values())))}
    assert set(labels) == {"plain-20", "plain-56", "ResNet-20", "ResNet-56", "ResNet-110"}
    assert labels["plain-20"].across == labels["ResNet-20"].across < labels["plain-56"].across < 0.6
    assert abs(labels["plain-20"].up - labels["ResNet-20"].up) > 0.06


def test_without_a_probe_it_says_what_has_one():
    study, runs = digits()
    assert FIGURES["figure-7"](gather(study, runs))[0].panels == ()
    runs = [probed(run) if "plain" in run.name else run for run in runs]
    (figure,) = FIGURES["figure-7"](gather(study, runs))
    assert "recipe.probe_at=[1] has one at the end" in figure.panels[0].notes[0]
    assert "ResNet-20 A" in figure.panels[0].notes[0]


def test_gradients_are_drawn_at_the_first_probe_and_at_the_last():
    (figure,) = FIGURES["gradients"](gather(*probed_digits()))
    assert [panel.title for panel in figure.panels][:2] == ["Plain, iteration 0", "Plain, iteration 150"]
    assert "at the last: plain-56 55, ResNet-56 A 55" in figure.caption
    assert all(panel.y.logarithmic for panel in figure.panels)


def test_one_probe_is_drawn_once():
    study, runs = probed_digits()
    runs = [replace(run, probes=run.probes[-1:]) for run in runs]
    (figure,) = FIGURES["gradients"](gather(study, runs))
    assert [panel.title for panel in figure.panels][:2] == ["Plain, iteration 150", "ResNet, option A, iteration 150"]


def test_a_layer_without_gradient_has_no_point_and_is_told():
    arm = make_arm(Network(depth=20, shortcut="A"), seeds=1)
    seen = ({"iteration": 100, "gradient": [1.0, 0.0, float("nan"), float("inf"), 0.5], "response": []},)
    run = make_run(arm, 0, test=9, train=1, probes=seen)
    (figure,) = FIGURES["gradients"](gather(make_study([arm]), [run]))
    (line,) = figure.panels[0].lines
    assert (line.x, line.median) == ((1, 5), (1.0, 0.5))
    assert figure.panels[0].notes == ("ResNet-20 A: layers whose gradient is zero or not finite have no point.",)
    (so_far,) = FIGURES["gradients"](gather(make_study([arm]), [replace(run, outcome=Outcome.RUNNING)]))
    assert so_far.panels[0].lines[0].partial


def test_costs_are_medians_over_seeds_and_unlike_hardware_is_told_apart():
    network = Network(data="digits", depth=20, channels=1, size=8)
    arm = make_arm(network, DIGITS_RECIPE, seeds=3, deviations=DIGITS_DEVIATIONS)
    runs = [replace(run, seconds=100.0 + run.seed, costs={"images_per_second": 50.0}) for run in make_runs(arm, 3, 1)]
    (figure,) = FIGURES["costs"](gather(make_study([arm]), runs))
    assert [panel.title for panel in figure.panels] == ["Training time", "Throughput", "Device time"]
    time, throughput, _ = figure.panels
    assert (time.lines[0].median, time.lines[0].low, time.lines[0].high) == ((101.0,), (100.0,), (102.0,))
    assert (time.x.title, throughput.lines[0].median) == ("seconds of training a trial", (50.0,))
    other = {**runs[2].attempts[0], "hardware": {"cpu": "another CPU"}}
    (figure,) = FIGURES["costs"](gather(make_study([arm]), [*runs[:2], replace(runs[2], attempts=(other,))]))
    assert [line.label for line in figure.panels[0].lines] == ["plain-20, 2 CPU cores", "plain-20, another CPU"]
    assert "not to be compared" in figure.panels[0].notes[0]


H100 = {
    **ATTEMPT,
    "hardware": {"cpu": "AMD EPYC", "gpus": ["NVIDIA H100", "NVIDIA H100"]},
    "site": {"device": "cuda", "replicas": 2},
}


def test_times_on_unlike_hardware_are_not_compared():
    """The sentence is about the arms that ran alike; what ran on two GPUs cost twice its time of them."""
    arms = [make_arm(Network(depth=depth), seeds=1) for depth in (20, 56, 110)]
    runs = [make_run(arm, 0, test=9, train=1, seconds=3600.0 * (at + 1)) for at, arm in enumerate(arms)]
    (figure,) = FIGURES["costs"](gather(make_study(arms), [*runs[:2], replace(runs[2], attempts=(H100,))]))
    assert "A trial of plain-56 takes 2 times as long as one of plain-20." in figure.caption
    assert "110" not in figure.caption
    time, device = figure.panels
    names = ["plain-56, 2 CPU cores", "plain-20, 2 CPU cores", "plain-110, 2 × NVIDIA H100"]
    assert [line.label for line in time.lines] == names
    assert (time.lines[2].median, device.lines[2].median) == ((3.0,), (6.0,))


def test_bars_reach_from_the_lowest_to_the_highest_however_many_seeds():
    arm = make_arm(Network(depth=20), seeds=7)
    (figure,) = FIGURES["costs"](gather(make_study([arm]), make_runs(arm, 9, 1)))
    assert {line.band for panel in figure.panels for line in panel.lines} == {"lowest to highest seed"}


def test_the_largest_costs_are_on_top_and_few_enough():
    recipes = [{**CIFAR_RECIPE, "lr": 0.001 * number} for number in range(1, 46)]
    arms = [make_arm(Network(depth=20), recipe, seeds=1, name=f"lr-{recipe['lr']:.3f}") for recipe in recipes]
    runs = [make_run(arm, 0, test=9, train=1, seconds=10.0 + number) for number, arm in enumerate(arms)]
    panel = FIGURES["costs"](gather(make_study(arms), runs))[0].panels[0]
    assert [line.label for line in panel.lines] == [f"lr-{0.001 * number:.3f}" for number in range(45, 5, -1)]
    assert "The first 40 of 45, from the largest on." in panel.notes


@pytest.mark.parametrize(
    ("seconds", "title", "value"), [(90, "seconds", 90), (600, "minutes", 10), (36_000, "hours", 10)]
)
def test_time_is_counted_in_what_people_count_in(seconds: float, title: str, value: float):
    arm = make_arm(Network(depth=20), seeds=2)
    runs = [replace(run, seconds=float(seconds)) for run in make_runs(arm, 9, 1)]
    panel = FIGURES["costs"](gather(make_study([arm]), runs))[0].panels[0]
    assert panel.x.title.startswith(title)
    assert panel.lines[0].median == (value,)


def test_sizes_stand_beside_table_6():
    figure = FIGURES["sizes"](gather(*paper_like()))[0]
    parameters, multiply_adds = figure.panels
    quiet, plain, residual = parameters.lines
    assert quiet.x == residual.x == (269_722, 464_154, 658_586, 853_018, 1_727_962, 19_421_274)
    assert quiet.median == (8.75, 7.51, 7.17, 6.97, 6.61, 7.93)
    assert plain.names[0] == "plain-20"
    assert multiply_adds.lines[2].x[0] < multiply_adds.lines[2].x[-1]
    assert "ResNet-110 A 6.61 %" in figure.caption


def test_points_have_their_depth_and_what_hides_all_others_is_left_out():
    panel = FIGURES["sizes"](gather(*paper_like()))[0].panels[0]
    _, plain, residual = panel.lines
    assert (plain.tags, residual.tags) == (("20", "32", "44", "56"), ("20", "32", "44", "56", "110", "1202"))
    assert panel.notes == ("plain-110: ends above 60 % and is not displayed.",)
    view = views(panel)["Linear"]
    assert 4 < view.low < 6.6
    assert 13.3 < view.high < 15
    assert ">1202</text>" in svg(panel, "sizes")


def test_on_imagenet_ten_crops_stand_beside_table_3_and_one_view_beside_nothing():
    study, runs = imagenet_like()
    panel = FIGURES["sizes"](gather(study, runs))[0].panels[0]
    quiet = [line.median for line in panel.lines if line.paper]
    assert quiet == [(28.54,), (25.03,), (24.52, 22.85, 21.75, 21.43), (24.19,)]
    assert panel.y.title == "10-crop error (%)"
    single = [{name: value for name, value in run.result.items() if "ten_crop" not in name} for run in runs]
    alone = [replace(run, result=result) for run, result in zip(runs, single, strict=True)]
    panel = FIGURES["sizes"](gather(study, alone))[0].panels[0]
    assert panel.y.title == "test error (%)"
    assert not any(line.paper for line in panel.lines)


def literal_interval(values: Sequence[float]) -> tuple[float, float]:
    """Of all resamples with replacement there are, each as often as it is drawn: where 2.5 % of their medians end."""
    n, low, high = len(values), defaultdict[float, Fraction](Fraction), defaultdict[float, Fraction](Fraction)
    ordered = sorted(values)
    for resample in combinations_with_replacement(range(n), n):
        ways = math.factorial(n)
        for count in Counter(resample).values():
            ways //= math.factorial(count)
        low[ordered[resample[(n - 1) // 2]]] += Fraction(ways, n**n)
        high[ordered[resample[n // 2]]] += Fraction(ways, n**n)
    return (
        min(each for each in values if sum(share for at, share in low.items() if at <= each) >= Fraction(1, 40)),
        max(each for each in values if sum(share for at, share in high.items() if at >= each) >= Fraction(1, 40)),
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(0, 100), min_size=2, max_size=2), min_size=1, max_size=7))
def test_bands_are_what_they_say(seeds: list[list[float]]):
    """Below five seeds their range; from five on what all resamples of them say of the median."""
    middle, low, high = spread(seeds)
    for place, values in enumerate(zip(*seeds, strict=True)):
        assert middle[place] == np.median(values)
        if len(seeds) < 5:
            assert (low[place], high[place]) == (min(values), max(values))
        else:
            assert (low[place], high[place]) == literal_interval(values)


@pytest.mark.parametrize("n", [5, 9, 25, 51, 999])
def test_the_interval_of_many_seeds_is_that_of_many_resamples(n: int):
    """Drawn at random 20,000 times, its ends are no more than a seed away."""
    middle, low, high = spread([[float(seed)] for seed in range(n)])
    drawn = np.median(np.random.default_rng(0).integers(n, size=(20_000, n)), axis=1)
    assert middle == [(n - 1) / 2]
    assert [low[0], high[0]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1 + n // 500)


def test_a_layer_where_a_seed_saw_nan_has_no_band():
    middle, low, high = spread([[1.0, math.nan], [2.0, 3.0], [3.0, 4.0]])
    assert (middle[0], low[0], high[0]) == (2.0, 1.0, 3.0)
    assert all(math.isnan(each[1]) for each in (middle, low, high))


def long_line(points: int, label: str = "plain-20") -> Line:
    values = tuple(50 + 40 * float(np.sin(at * 0.37)) + (at == points // 3) * 500 for at in range(points))
    return Line(
        label=label, depth=20, metric="test_error", x=tuple(range(points)), median=values, low=values, high=values, n=1
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 3000), st.integers(SHORTEST, LONGEST))
def test_a_thinned_line_keeps_its_ends_and_its_extremes(points: int, most: int):
    line = long_line(points)
    made = thin(line, most)
    assert len(made.x) <= most
    assert (made.x[0], made.x[-1]) == (line.x[0], line.x[-1])
    assert (min(made.median), max(made.median)) == (min(line.median), max(line.median))
    assert set(zip(made.x, made.median, strict=True)) <= set(zip(line.x, line.median, strict=True))


def test_points_from_which_numbers_are_read_are_kept():
    """The data table reads curves at the drops of the learning rate."""
    line = long_line(3000)
    made = thin(line, 60, [777, 2222])
    assert {777, 2222} <= set(made.x)
    panel = Panel(title="", lines=(line,), drops=(Drop(iteration=777, label="lr × 0.1"),))
    (figure,) = thinned([Figure(id="f", title="", caption="", panels=(panel,))])
    assert 777 in figure.panels[0].lines[0].x


def test_of_many_panels_each_has_fewer_arms_at_first():
    panel = Panel(title="", lines=tuple(long_line(50, f"plain-{at}") for at in range(10)))
    (figure,) = thinned([Figure(id="f", title="", caption="", panels=(panel,) * 20)])
    assert {sum(line.shown for line in panel.lines) for panel in figure.panels} == {2}


def test_what_a_page_leaves_out_is_said():
    panel = Panel(title="", lines=tuple(long_line(2000, f"plain-{at}") for at in range(40)))
    (figure,) = thinned([Figure(id="f", title="", caption="", panels=(panel,))])
    shown = [line.label for line in figure.panels[0].lines if line.shown]
    assert (shown[0], shown[-1], len(shown)) == ("plain-0", "plain-39", 8)
    assert "Of up to 2,000 points a line has about 400" in figure.panels[0].notes[0]
    assert figure.panels[0].notes[1].startswith("8 of 40 arms are drawn at first")
    short = Figure(id="f", title="", caption="", panels=(Panel(title="", lines=(long_line(50),)),))
    assert thinned([short]) == (short,)
