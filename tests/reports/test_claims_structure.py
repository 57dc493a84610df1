"""Claims about structure are decided at once, on any study, before anything ran; what was measured joins them."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from synthetic import IMAGENET_RECIPE, SEED_SHIFTS, imagenet, make_arm, make_run, make_study

from models.complexity import depth_of, multiply_adds_of, parameters_of
from models.layers import layers
from models.spec import Network
from models.vgg import vgg
from orchestrator.runs import Run
from orchestrator.studies import RecordedArm
from reports.claims import Verdict, judge
from reports.published import paper_claims
from reports.verdicts import Answer

TABLES = Path(__file__).parents[2] / "reports" / "paper"
AT_ONCE = ("SC-06", "BOT-01", "BOT-02", "DEP-03", "DEP-04", "DEP-05", "DEP-06")


@pytest.mark.parametrize("claim", AT_ONCE)
def test_structure_is_decided_before_anything_ran(claim: str):
    study = make_study([make_arm(Network(data="digits", depth=20, channels=1, size=8))], claims=[claim])
    found = judge(study, [])[0]
    assert (found.verdict, found.n, found.p) == (Answer.HOLDS, 0, None)


def test_every_other_claim_of_that_tier_says_what_it_waits_for():
    structural = [claim for claim, about in paper_claims().items() if about.tier.startswith("S")]
    waiting = [claim for claim in structural if claim not in AT_ONCE]
    assert waiting == ["DEG-09", "SC-07", "SC-09", "BOT-03"]
    found = judge(make_study([make_arm(Network(depth=20))], claims=waiting), [])
    assert all(each.verdict is Answer.UNDECIDED and "needs" in each.reason for each in found)


@pytest.mark.parametrize(("depth", "parameters", "work"), [(16, 138_357_544, 15.470e9), (19, 143_667_240, 19.632e9)])
def test_vgg_is_counted_as_it_is(depth: int, parameters: int, work: float):
    """As counted over torchvision's networks; weighted layers are what names them."""
    assert parameters_of(vgg(depth)) == parameters
    assert multiply_adds_of(vgg(depth)) == pytest.approx(work, rel=1e-4)
    assert depth_of(vgg(depth)) == depth
    with pytest.raises(ValueError, match="16 or 19 layers here, not 11"):
        vgg(11)


def test_the_numbers_are_those_that_the_claims_state():
    told = {each.id: each.statistic for each in judge(make_study([make_arm(Network(depth=20))], claims=AT_ONCE), [])}
    assert told["BOT-01"].startswith("block: weights 1.94, multiply-adds 1.94")
    assert told["BOT-02"] == "69,632 against 73,728 weights, ratio 0.944"
    assert told["DEP-03"] == "ResNet-152 11.28 G against VGG-16 15.47 G, VGG-19 19.63 G"
    assert told["DEP-05"] == "152 over 19 weighted layers = 8.0"
    assert told["DEP-06"] == "115.6 M for each 3×3 layer without a stride"


Measured = tuple[RecordedArm, list[Run]]
GPU = {"hardware": {"cpu": "a CPU", "gpus": ["NVIDIA H100"]}, "site": {"device": "cuda"}}


def measured(network: Network, images_per_second: float, seeds: int = 3, **attempt: Any) -> Measured:
    """Trials whose throughput differs by 5 images per second; each held 2,000 MiB and one MiB more per seed."""
    arm = make_arm(network, IMAGENET_RECIPE, seeds=seeds)
    runs = []
    for seed in range(seeds):
        costs = {"images_per_second": images_per_second + 5.0 * SEED_SHIFTS[seed], "peak_memory_mib": 2000.0 + seed}
        run = make_run(arm, seed, test=30, train=20, costs=costs)
        runs.append(replace(run, attempts=({**run.attempts[0], **GPU, **attempt},)))
    return arm, runs


def judged(claim: str, *arms: Measured) -> Verdict:
    return judge(make_study([arm for arm, _ in arms], claims=[claim]), [run for _, runs in arms for run in runs])[0]


def net(depth: int, shortcut: Any, **options: Any) -> Network:
    return replace(imagenet(depth, shortcut), **options)


RACES = pytest.mark.parametrize(
    ("claim", "slow", "fast"),
    [("SC-07", net(34, "C"), net(34, "B")), ("BOT-03", net(50, "B", bottlenecks=False), net(50, "B"))],
)


@RACES
def test_throughput_is_compared_over_trials(claim: str, slow: Network, fast: Network):
    holds = judged(claim, measured(slow, 900.0), measured(fast, 1000.0))
    assert (holds.verdict, holds.n) == (Answer.HOLDS, 6)
    assert "1000.00 − " in holds.statistic
    assert "900.00 = +100.00 ± 8.16 images/s on NVIDIA H100, peak memory 2,002 and 2,002 MiB" in holds.statistic
    welch: Any = stats.ttest_ind([1000, 995, 1005], [900, 895, 905], equal_var=False, alternative="greater")
    assert holds.p == pytest.approx(welch.pvalue)
    assert judged(claim, measured(slow, 1100.0), measured(fast, 1000.0)).verdict is Answer.FAILS
    close = judged(claim, measured(slow, 998.0), measured(fast, 1000.0))
    assert (close.verdict, "within the noise" in close.reason) == (Answer.UNDECIDED, True)
    one = judged(claim, measured(slow, 900.0, seeds=1), measured(fast, 1000.0))
    assert "2 trials each" in one.reason
    assert one.further == {slow.name: 1}


@RACES
@pytest.mark.parametrize(
    "other",
    [
        {"hardware": {"cpu": "a CPU", "gpus": ["NVIDIA A100"]}},
        {"site": {"device": "cpu"}},
        {"site": {"device": "cuda", "replicas": 2}},
        {"site": {"device": "cuda", "share": 0.25}},
    ],
)
def test_throughput_is_compared_on_like_hardware_alone(claim: str, slow: Network, fast: Network, other: dict[str, Any]):
    """Another processor, several of them, or a quarter of one that others used too."""
    unlike = judged(claim, measured(slow, 900.0, **other), measured(fast, 1000.0))
    assert (unlike.verdict, unlike.n) == (Answer.UNDECIDED, 0)
    assert "on like hardware" in unlike.reason
    assert judged(claim, measured(slow, 900.0, **other), measured(fast, 1000.0, **other)).verdict is Answer.HOLDS


def test_a_race_is_between_the_networks_of_the_rule():
    """Small networks of CIFAR's layout are others, and so are two recipes; 50 layers that nobody ran are told."""
    small = [measured(Network(depth=20, shortcut="C"), 9.0), measured(Network(depth=20, shortcut="B"), 900.0)]
    assert "needs the throughput of ResNet-34 B and ResNet-34 C" in judged("SC-07", *small).reason
    arm, runs = measured(net(34, "B"), 1000.0)
    other = replace(arm, recipe={**arm.recipe, "precision": "bf16"}, deviations=("precision bf16 (paper fp32)",))
    assert judged("SC-07", measured(net(34, "C"), 900.0), (other, runs)).verdict is Answer.UNDECIDED
    half = judged("SC-07", measured(net(34, "C"), 900.0), (arm, runs))
    assert "not in it: needs the throughput of ResNet-50 B and ResNet-50 C" in half.caveats[0]
    deep = [measured(net(50, "C"), 500.0), measured(net(50, "B"), 450.0)]
    assert judged("SC-07", measured(net(34, "C"), 900.0), (arm, runs), *deep).verdict is Answer.FAILS


def test_a_race_under_another_recipe_says_so():
    slow, fast = net(50, "B", bottlenecks=False), net(50, "B")
    bf16 = "precision bf16 (paper fp32)"
    arms = [(measured(slow, 900.0), ("bottlenecks false (paper true)", bf16)), (measured(fast, 1000.0), (bf16,))]
    found = judged("BOT-03", *[(replace(arm, deviations=said), runs) for (arm, runs), said in arms])
    assert found.caveats == (f"not the paper's recipe: {bf16}",)


def test_fifty_layers_without_bottlenecks():
    """The blocks 4, 5, 9, 6 of two layers are 50 weighted layers, and cost more than bottlenecks do."""
    basic = net(50, "B", bottlenecks=False)
    assert depth_of(list(layers(basic))) == 50
    assert basic.name == "imagenet-resnet-50-B-basic"
    assert not basic.bottleneck
    with pytest.raises(ValueError, match="bottlenecks false is for 50 layers of photographs, not 34 on imagenet"):
        net(34, "B", bottlenecks=False)


def test_the_claims_file_is_whole():
    with (TABLES / "claims.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 66
