"""Seeds go to the arms of claims that more seeds would decide, and to no other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_arm, make_runs, make_study

from models.spec import Network
from reports.claims import judge
from reports.deciding import pursued, seeds_to_add
from reports.verdicts import Answer, Verdict


def judged(gap: float, seeds: int = 3, looks: int = 1) -> Verdict:
    """Two arms whose test errors differ by `gap`, each with a standard deviation of 0.1."""
    arms = [make_arm(Network(depth=depth, shortcut="A"), seeds=seeds) for depth in (20, 32)]
    runs = [*make_runs(arms[0], 8 + gap, 1), *make_runs(arms[1], 8, 1)]
    claim = {"id": "deeper-is-better", "say": "test_error(A, 32) < test_error(A, 20)"}
    return judge(replace(make_study(arms, claims=[claim]), looks=looks), runs)[0]


def test_a_close_claim_gets_seeds_and_a_clear_one_none():
    close, clear = judged(0.12), judged(3.0)
    assert (close.verdict, clear.verdict) == (Answer.UNDECIDED, Answer.HOLDS)
    assert pursued([close, clear]) == [close]
    planned = {"cifar10-resnet-20-A": 3, "cifar10-resnet-32-A": 3}
    assert seeds_to_add([close, clear], planned, 20) == {"cifar10-resnet-20-A": 3, "cifar10-resnet-32-A": 3}


def test_what_no_seeds_would_decide_gets_none():
    even = judged(0.0)
    assert even.further is None
    assert seeds_to_add([even], {}, 20) == {}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 200), min_size=1),
    st.fixed_dictionaries({arm: st.integers(1, 30) for arm in "abcd"}),
    st.integers(2, 40),
)
def test_no_arm_is_more_than_doubled_nor_above_the_most(further: dict[str, int], planned: dict[str, int], most: int):
    open_claim = replace(judged(0.12), further=further)
    for arm, seeds in seeds_to_add([open_claim], planned, most).items():
        assert arm in further
        assert 0 < seeds <= min(further[arm], planned[arm])
        assert planned[arm] + seeds <= most


def test_every_look_counts():
    """The same runs, looked at a third time: three times the p value."""
    first, third = judged(0.3), judged(0.3, looks=3)
    assert first.p == third.p
    assert first.p_corrected is not None
    assert third.p_corrected == pytest.approx(3 * first.p_corrected)


def test_a_later_look_may_take_back_what_chance_explains():
    first, later = judged(0.21), judged(0.21, looks=4)
    assert (first.verdict, later.verdict, later.raw) == (Answer.HOLDS, Answer.UNDECIDED, Answer.HOLDS)
    assert "at look 4 chance explains as much" in later.reason
    assert later.further
