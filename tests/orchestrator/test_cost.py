"""What a trial is expected to take: what was measured on the same hardware first, then what follows from it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from orchestrator.ledger import Ledger
from orchestrator.planning.cost import (
    DOUBLING,
    Costs,
    Origin,
    Work,
    gpu_memory_mib,
    guess,
    measured_beside,
    most_measured_gpu,
    same_hardware,
    work,
)
from orchestrator.planning.plan import plan, survey
from orchestrator.trial import Resources, Trial

H100, A100, EPYC = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "AMD EPYC"
WHOLE, QUARTER, PAIR = Resources(gpus=1), Resources(gpus=0.25), Resources(cpus=2, gpus=2, replicas=2)


def attempted(
    ledger: Ledger,
    trial: Trial,
    seconds: float,
    resources: Resources = WHOLE,
    *,
    gpu: str = H100,
    until: int | None = None,
    peak_mib: float | None = None,
) -> None:
    """An attempt at the trial whose iterations took so many seconds each, up to the end or an iteration."""
    device = "cuda" if resources.gpus else "cpu"
    about = {
        "hardware": {"cpu": EPYC, "gpus": [gpu, gpu]},
        "site": {"device": device, "share": resources.share, "replicas": resources.replicas},
    }
    costs = {} if peak_mib is None else {"peak_memory_mib": peak_mib}
    with ledger.attempt(trial, provenance=about, commit_seconds=1e9) as attempt:
        head = ledger.folder(trial.key).head()
        for iteration in range((head.iteration if head else 0) + 1, (until or trial.iterations) + 1):
            attempt.log(iteration, {"train_error": 1.0}, costs)
        if until is None:
            attempt.finish(trial.iterations, b"0,1", {"outcome": "finished"})
        else:
            attempt.commit(until, b"0,1")
    path = ledger.folder(trial.key).path / "commit.json"
    commit = json.loads(path.read_text())
    commit["commits"][0]["seconds"] = seconds * commit["commits"][0]["iteration"]
    path.write_text(json.dumps(commit))
    if until is not None:
        timed(ledger, trial, lambda iteration: seconds * iteration)


def timed(ledger: Ledger, trial: Trial, seconds: Callable[[int], float]) -> None:
    """As if the clock had shown this at each of the trial's iterations."""
    clock = ledger.folder(trial.key).path / "clock.jsonl"
    lines = [json.loads(line) for line in clock.read_text().splitlines()]
    told = [line | {"seconds": seconds(line["iteration"])} for line in lines]
    clock.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in told))
    commit = json.loads((clock.parent / "commit.json").read_text())
    commit["commits"][0]["streams"]["clock.jsonl"][0] = clock.stat().st_size
    commit["commits"][0]["seconds"] = seconds(commit["commits"][0]["iteration"])
    (clock.parent / "commit.json").write_text(json.dumps(commit))


def arm(number: int, seed: int, iterations: int = 10) -> Trial:
    """A seed of an arm: the toy's parameters are the same but for the seed."""
    trial = toy.trial(number, gpus=1, iterations=iterations)
    params = {**trial.params, "seed": seed}
    return replace(trial, key=f"{100 * number + seed:016x}", name=f"toy-{number}.s{seed}", seed=seed, params=params)


def costs(ledger: Ledger, hardware: str = H100) -> Costs:
    return Costs(measured_beside(ledger, ()), hardware)


def test_another_seed_at_the_same_place_is_the_best_witness(tmp_path: Path) -> None:
    """Measured: the median over the seeds; whatever other arms say."""
    ledger = Ledger(tmp_path)
    for seed, seconds in enumerate((2.0, 3.0, 7.0)):
        attempted(ledger, arm(1, seed), seconds)
    attempted(ledger, arm(2, 0), 50.0)
    assert costs(ledger).iteration(arm(1, 9), WHOLE) == (3.0, Origin.MEASURED)


def test_its_own_beginning_is_better_still(tmp_path: Path) -> None:
    """A partial trial is expected to go on as it began."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 2.0)
    attempted(ledger, arm(1, 1), 10.0, until=4)
    (found,) = plan([arm(1, 0), arm(1, 1)], ledger, H100).open
    assert (found.expected_seconds, found.origin) == (10.0 * 6, Origin.MEASURED)


def test_another_place_is_scaled_by_the_rule_of_thumb(tmp_path: Path) -> None:
    """Two replicas lose so much of twice the speed until that is measured."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 3.8)
    seconds, origin = costs(ledger).iteration(arm(1, 1), PAIR)
    assert (seconds, origin) == (pytest.approx(3.8 / (2 * DOUBLING)), Origin.SCALED)


def test_a_measured_speedup_holds_for_other_arms(tmp_path: Path) -> None:
    """One arm with one replica and with two: what it lost, others are expected to lose."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 6.0)
    attempted(ledger, arm(1, 1), 4.0, PAIR)
    attempted(ledger, arm(2, 0), 9.0)
    found = costs(ledger)
    assert found.doubling == pytest.approx(0.75)
    assert found.iteration(arm(2, 1), PAIR) == (pytest.approx(6.0), Origin.SCALED)
    assert found.iteration(arm(1, 2), PAIR) == (4.0, Origin.MEASURED)


def test_a_measured_gain_of_sharing_holds_for_other_arms(tmp_path: Path) -> None:
    """Four on a GPU, each half as fast as alone: twice the throughput."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 1.0)
    attempted(ledger, arm(1, 1), 2.0, QUARTER)
    attempted(ledger, arm(2, 0), 3.0)
    found = costs(ledger)
    assert found.gains == {4: pytest.approx(2.0)}
    assert found.iteration(arm(2, 1), QUARTER) == (pytest.approx(6.0), Origin.SCALED)


def test_other_arms_correct_the_guess(tmp_path: Path) -> None:
    """The median of measured over guessed, on this hardware."""
    ledger = Ledger(tmp_path)
    for number, factor in ((1, 2.0), (2, 3.0), (3, 10.0)):
        attempted(ledger, arm(number, 0), factor * work(arm(number, 0)).seconds(WHOLE))
    seconds, origin = costs(ledger).iteration(arm(4, 0), WHOLE)
    assert (seconds, origin) == (pytest.approx(3 * work(arm(4, 0)).seconds(WHOLE)), Origin.SCALED)


def test_the_same_network_under_another_schedule_is_near(tmp_path: Path) -> None:
    """A short pilot prices a long run."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0, iterations=10), 4.0)
    attempted(ledger, arm(2, 0), 1.0)
    longer = replace(arm(1, 0, iterations=50), key="5" * 16)
    assert costs(ledger).iteration(longer, WHOLE) == (pytest.approx(4.0), Origin.SCALED)


def test_other_hardware_says_nothing(tmp_path: Path) -> None:
    """Nor does a processor of a GPU, or the other way round."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 4.0)
    assert costs(ledger, A100).iteration(arm(1, 1), WHOLE)[1] is Origin.GUESSED
    assert costs(ledger, EPYC).iteration(arm(1, 1), Resources())[1] is Origin.GUESSED
    assert costs(ledger, "H100").iteration(arm(1, 1), WHOLE) == (4.0, Origin.MEASURED)


def test_names_of_one_model() -> None:
    """As the driver has it and as Ray has it."""
    assert same_hardware(H100, "H100")
    assert same_hardware("NVIDIA-A100-SXM4-40GB", A100)
    assert not same_hardware("NVIDIA H100 NVL", H100)
    assert not same_hardware("", H100)


def test_memory_of_a_gpu_by_its_name() -> None:
    """As it says itself; else as its model has; else little is assumed."""
    assert gpu_memory_mib(H100) == pytest.approx(80e9 / 2**20)
    assert gpu_memory_mib("NVIDIA H200") == 141 * 1024
    assert gpu_memory_mib("") == 16 * 1024


def test_a_resumed_trial_counts_where_it_ran_last(tmp_path: Path) -> None:
    """Its first part on another machine is left out: the clock's records since tell the pace."""
    ledger, trial = Ledger(tmp_path), arm(1, 0)
    attempted(ledger, trial, 16.0, gpu=A100, until=4)
    attempted(ledger, trial, 8.0, until=9)
    timed(ledger, trial, lambda iteration: 16.0 * min(iteration, 4) + 8.0 * max(0, iteration - 4))
    (found,) = measured_beside(ledger, ())
    assert (found.hardware, found.seconds) == (H100, 8.0)


@pytest.mark.parametrize(("iterations", "until", "seconds"), [(1000, 2, 3.0), (1000, 40, 0.1), (100, 19, 0.1)])
def test_the_first_iterations_of_a_trial_measure_nothing(
    tmp_path: Path, iterations: int, until: int, seconds: float
) -> None:
    """A run that was interrupted at its beginning prices nothing: neither itself, nor its arm, nor others."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0, iterations), seconds, until=until)
    assert list(measured_beside(ledger, ())) == []
    found = plan([arm(1, 0, iterations), arm(1, 1, iterations), arm(2, 0)], ledger, H100).open
    assert {each.origin for each in found} == {Origin.GUESSED}


@pytest.mark.parametrize(("iterations", "until", "pace"), [(100, 20, 0.1), (1000, 50, 0.1), (1000, 2, 30.0)])
def test_start_up_is_no_part_of_the_pace(tmp_path: Path, iterations: int, until: int, pace: float) -> None:
    """Enough of a trial, or so long, is a measurement; the first record's 100 s are not."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0, iterations), pace, until=until)
    timed(ledger, arm(1, 0), lambda iteration: 100.0 + pace * (iteration - 1))
    (found,) = measured_beside(ledger, ())
    assert found.seconds == pytest.approx(pace)


def test_a_long_clock_is_read_from_its_end(tmp_path: Path) -> None:
    """The peak of the last records, whatever came before."""
    ledger, trial = Ledger(tmp_path), arm(1, 0, iterations=500)
    attempted(ledger, trial, 1.0, peak_mib=123.0)
    (found,) = measured_beside(ledger, ())
    assert found.peak_memory_mib == 123.0


def test_memory_is_measured_or_estimated(tmp_path: Path) -> None:
    """With room to spare; so many trials share a GPU as fit."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 1.0, peak_mib=30_000.0)
    found = costs(ledger)
    assert found.memory_mib(arm(1, 1)) > 30_000
    assert found.sharings(arm(1, 1)) == [1, 2]
    small = arm(2, 0)
    assert 0 < found.memory_mib(small) < found.memory_mib(arm(1, 1))
    assert found.sharings(small) == [1, 2, 3, 4]


def test_the_estimate_of_memory_covers_what_was_measured_elsewhere() -> None:
    """Activations of ResNet-20 and -1202 at batch 128 in fp32 take 0.19 and 11.76 GB."""
    for multiply_adds, gigabytes in ((40_551_000, 0.19), (2_829_239_000, 11.76)):
        trial = replace(arm(1, 0), work=3.0 * multiply_adds * 128 * 10)
        assert gigabytes * 1e9 / 2**20 < Costs((), H100).memory_mib(trial) < 1.5 * gigabytes * 1e9 / 2**20 + 1000


def test_before_anything_is_measured_small_networks_gain_from_sharing() -> None:
    """Those that wait for launches, two- to threefold; those that compute, nothing."""
    found = Costs((), H100)
    waits, computes = Work(multiply_adds=1e9, launches=20), Work(multiply_adds=1e13, launches=20)
    assert [found.gain(waits, sharing) for sharing in (1, 2)] == [1.0, pytest.approx(2**0.8)]
    assert 2 < found.gain(waits, 4) < 4
    assert found.gain(computes, 4) == pytest.approx(1.0, rel=0.01)


def test_the_replicas_with_which_a_trial_began(tmp_path: Path) -> None:
    """It goes on with as many: the plan knows."""
    ledger = Ledger(tmp_path)
    attempted(ledger, arm(1, 0), 1.0, PAIR, until=3)
    (found,) = plan([arm(1, 0)], ledger, H100).open
    assert found.replicas == 2


def test_without_a_name_the_gpu_that_was_measured_most(tmp_path: Path) -> None:
    """So that an assumed cluster is priced by what there is."""
    ledger = Ledger(tmp_path)
    for seed in range(3):
        attempted(ledger, arm(1, seed), 4.0, gpu=A100 if seed else H100)
    assert most_measured_gpu(measured_beside(ledger, ())) == A100
    _, found = survey([arm(1, 5)], ledger)
    assert found.hardware == A100


def test_a_damaged_record_is_left_out(tmp_path: Path) -> None:
    """What it cost is no part of a result: a plan is made without it."""
    ledger = Ledger(tmp_path)
    for number, file in enumerate(damage(), 1):
        attempted(ledger, arm(number, 0), 4.0)
        (ledger.folder(arm(number, 0).key).path / file).write_text("{")
    assert [each.peak_memory_mib for each in measured_beside(ledger, ())] == [None]  # whose clock alone is gone
    assert plan([arm(9, 0)], ledger, H100).open[0].expected_seconds > 0


def damage() -> Iterator[str]:
    yield from ("commit.json", "trial.json", "attempts/0001.json", "clock.jsonl")


def test_a_gpu_is_priced_as_one() -> None:
    """The same work costs less where the trial holds a GPU."""
    assert guess(toy.trial(0, gpus=1)) < guess(toy.trial(0))
