"""How close a planned run comes to the lower bound, beside the order in which the study is written."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ablations.study import load
from ablations.trials import trials
from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.planning.packing import prepare
from orchestrator.trial import Trial


def asked(study: str, without: str | None = None) -> list[Trial]:
    return [each for each in trials(load(study), gpus=1) if without is None or without not in each.arm]


@pytest.mark.bench
@pytest.mark.parametrize(
    ("title", "wanted", "goal"),
    [
        ("cifar10-depth without 1202", asked("cifar10-depth", without="1202"), 1.05),
        ("imagenet-depth", asked("imagenet-depth"), 1.15),
    ],
)
def test_makespan_over_the_lower_bound(
    title: str, wanted: Sequence[Trial], goal: float, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On 4, 8 and 16 GPUs in nodes of 8 at most, with expected times that are guessed."""
    for gpus in (4, 8, 16):
        nodes = [Node(id=str(at), host=str(at), cpus=512, gpus=min(8, gpus)) for at in range(max(1, gpus // 8))]
        plan = prepare(wanted, Ledger(tmp_path), nodes, with_blocked=True)
        one = prepare(wanted, Ledger(tmp_path), nodes, per_gpu=1, with_blocked=True)
        ratio, written = plan.simulation.makespan / plan.bound_seconds, plan.written.makespan
        with capsys.disabled():
            sys.stdout.write(
                f"\n{title}, {len(wanted)} trials, {gpus:2} GPUs: {plan.simulation.makespan / 3600:6.2f} h,"
                f" {ratio:.3f} times the lower bound; in written order {written / 3600:6.2f} h,"
                f" {written / plan.bound_seconds:.2f} times that bound, {written / one.bound_seconds:.2f} times the"
                " bound without sharing\n",
            )
        assert ratio <= goal
