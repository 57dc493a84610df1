"""A study's own claims: what can be written, what it means, and how a mistake is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_arm, make_runs, make_study

from models.spec import Network
from reports.claims import judge, parse_claim
from reports.sentences import METRICS, SHORTCUTS, Sentence, Term
from reports.verdicts import Answer, Verdict

numbers = st.integers(0, 10_000).map(lambda value: value / 100)
terms = st.builds(
    Term,
    metric=st.sampled_from(list(METRICS)),
    shortcut=st.sampled_from(list(SHORTCUTS)),
    depth=st.integers(1, 2000),
    plus=numbers,
)
sentences = st.builds(Sentence, left=terms, relation=st.sampled_from(["<", ">"]), right=st.one_of(terms, numbers))


@settings(deadline=None)
@given(sentences)
def test_what_is_printed_can_be_read(sentence: Sentence):
    assert parse_claim(str(sentence)) == sentence


@settings(deadline=None)
@given(sentences)
def test_spaces_do_not_matter(sentence: Sentence):
    assert parse_claim(str(sentence).replace(" ", "")) == sentence
    assert parse_claim(f"  {str(sentence).replace('(', ' ( ').replace(',', ' , ')}  ") == sentence


@settings(deadline=None)
@given(st.text(max_size=300))
def test_anything_else_is_one_clear_line(say: str):
    """No input raises anything but ValueError, and its message has no line break and a bearable length."""
    try:
        parse_claim(say)
    except ValueError as error:
        message = str(error)
        assert "claim" in message
        assert len(message.splitlines()) == 1
        assert len(message) < 700


@pytest.mark.parametrize(
    ("say", "told"),
    [
        ("test_error(A, 20)", "one < or one >"),
        ("test_error(A, 20) < test_error(B, 20) < 3", "one < or one >"),
        ("accuracy(A, 20) < 3", "the metric of a claim is one of train_error, test_error, best_test_error"),
        ("test_error(none, 20) < 3", "the shortcut of a claim is one of plain, A, B, C"),
        ("test_error(A, twenty) < 3", "whole number of layers"),
        ("test_error(A, 0) < 3", "whole number of layers"),
        ("test_error(A, 20) < -3", "cannot be read"),
        ("test_error(A, 20) - 1 < 3", "cannot be read"),
        ("3 > test_error(A, 20)", "cannot be read"),
        ("", "one < or one >"),
    ],
)
def test_mistakes_are_named(say: str, told: str):
    with pytest.raises(ValueError, match=told):
        parse_claim(say)


def verdict_of(say: str, plain: float, residual: float, scale: float = 0.1, seeds: int = 3) -> Verdict:
    arms = [make_arm(Network(depth=56, shortcut=shortcut), seeds=seeds) for shortcut in ("none", "A")]
    study = make_study(arms, claims=[{"id": "own", "say": say, "text": "Own words."}])
    runs = [*make_runs(arms[0], plain, plain, scale), *make_runs(arms[1], residual, residual, scale)]
    return judge(study, runs)[0]


@pytest.mark.parametrize(
    ("plain", "residual", "answer"),
    [
        (13.0, 7.0, Answer.HOLDS),
        (7.0, 7.1, Answer.FAILS),
        (8.1, 7.0, Answer.UNDECIDED),
        (8.5, 7.0, Answer.HOLDS),
        (7.0, 13.0, Answer.FAILS),
    ],
)
def test_a_difference_is_judged_against_its_noise(plain: float, residual: float, answer: Answer):
    """Two standard errors here are 0.16; the claim asks for 1 point more."""
    say = "test_error(plain, 56) > test_error(A, 56) + 1"
    assert verdict_of(say, plain, residual).verdict is answer


def test_less_than_a_number():
    say = "train_error(A, 56) < 1"
    assert verdict_of(say, 5.0, 0.5).verdict is Answer.HOLDS
    assert verdict_of(say, 5.0, 1.05).verdict is Answer.UNDECIDED
    assert verdict_of(say, 5.0, 1.5).verdict is Answer.FAILS


def test_the_verdict_carries_its_numbers():
    verdict = verdict_of("test_error(plain, 56) > test_error(A, 56)", 13.0, 7.0)
    assert verdict.numbers["difference"] == pytest.approx(6.0)
    assert verdict.n == 6
    assert verdict.source == "this study"
    assert "difference +6.00 ± 0.16" in verdict.statistic


def test_one_seed_decides_nothing():
    verdict = verdict_of("test_error(plain, 56) > test_error(A, 56)", 13.0, 7.0, seeds=1)
    assert verdict.verdict is Answer.UNDECIDED
    assert "at least 2 seeds" in verdict.reason


def test_an_arm_that_is_not_there():
    verdict = verdict_of("test_error(C, 56) > test_error(A, 56)", 13.0, 7.0)
    assert verdict.verdict is Answer.UNDECIDED
    assert verdict.reason == "needs ResNet-56 C, which is not in this study"
