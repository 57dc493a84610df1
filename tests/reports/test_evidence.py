"""The parts of a rule: what they answer, how sure they are, and how many seeds would decide them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.evidence import LEVEL, MOST_SEEDS, Above, Alike, Plain, Trend, further, p_value
from reports.noise import Difference, difference, spearman
from reports.verdicts import Answer


def gap(value: float, sd: float, n: int) -> Difference:
    return Difference(value=value, terms=((sd**2, n), (sd**2, n)))


def above(value: float, sd: float = 0.3, n: int = 5) -> Above:
    return Above(gap=gap(value, sd, n), arms=("deep", "shallow"))


def test_a_clear_difference_is_decided_and_asks_for_nothing():
    clear = above(3.0)
    assert clear.answer is Answer.HOLDS
    assert clear.p_for < 1e-6
    assert clear.p_against > 0.99
    assert clear.further(LEVEL) == {}


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(0.05, 1), st.integers(2, 8), st.sampled_from([0.05, 0.005, 0.0005]))
def test_the_seeds_asked_for_decide_and_one_fewer_does_not(value: float, sd: float, n: int, level: float):
    part = Above(gap=gap(value, sd, n), arms=("deep", "shallow"))
    asked = part.further(level)

    def decided(seeds: int) -> bool:
        then = Above(gap=part.gap.with_more(seeds), arms=())
        p = then.p_against if then.answer is Answer.FAILS else then.p_for
        return then.answer is not Answer.UNDECIDED and p <= level

    if asked is None:
        assert not decided(MOST_SEEDS)
    else:
        seeds = asked.get("deep", 0)
        assert asked in ({}, {"deep": seeds, "shallow": seeds})
        assert decided(seeds)
        assert seeds == 0 or not decided(seeds - 1)


@pytest.mark.parametrize(
    ("value", "answer"), [(0.1, Answer.HOLDS), (0.7, Answer.UNDECIDED), (2.0, Answer.FAILS), (-2.0, Answer.FAILS)]
)
def test_alike_is_two_one_sided_tests(value: float, answer: Answer):
    """Holds where the whole 95 % interval is within the margin, so both tests are below 0.025; fails beyond it."""
    part = Alike(gap=gap(value, 0.2, 5), arms=("one", "other"), margin=0.75)
    assert part.answer is answer
    assert (part.p_for < 0.025) == (answer is Answer.HOLDS)
    assert (part.p_against < 0.025) == (answer is Answer.FAILS)


def test_two_that_are_alike_but_noisy_ask_for_seeds():
    part = Alike(gap=gap(0.1, 0.6, 3), arms=("one", "other"), margin=0.75)
    assert part.answer is Answer.UNDECIDED
    asked = part.further(LEVEL)
    assert asked
    assert set(asked) == {"one", "other"}


def test_a_trend_and_its_certainty():
    depths = [20, 20, 32, 32, 44, 44, 56, 56]
    rising = Trend(found=spearman(depths, [1, 2, 3, 4, 5, 6, 7, 8]), sign=1, p_below=0.01)
    assert rising.answer is Answer.HOLDS
    assert rising.p_for is not None
    assert rising.p_for < 1e-4
    falling = Trend(found=spearman(depths, [8, 7, 6, 5, 3, 4, 2, 1]), sign=1)
    assert falling.answer is Answer.FAILS
    assert falling.p_against is not None
    assert falling.p_against < 1e-3
    flat = Trend(found=spearman([20, 20], [1, 1]), sign=1)
    assert (flat.answer, flat.p_for, flat.p_against, str(flat)) == (Answer.UNDECIDED, None, None, "rho is not defined")


def test_a_claim_is_as_sure_as_its_least_sure_part():
    sure, less = above(3.0), above(0.6)
    assert p_value([sure, less], Answer.HOLDS) == less.p_for
    assert p_value([sure, Plain(answer=Answer.HOLDS)], Answer.HOLDS) == sure.p_for


def test_a_contradiction_counts_once_for_each_part_that_could_have_been_it():
    good, bad = above(3.0), above(-0.6)
    assert p_value([good, bad], Answer.FAILS) == pytest.approx(2 * bad.p_against)
    assert p_value([good, Plain(answer=Answer.FAILS)], Answer.FAILS) is None
    assert p_value([Plain(answer=Answer.HOLDS)], Answer.HOLDS) is None


def test_further_seeds_are_the_most_that_any_part_asks_for():
    close = Above(gap=gap(0.3, 0.3, 5), arms=("deep", "shallow"))
    closer = Above(gap=gap(0.2, 0.3, 5), arms=("deep", "deeper"))
    most = further([close, closer, Plain(answer=Answer.HOLDS)], LEVEL)
    one, other = close.further(LEVEL), closer.further(LEVEL)
    assert one
    assert other
    assert most == {"deep": max(one["deep"], other["deep"]), "shallow": one["shallow"], "deeper": other["deeper"]}
    assert further([close, Above(gap=gap(0.0, 1.0, 3), arms=("a", "b"))], LEVEL) is None


def test_real_differences_go_through():
    part = Above(gap=difference([9.2, 9.4, 9.3], [8.1, 8.0, 8.3]), arms=("a", "b"))
    assert part.answer is Answer.HOLDS
