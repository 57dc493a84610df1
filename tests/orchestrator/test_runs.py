"""Runs as reports read them: the ledger's numbers, and never a number that is not there."""

from collections.abc import Mapping, Sequence
from math import inf, isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ledger import Ledger
from orchestrator.runs import UNITS, Outcome, Run, damaged, probe_summary, read_runs


def read(root: Path) -> Run:
    (run,) = read_runs(toy.study(toy.trial(iterations=64)), Ledger(root))
    return run


def record(root: Path, errors: dict[int, dict[str, Any]], result: dict[str, Any] | None = None) -> None:
    with Ledger(root).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0) as attempt:
        for iteration, values in errors.items():
            attempt.log(iteration, values)
        last = max(errors)
        attempt.finish(last, b"", result) if result else attempt.commit(last, b"")


def test_nothing_recorded_is_missing(tmp_path: Path) -> None:
    """It still has a name and its length, so that the page can say what is missing."""
    run = read(tmp_path)
    assert (run.outcome, run.name, run.iteration, run.iterations) == (Outcome.MISSING, "toy-0.s0", 0, 64)
    assert not run.result


def test_last_best_and_tail(tmp_path: Path) -> None:
    """Last and best test error apart; the tail is the mean over the last 10/64 of the iterations."""
    curve = {i: {"train_error": float(i)} for i in range(2, 65, 2)}
    curve[32] |= {"test_error": 7.0}
    curve[64] |= {"test_error": 9.0}
    record(tmp_path, curve, {"outcome": "finished"})
    run = read(tmp_path)
    assert run.outcome is Outcome.FINISHED
    assert run.result["last_test_error"] == 9.0
    assert (run.result["best_test_error"], run.result["best_iteration"]) == (7.0, 32)
    assert run.result["last_train_error"] == 64.0
    assert run.result["tail_train_error"] == pytest.approx(sum(range(56, 65, 2)) / 5)
    assert run.curves["train_error"].unit == "%"
    assert list(run.curves["test_error"].iterations) == [32, 64]


VALUES = st.floats() | st.integers(-(2**40), 2**40)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["train_error", "test_error", "lr", "train_loss"]), VALUES), min_size=1, max_size=30
)


@settings(deadline=None, max_examples=50)
@given(RECORDS)
def test_curves_are_what_a_loop_over_the_lines_makes_of_them(records: list[dict[str, float]]) -> None:
    """Each metric at the iterations that have it, in order of appearance, to the bit."""
    points: dict[str, list[tuple[int, float]]] = {}
    for iteration, values in enumerate(records, 1):
        for metric, value in values.items():
            points.setdefault(metric, []).append((iteration, float(value)))
    with TemporaryDirectory() as folder:
        record(Path(folder), dict(enumerate(records, 1)))
        found = read(Path(folder)).curves
    assert [
        (name, list(zip(curve.iterations, map(repr, curve.values), strict=True))) for name, curve in found.items()
    ] == [(name, [(at, repr(value)) for at, value in each]) for name, each in points.items()]


def test_an_unfinished_trial_has_curves_and_no_result(tmp_path: Path) -> None:
    """Half a curve is no measurement of the end."""
    record(tmp_path, {1: {"train_error": 50.0}})
    run = read(tmp_path)
    assert (run.outcome, run.iteration, dict(run.result)) == (Outcome.RUNNING, 1, {})
    assert list(run.curves["train_error"].values) == [50.0]


def test_diverged_is_a_result(tmp_path: Path) -> None:
    """With the iteration at which it was seen."""
    record(tmp_path, {5: {"train_loss": float("nan"), "train_error": 90.0}}, {"outcome": "diverged", "diverged_at": 5})
    run = read(tmp_path)
    assert (run.outcome, run.result["diverged_at"]) == (Outcome.DIVERGED, 5)
    assert run.curves["train_loss"].values[0] != run.curves["train_loss"].values[0]
    assert "tail_train_error" not in run.result


def test_an_error_is_failed_with_its_last_line_until_it_is_mended(tmp_path: Path) -> None:
    """A later attempt that ends well leaves no failure behind."""
    with pytest.raises(KeyError), Ledger(tmp_path).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0):
        raise KeyError("lost")
    assert (read(tmp_path).outcome, read(tmp_path).reason) == (Outcome.FAILED, "KeyError: 'lost'")
    record(tmp_path, {64: {"train_error": 1.0}}, {"outcome": "finished"})
    assert (read(tmp_path).outcome, read(tmp_path).reason) == (Outcome.FINISHED, None)


def test_damage_is_said_and_no_number_is_read(tmp_path: Path) -> None:
    """A changed digit in a curve takes the whole run out, with a note that names the file."""
    record(tmp_path, {64: {"train_error": 1.0}}, {"outcome": "finished"})
    path = Ledger(tmp_path).folder(toy.trial().key).path / "curves.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1.0", b"2.0"))
    run = read(tmp_path)
    assert (run.outcome, dict(run.curves), dict(run.result)) == (Outcome.MISSING, {}, {})
    assert "curves.jsonl: not what was committed" in run.notes[0]


def commit(
    root: Path,
    *,
    costs: Sequence[Mapping[str, float]] = ({},),
    probes: Sequence[Mapping[str, Any]] = (),
    about: Mapping[str, Any] | None = None,
    **provenance: Any,
) -> None:
    """An attempt that records these and commits."""
    with Ledger(root).attempt(toy.trial(iterations=64), provenance=provenance, commit_seconds=0) as attempt:
        if about is not None:
            attempt.about(about)
        for each in probes:
            attempt.probe(each)
        for iteration, each in enumerate(costs, 1):
            attempt.log(iteration, {"train_error": 1.0}, each)
        attempt.commit(len(costs), b"")


def test_costs_are_a_median_a_peak_and_a_sum(tmp_path: Path) -> None:
    """Over the records that tell: one slow start is not the speed, the highest memory is what a machine must have."""
    commit(
        tmp_path,
        costs=[
            {"images_per_second": 10.0, "peak_memory_mib": 300.0, "device_energy_joules": 5.5},
            {"images_per_second": 100.0, "peak_memory_mib": 500.04},
            {"images_per_second": 102.0, "peak_memory_mib": 400.0, "device_energy_joules": 7.0},
        ],
    )
    assert read(tmp_path).costs == {"images_per_second": 100.0, "peak_memory_mib": 500.0, "device_energy_joules": 12.5}


def test_costs_that_no_record_tells_are_left_out(tmp_path: Path) -> None:
    """Not zero: a CPU whose energy nobody may read, a ledger of an older version."""
    assert read(tmp_path).costs == {}
    commit(tmp_path, costs=[{"images_per_second": 10.0, "peak_memory_mib": 0.0}, {}])
    assert read(tmp_path).costs == {"images_per_second": 10.0, "peak_memory_mib": 0.0}


def test_probes_come_back_as_they_were_seen(tmp_path: Path) -> None:
    """In order, with their lists, and with what is no number as what it was."""
    strange = toy.seen(3) | {"gradient": [nan, inf], "norm_variance": [-inf, 1.0], "layers": ["conv1", "conv2"]}
    commit(tmp_path, probes=[toy.seen(0), strange])
    first, second = read(tmp_path).probes
    assert first == toy.seen(0)
    assert isnan(second["gradient"][0])
    assert second["gradient"][1:] + second["norm_variance"] == [inf, -inf, 1.0]
    assert second["layers"] == ["conv1", "conv2"]


def test_damaged_probes_take_the_run_out(tmp_path: Path) -> None:
    """As damaged curves do."""
    commit(tmp_path, probes=[toy.seen(1)])
    path = Ledger(tmp_path).folder(toy.trial().key).path / "probes.jsonl"
    path.write_bytes(path.read_bytes().replace(b"7.0", b"8.0"))
    run = read(tmp_path)
    assert (run.outcome, run.probes, dict(run.curves)) == (Outcome.MISSING, (), {})
    assert "probes.jsonl: not what was committed" in run.notes[0]


def look(**values: Any) -> dict[str, float]:
    return probe_summary(toy.seen(2) | values)


def test_what_a_probe_comes_down_to() -> None:
    """By hand; before the first update there is no response, and in a plain network no residual."""
    found = look(
        gradient=[6.0, 1.0, 3.0],
        norm_variance=[0.5, 0.25],
        activation_variance=[2.0, 4.0],
        response=[1.0, 2.0, 6.0],
        residual_over_input=[0.1, 0.9, 0.2],
    )
    assert found == {
        "gradient_first_over_last": 2.0,
        "gradient_max_over_min": 6.0,
        "norm_variance_min": 0.25,
        "activation_variance_min": 2.0,
        "response_mean": 3.0,
        "residual_over_input_median": 0.2,
    }
    assert look(response=[], residual_over_input=[]).keys() == found.keys() - {
        "response_mean", "residual_over_input_median",
    }  # fmt: skip


def test_a_dead_network_can_be_summed_up() -> None:
    """Gradients of exactly 0 are no error: infinitely less than others, and no ratio to one another."""
    assert look(gradient=[6.0, 0.0])["gradient_first_over_last"] == inf
    assert look(gradient=[0.0, 6.0])["gradient_first_over_last"] == 0.0
    assert look(gradient=[0.0, 6.0])["gradient_max_over_min"] == inf
    assert all(isnan(look(gradient=[0.0, 0.0])[name]) for name in ("gradient_first_over_last", "gradient_max_over_min"))


@pytest.mark.parametrize("values", [[nan, 1.0, 2.0], [1.0, nan, 2.0], [1.0, 2.0, nan]])
def test_one_undefined_value_is_never_passed_over(values: list[float]) -> None:
    """Wherever it stands: the order of values, which smallest and median rest on, does not know it."""
    names = ("gradient", "norm_variance", "activation_variance", "response", "residual_over_input")
    found = look(**dict.fromkeys(names, values))
    assert all(isnan(value) for name, value in found.items() if name != "gradient_first_over_last")


V100, XEON = {"cpu": "Xeon", "gpus": ["V100"]}, {"cpu": "Xeon", "gpus": []}
"""On a machine with a GPU, trials of these tests use it, unless `idle` says otherwise."""


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ((XEON, "fused"), (XEON, "fused"), None),
        ((XEON, "fused"), (XEON | {"memory_gib": 3.5}, "fused"), None),
        ((XEON, "fused"), (V100 | {"idle": True}, "fused"), None),
        ((V100, "PyTorch's"), (V100 | {"gpus": ["V100", "V100"], "cpu": "Epyc"}, "PyTorch's"), None),
        ((XEON, "PyTorch's: no cc"), (XEON, "PyTorch's: /tmp/x is full"), None),
        ((XEON, "fused"), (XEON, "PyTorch's: no cc"), "Xeon, kernels PyTorch's; Xeon, kernels fused"),
        ((XEON, "fused"), (XEON | {"cpu": "Epyc"}, "fused"), "Epyc, kernels fused; Xeon, kernels fused"),
        ((XEON, "PyTorch's"), (V100, "PyTorch's"), "V100, kernels PyTorch's; Xeon, kernels PyTorch's"),
    ],
)
def test_attempts_on_unlike_machines_are_told(tmp_path: Path, first: Any, second: Any, told: str | None) -> None:
    """What rounds otherwise: the device's kind and the kernels, not how many there are, nor the memory beside them."""
    for hardware, kernels in (first, second):
        device = "cuda" if hardware["gpus"] and not hardware.get("idle") else "cpu"
        commit(tmp_path, hardware=hardware, site={"device": device}, about={"kernels": kernels, "activations": "kept"})
    expected = [f"attempts computed on unlike machines, so that bits may differ: {told}"] if told else []
    assert list(read(tmp_path).notes) == expected


@pytest.mark.parametrize(
    ("counts", "told", "last"),
    [((None, 1), "", 1), ((2, 2), "", 2), ((None, 4), "1, 4", 4), ((8, 2), "2, 8", 2), (("x", 0), "", 1)],
)
def test_attempts_with_unlike_numbers_of_replicas_are_told(
    tmp_path: Path, counts: tuple[Any, Any], told: str, last: int
) -> None:
    """They round otherwise, as another machine does. The last commit's number is what a resume has to keep."""
    folder = Ledger(tmp_path).folder(toy.trial(iterations=64).key)
    assert folder.replicas() is None
    for count in counts:
        site = {"device": "cpu"} | ({} if count is None else {"replicas": count})
        commit(tmp_path, hardware=XEON, site=site, about={"kernels": "fused", "activations": "kept"})
    said = f"attempts computed with unlike numbers of replicas, so that bits may differ: {told}"
    assert list(read(tmp_path).notes) == ([said] if told else [])
    assert folder.replicas() == last


def test_an_attempt_that_computed_nothing_is_no_other_machine(tmp_path: Path) -> None:
    """It ended before it could say how; neither it nor an attempt of an older version is a reason for doubt."""
    commit(tmp_path, hardware=XEON)
    commit(tmp_path, hardware=V100, about={"kernels": "PyTorch's", "activations": "kept"})
    assert read(tmp_path).notes == ()


def test_hardware_that_was_recorded_in_other_words_is_a_machine_too(tmp_path: Path) -> None:
    for hardware in ("two cores", XEON):
        commit(tmp_path, hardware=hardware, site={"device": "cpu"}, about={"kernels": "fused", "activations": "kept"})
    (note,) = read(tmp_path).notes
    assert "two cores, kernels fused" in note


def test_every_error_is_in_percent() -> None:
    """All that a trial on photographs with images held out records."""
    parts = ("clean_train", "validation", "test", "precise_test", "ten_crop", "multi_scale")
    assert all(UNITS[f"{part}_{kind}"] == "%" for part in parts for kind in ("error", "top5_error"))


def test_the_last_of_every_error_is_in_the_result(tmp_path: Path) -> None:
    """Each at its own last point, which is not the same for all; losses are curves alone."""
    errors = [name for name, unit in UNITS.items() if unit == "%"]
    curve: dict[int, dict[str, float]] = {at: {"train_error": 9.0, "test_error": 8.0} for at in (54, 60, 62)}
    curve[62] |= {"validation_error": 5.0}
    curve[64] = {name: float(number) for number, name in enumerate(errors)} | {"test_loss": 0.5}
    del curve[64]["validation_error"]
    record(tmp_path, curve, {"outcome": "finished"})
    result = read(tmp_path).result
    assert {name for name in result if name.startswith("last_")} == {f"last_{name}" for name in errors}
    assert result["last_validation_error"] == 5.0
    assert result["last_precise_test_error"] == errors.index("precise_test_error")
    assert {name for name in result if name.startswith("tail_")} == {"tail_train_error", "tail_test_error"}
    assert result["tail_test_error"] == pytest.approx((8 + 8 + errors.index("test_error")) / 3)
    assert result["tail_train_error"] == pytest.approx((9 + 9 + errors.index("train_error")) / 3)


def test_files_beside_the_result_are_named_and_read_when_asked_for(tmp_path: Path) -> None:
    """What is wrong with them is told where each is read whole, and is no fault of the result."""
    with Ledger(tmp_path).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0) as attempt:
        for number in (1, 2, 3):
            attempt.keep(f"predictions-{number}.npz", b"%d" % number)
        attempt.finish(64, b"", {"outcome": "finished"})
    run = read(tmp_path)
    assert [load() for load in run.kept.values()] == [b"1", b"2", b"3"]
    assert damaged(run) == []
    folder = Ledger(tmp_path).folder(run.key).path
    (folder / "predictions-1.npz").write_bytes(b"7")
    (folder / "predictions-2.npz").unlink()
    again = read(tmp_path)
    assert (again.outcome, again.notes) == (Outcome.FINISHED, ())
    changed, gone = damaged(again)
    assert "predictions-1.npz: not what was committed" in changed
    assert "predictions-2.npz: cannot be read" in gone


def test_an_unfinished_trial_kept_nothing(tmp_path: Path) -> None:
    """What its attempt wrote counts with the result alone."""
    with Ledger(tmp_path).attempt(toy.trial(iterations=64), provenance={}, commit_seconds=0) as attempt:
        attempt.keep("predictions-1.npz", b"1")
        attempt.commit(1, b"")
    assert read(tmp_path).kept == {}


def test_errors_of_several_crops_and_scales_are_results(tmp_path: Path) -> None:
    """Of the last iteration, each in percent."""
    errors = {f"{kind}_{what}": 20.0 + place for place, (kind, what) in enumerate(
        (kind, what) for kind in ("test", "ten_crop", "multi_scale") for what in ("error", "top5_error"))}  # fmt: skip
    record(tmp_path, {64: errors}, {"outcome": "finished"})
    run = read(tmp_path)
    assert {name: run.result[f"last_{name}"] for name in errors} == errors
    assert {curve.unit for curve in run.curves.values()} == {"%"}
