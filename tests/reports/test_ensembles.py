"""Averaged votes, and the interval of a difference, each against a slow literal version."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from synthetic import IMAGENET_RECIPE, imagenet, kept, make_arm, make_run, predicted

from orchestrator.ledger import Ledger
from orchestrator.predictions import MULTI_SCALE, Predictions, pack
from orchestrator.runs import Run
from orchestrator.studies import write_study
from reports.ensembles import bootstrap, ensemble

ARM = make_arm(imagenet(50, "B"), IMAGENET_RECIPE, seeds=6)


def run(seed: int, predictions: Predictions | bytes) -> Run:
    return replace(make_run(ARM, seed, test=30.0, train=20.0), kept=kept(predictions))


def test_softmax_outputs_are_averaged():
    """Against the sum written out, image by image and class by class."""
    each = [predicted(number, images=40, classes=7) for number in range(3)]
    made = ensemble([run(number, one) for number, one in enumerate(each)], MULTI_SCALE)
    assert made.predictions is not None
    for image in range(40):
        for label in range(7):
            expected = sum(float(one.probabilities[image, label]) for one in each) / 3
            assert made.predictions.probabilities[image, label] == pytest.approx(expected, abs=1e-12)
    assert [member.name for member in made.members] == [f"{ARM.name}.s{seed}" for seed in range(3)]
    assert [member.top1 for member in made.members] == [one.error() for one in each]
    assert [member.top5 for member in made.members] == [one.error(5) for one in each]


def test_two_that_err_on_different_images_are_right_together():
    """0.4 + 0.9 is more than 0.6 + 0.1: the sure one wins."""
    one = Predictions(probabilities=np.array([[0.4, 0.6], [0.9, 0.1]], np.float16), labels=np.array([0, 0]))
    two = Predictions(probabilities=np.array([[0.9, 0.1], [0.4, 0.6]], np.float16), labels=np.array([0, 0]))
    made = ensemble([run(0, one), run(1, two)], MULTI_SCALE)
    assert made.predictions is not None
    assert [member.top1 for member in made.members] == [50.0, 50.0]
    assert made.predictions.error() == 0.0


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(6)))
def test_the_order_of_the_members_does_not_matter(order: list[int]):
    """Not in a single bit: float16 adds up exactly in float64."""
    runs = [run(number, predicted(number, images=30)) for number in range(6)]
    first, other = ensemble(runs, MULTI_SCALE), ensemble([runs[place] for place in order], MULTI_SCALE)
    assert first.predictions is not None
    assert other.predictions is not None
    assert first.predictions.probabilities.tobytes() == other.predictions.probabilities.tobytes()


@pytest.mark.parametrize("images", [39, 40])
def test_other_images_have_no_vote(images: int):
    """Another number of them, or others in the same number."""
    other = predicted(1, images=images)
    other = replace(other, labels=other.labels[::-1].copy())
    made = ensemble([run(0, predicted(0, images=40)), run(1, other)], MULTI_SCALE)
    assert len(made.members) == 1
    assert made.absent == (f"{ARM.name}.s1: its test images are not those of {ARM.name}.s0",)


def test_who_kept_nothing_is_no_member_and_no_trouble():
    made = ensemble([make_run(ARM, 0, test=1, train=1)], MULTI_SCALE)
    assert (made.members, made.absent, made.predictions, made.seen) == ((), (), None, False)


# The paired bootstrap


def literal(one: NDArray[np.bool_], other: NDArray[np.bool_], resamples: int) -> tuple[float, float, float]:
    """Draw images with replacement, take both errors over them, subtract; again and again."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(resamples):
        images = random.integers(len(one), size=len(one))
        found.append(100 * one[images].mean() - 100 * other[images].mean())
    low, high = np.quantile(found, [0.025, 0.975])
    return 100 * one.mean() - 100 * other.mean(), low, high


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (1.0, 2.0), (3.0, 0.5)])
def test_the_interval_is_that_of_the_literal_bootstrap(first: float, second: float):
    """To what 4,000 resamples can tell."""
    one, other = (predicted(number, images=500, skill=skill).wrong() for number, skill in ((0, first), (1, second)))
    gap, (value, low, high) = bootstrap(one, other), literal(one, other, 4000)
    assert gap.value == pytest.approx(value)
    width = high - low
    assert gap.low == pytest.approx(low, abs=0.06 * width)
    assert gap.high == pytest.approx(high, abs=0.06 * width)


def test_known_intervals():
    """The same mistakes: no difference and no doubt. Always one alone: no doubt either. 10 of 1,000 images: normal."""
    wrong = np.arange(1000) < 300
    assert (bootstrap(wrong, wrong).low, bootstrap(wrong, wrong).high) == (0.0, 0.0)
    sure = bootstrap(np.ones(50, bool), np.zeros(50, bool))
    assert (sure.value, sure.low, sure.high) == (100.0, 100.0, 100.0)
    few = bootstrap(wrong | (np.arange(1000) >= 900), wrong)
    spread = 100 * np.sqrt(0.1 * 0.9 / 1000)
    assert few.value == pytest.approx(10.0)
    assert few.low == pytest.approx(10.0 - 1.96 * spread, abs=0.15)
    assert few.high == pytest.approx(10.0 + 1.96 * spread, abs=0.15)


def test_pairs_are_surer_than_errors_apart():
    """Mistakes that two have in common say nothing of which is better."""
    shared = np.arange(1000) < 500
    paired, apart = bootstrap(shared, shared & (np.arange(1000) >= 10)), bootstrap(shared, shared[::-1])
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_the_same_predictions_have_the_same_interval():
    one, other = predicted(0).wrong(), predicted(1).wrong()
    assert str(bootstrap(one, other)) == str(bootstrap(one, other))
    assert (bootstrap(one, other).resampled == bootstrap(one, other).resampled).all()
    again = bootstrap(one, other, seed=1, resamples=99).resampled
    assert (again != bootstrap(one, other, resamples=99).resampled).any()
    there, back = bootstrap(one, other), bootstrap(other, one)
    assert there.value == -back.value


def test_a_gap_in_words():
    assert str(bootstrap(np.zeros(9, bool), np.ones(9, bool))) == "−100.00 (−100.00 to −100.00)"
    assert str(bootstrap(np.zeros(9, bool), np.zeros(9, bool))) == "+0.00 (+0.00 to +0.00)"


@pytest.mark.parametrize("counts", [(3, 4), (0, 0)])
def test_only_the_same_images_are_compared(counts: tuple[int, int]):
    one, other = (np.zeros(count, bool) for count in counts)
    with pytest.raises(ValueError, match=rf"mistakes on {counts[0]} and on {counts[1]} images; they must be the same"):
        bootstrap(one, other)


def test_what_the_documentation_does_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The program in docs/results.md, over two trials of a ledger and one that kept nothing."""
    trials = [toy.trial(number) for number in range(3)]
    for number, trial in enumerate(trials):
        with Ledger(tmp_path / "results").attempt(trial, provenance={}, commit_seconds=0) as attempt:
            if number < 2:
                attempt.keep(MULTI_SCALE, pack(predicted(number)))
            attempt.finish(10, b"", {"outcome": "finished"})
    write_study(tmp_path / "results", toy.study(*trials, name="imagenet-ensemble"))
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    errors, gap, together = capsys.readouterr().out.splitlines()
    assert [float(each) for each in errors.split()] == [predicted(0).error(), predicted(0).error(5)]
    assert gap == str(bootstrap(predicted(0).wrong(5), predicted(1).wrong(5)))
    assert 0 < float(together) < min(predicted(number).error(5) for number in (0, 1))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40))
def test_p_values_are_those_of_the_exact_sign_test(worse: int, better: int):
    one = np.array([True] * worse + [False] * better + [True] * 20)
    other = np.array([False] * worse + [True] * better + [True] * 20)
    gap = bootstrap(one, other, resamples=50)
    if worse + better:
        for p, count in ((gap.p_above(), worse), (gap.p_below(), better)):
            assert p == pytest.approx(stats.binomtest(count, worse + better, alternative="greater").pvalue)


def test_a_margin_is_tested_by_the_resamples():
    """A gap of 10 points on 1,000 images, whose standard error is 0.95, is surely above 5 and not above 10."""
    one = np.arange(1000) < 100
    gap = bootstrap(one, np.zeros(1000, bool))
    assert gap.p_above(5.0) == pytest.approx(1 / 10_001)
    assert 0.3 < gap.p_above(10.0) < 0.7
    assert gap.p_below(5.0) == 1.0
    assert gap.with_more(3) is gap


def test_several_seeds_are_shares_of_mistakes():
    """The mean over seeds on each image is what is resampled; it is as wide as the mean of the errors is unsure."""
    runs = [predicted(number).wrong(1) for number in range(4)]
    one, other = np.mean(runs[:2], axis=0), np.mean(runs[2:], axis=0)
    gap = bootstrap(one, other)
    assert gap.value == pytest.approx(100 * (one.mean() - other.mean()))
    assert gap.exact is None
    spread = 100 * float(np.std(one - other)) / np.sqrt(len(one))
    assert float(np.std(gap.resampled)) == pytest.approx(spread, rel=0.05)
