"""A study's own claims: what can be written, what it means, and how a mistake is told."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import CIFAR_RECIPE, make_arm, make_runs, make_study

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
    variant=st.sampled_from(["", "duplicate", "from20", "w8-stride3x3-fan_in-split-one-layer"]),
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
        ("test_error(A, 20, ) < 3", "cannot be read"),
        ("test_error(A, 20, split, w8) < 3", "cannot be read"),
        ("test_error(A, 20, duplicat) < 3", "the variant of a claim is what a network's name ends with, as duplicate,"),
        ("test_error(A, 20, appended) < 3", "not 'appended', in 'test_error"),
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


ARMS: dict[str, tuple[Network, float]] = {
    "A": (Network(depth=56, shortcut="A"), 7.0),
    "B": (Network(depth=56, shortcut="B"), 6.0),
    "A duplicate": (Network(depth=56, shortcut="A", padding="duplicate"), 6.1),
    "plain-20": (Network(depth=20), 9.0),
    "plain-56": (Network(depth=56), 13.0),
    "plain-56 from 20": (Network(depth=56, grown_from=20), 8.5),
}
"""Test and training error of each."""


def said_of_variants(say: str, *names: str) -> Verdict:
    """Over the paper's arms and their variants; before them all stands an arm of another recipe."""
    other = make_arm(ARMS["A duplicate"][0], {**CIFAR_RECIPE, "lr": 1.0}, deviations=["padding", "lr"], name="other")
    arms, runs = [other], make_runs(other, 50.0, 50.0)
    for name in names or ARMS:
        network, error = ARMS[name]
        arms.append(make_arm(network, seeds=3, deviations=network.departures))
        runs += make_runs(arms[-1], error, error)
    return judge(make_study(arms, claims=[{"id": "own", "say": say}]), runs)[0]


@pytest.mark.parametrize(
    ("say", "answer", "statistic"),
    [
        (
            "test_error(A, 56) > test_error(A, 56, duplicate)",
            Answer.HOLDS,
            "ResNet-56 A 7.00 (3), ResNet-56 A duplicate 6.10 (3); difference +0.90",
        ),
        ("test_error(A, 56, duplicate) > test_error(B, 56) + 0.5", Answer.FAILS, "ResNet-56 A duplicate 6.10 (3), Res"),
        ("train_error(plain, 56) > train_error(plain, 20)", Answer.HOLDS, "plain-56 13.00 (3), plain-20 9.00 (3)"),
        ("train_error(plain, 56, from20) > train_error(plain, 20)", Answer.FAILS, "plain-56 from 20 8.50 (3), plain-2"),
        ("test_error(A, 56, duplicate) < 6.5", Answer.HOLDS, "ResNet-56 A duplicate 6.10 (3); difference +0.40"),
    ],
)
def test_an_arm_is_compared_with_its_variants(say: str, answer: Answer, statistic: str):
    """Over arms that share data and recipe: what SC-08 and DEG-10 ask."""
    verdict = said_of_variants(say)
    assert verdict.verdict is answer
    assert verdict.statistic.startswith(statistic)


def test_a_variant_is_never_compared_with_itself():
    """Where a claim names one, the other network is the paper's, and needs to be there."""
    verdict = said_of_variants("test_error(A, 56) > test_error(A, 56, duplicate)", "A duplicate")
    assert verdict.reason == "needs ResNet-56 A, which is not in this study"
    verdict = said_of_variants("test_error(A, 56) > test_error(A, 56, split)")
    assert verdict.reason == "needs ResNet-56 A split, which is not in this study"


def test_without_a_variant_the_papers_network_comes_first():
    """Also where a variant stands before it in the study; alone, a variant may be spoken of without its name."""
    say, short = "test_error(A, 56) < 7.5", {**CIFAR_RECIPE, "iterations": 2000}
    networks = [Network(depth=56, shortcut="A", init="fan_in"), Network(depth=56, shortcut="A")]
    arms = [make_arm(each, short, seeds=2, deviations=["iterations 2000", *each.departures]) for each in networks]
    runs = [*make_runs(arms[0], 50.0, 50.0), *make_runs(arms[1], 7.0, 7.0)]
    for asked, found in ((arms, "ResNet-56 A 6.95 (2)"), (arms[:1], "ResNet-56 A fan_in 49.95 (2)")):
        assert judge(make_study(asked, claims=[{"id": "own", "say": say}]), runs)[0].statistic.startswith(found)


@pytest.mark.parametrize("metric", ["clean_train_error", "validation_error"])
def test_errors_on_other_images_can_be_spoken_of(metric: str):
    """Their last value; where a recipe does not measure them, that is said."""
    arm = make_arm(Network(depth=56, shortcut="A"), seeds=2)
    study = make_study([arm], claims=[{"id": "own", "say": f"{metric}(A, 56) < 3"}])
    runs = make_runs(arm, 7.0, 0.2)
    assert f"has 0 values of last_{metric}; s0: not recorded" in judge(study, runs)[0].reason
    runs = [replace(run, result={**run.result, f"last_{metric}": 1.0 + run.seed / 10}) for run in runs]
    verdict = judge(study, runs)[0]
    assert (verdict.verdict, verdict.statistic) == (Answer.HOLDS, "ResNet-56 A 1.05 (2); difference +1.95 ± 0.10")
