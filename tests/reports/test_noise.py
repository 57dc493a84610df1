"""Means, spreads and rank correlations agree with scipy."""

from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports.noise import difference, from_number, holm, interval, paired, ranks, spearman, spread

RESNET_110 = (6.43, 6.52, 6.61, 6.70, 6.79)
samples = st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=12)
spread_out = st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True).map(
    lambda found: [each / 4 for each in found]
)


def test_spread_and_interval_to_the_digit():
    """Sample standard deviation (n - 1), and the t-interval of 4 degrees of freedom."""
    low, high = interval(RESNET_110) or (0, 0)
    expected = stats.t.interval(0.95, 4, loc=fmean(RESNET_110), scale=stats.sem(RESNET_110))
    assert spread(RESNET_110) == pytest.approx(0.1423, abs=5e-5)
    assert (low, high) == pytest.approx(expected, rel=1e-9)


def test_one_value_has_no_spread():
    assert spread([6.97]) is None
    assert interval([6.97]) is None


@settings(deadline=None)
@given(samples, samples)
def test_standard_error_is_welch(high: list[float], low: list[float]):
    """The standard error of the difference is the denominator of Welch's t."""
    gap = difference(high, low)
    assert gap.error == pytest.approx(np.hypot(stats.sem(high), stats.sem(low)), abs=1e-9)
    assert gap.value == pytest.approx(np.mean(high) - np.mean(low), abs=1e-9)


@settings(deadline=None)
@given(samples)
def test_pairs_that_differ_by_a_constant_have_no_noise(values: list[float]):
    gap = paired([value + 1.5 for value in values], values)
    assert gap.value == pytest.approx(1.5)
    assert gap.error == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_tied_ranks(values: list[int]):
    assert ranks(values) == list(stats.rankdata(values))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([20, 32, 44, 56]), st.integers(0, 40)), min_size=5, max_size=40))
def test_spearman_agrees_with_scipy(pairs: list[tuple[int, int]]):
    x, y = zip(*pairs, strict=True)
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
        return
    rho, p = np.asarray(stats.spearmanr(x, y))
    assert found is not None
    assert found.rho == pytest.approx(rho, abs=1e-9)
    assert found.p == pytest.approx(p, abs=1e-9)
    assert found.low <= found.rho + 1e-9
    assert found.rho <= found.high + 1e-9


@settings(deadline=None)
@given(spread_out, spread_out, st.floats(-5, 5))
def test_p_values_and_interval_are_those_of_welchs_test(high: list[float], low: list[float], margin: float):
    gap = difference(high, low)
    p = np.asarray(stats.ttest_ind(np.asarray(high) - margin, low, equal_var=False, alternative="greater"))[1]
    assert gap.p_above(margin) == pytest.approx(p, abs=1e-9)
    assert gap.p_below(margin) == pytest.approx(1 - p, abs=1e-9)
    assert gap.interval() == pytest.approx(
        tuple(stats.ttest_ind(high, low, equal_var=False).confidence_interval()), rel=1e-6, abs=1e-6
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=12))
def test_p_values_of_pairs_are_those_of_the_paired_test(pairs: list[tuple[int, int]]):
    high, low = zip(*pairs, strict=True)
    gap = paired(high, low)
    if gap.error:
        _, p = stats.ttest_rel(high, low, alternative="greater")
        assert gap.p_above() == pytest.approx(p, abs=1e-9)


@settings(deadline=None)
@given(spread_out, st.floats(0, 100))
def test_p_values_against_a_number_are_those_of_one_sample(values: list[float], number: float):
    _, p = stats.ttest_1samp(values, number, alternative="greater")
    assert from_number(values, number).p_above() == pytest.approx(p, abs=1e-9)


def test_without_noise_a_difference_is_certain():
    gap = difference([2.0, 2.0], [1.0, 1.0])
    assert (gap.p_above(), gap.p_below(), gap.p_above(1.0), gap.interval()) == (0.0, 1.0, 1.0, (1.0, 1.0))


def test_more_seeds_shrink_the_error_and_leave_the_value():
    gap = difference([9.1, 9.3, 9.2], [8.8, 9.0])
    more = gap.with_more(5)
    assert more.value == gap.value
    assert more.error == pytest.approx(np.sqrt(0.01 / 8 + 0.02 / 7))


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_is_its_definition(values: list[float]):
    """Literally: the k-th smallest of m times (m - k + 1), at most 1, and never below the one before."""
    expected = {}
    for place, index in enumerate(sorted(range(len(values)), key=lambda each: values[each])):
        before = [expected[each] for each in expected]
        expected[index] = max([min(1.0, (len(values) - place) * values[index]), *before])
    assert holm(values) == [expected[index] for index in range(len(values))]
