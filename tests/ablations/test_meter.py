"""What a trial costs: read from this machine, or left out where it does not tell."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ablations import meter
from ablations.meter import Meter

CPU = torch.device("cpu")


def test_images_per_second_leave_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 images in 2 s of training and 7 s of evaluation are 50 images per second; the next reading begins anew."""
    clock = iter([10.0, 11.0, 18.0, 19.0, 19.0, 20.0, 20.0])  # begin, pause, its end, read, begin, read
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(clock))
    one = Meter(CPU)
    with one.paused():
        pass
    assert one.read(100)["images_per_second"] == 50.0
    assert one.read(30)["images_per_second"] == 30.0


def test_the_peak_is_this_trial_s_and_not_its_worker_s() -> None:
    """Memory that was given back before the meter began is not in it."""
    large = torch.ones(2**27)
    assert float(large[0]) == 1
    with_it = Meter(CPU).read(1)["peak_memory_mib"]
    del large
    after = Meter(CPU).read(1)["peak_memory_mib"]
    assert after < with_it - 400
    assert after > 50


def packages(folder: Path, *microjoules: int) -> Path:
    for number, each in enumerate(microjoules):
        place = folder / f"intel-rapl:{number}"
        (place / f"intel-rapl:{number}:0").mkdir(parents=True)
        (place / "energy_uj").write_text(f"{each}\n")
        (place / f"intel-rapl:{number}:0" / "energy_uj").write_text("999000000\n")
    return folder


def test_energy_is_the_sum_over_processor_packages(tmp_path: Path) -> None:
    """Their parts, which are in their sum already, are not counted again."""
    joules = meter._cpu_counter(packages(tmp_path, 1_500_000, 2_000_000))
    assert joules is not None
    assert joules() == 3.5


def test_a_machine_that_does_not_tell_its_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No counter, an unreadable one, or one that stops: the metric is left out, and nothing else."""
    assert meter._cpu_counter(tmp_path) is None
    (packages(tmp_path, 1) / "intel-rapl:0" / "energy_uj").write_text("secret")
    assert meter._cpu_counter(tmp_path) is None

    readings = iter([5.0, 7.5, 7.5])

    def joules() -> float:
        try:
            return next(readings)
        except StopIteration:
            raise OSError("gone") from None

    monkeypatch.setattr(meter, "_energy_counter", lambda _: joules)
    one = Meter(CPU)
    assert one.read(1)["device_energy_joules"] == 2.5
    assert "device_energy_joules" not in one.read(1)
    assert "device_energy_joules" not in one.read(1)


def test_a_gpu_s_counter_without_nvml_is_none() -> None:
    """As on a machine without a driver."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert meter._gpu_counter(torch.device("cuda")) is None


def test_the_energy_of_replicas_is_that_of_all_their_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no number at all where one of them does not tell."""
    asked = []

    def counter(device: torch.device) -> Callable[[], float] | None:
        asked.append(str(device))
        return None if device.index == 2 else lambda: 10.0 + device.index

    monkeypatch.setattr(meter, "_gpu_counter", counter)
    joules = meter._energy_counter([torch.device("cuda", number) for number in range(2)])
    assert joules is not None
    assert joules() == 21.0
    assert meter._energy_counter([torch.device("cuda", number) for number in range(3)]) is None
    assert asked == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:2"]


def test_time_passes() -> None:
    """The real clock, once."""
    one = Meter(CPU)
    time.sleep(0.05)
    with one.paused():
        time.sleep(0.2)
    assert 300 < one.read(50)["images_per_second"] < 1100
