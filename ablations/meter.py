"""What a trial costs while it trains: images per second, peak memory, energy. Facts of a machine, never of a result."""

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

MEBIBYTE = 2**20


class Meter:
    """Reads what the training since the last reading cost, without what was spent on evaluation, probes and commits."""

    def __init__(self, device: torch.device, replicas: int = 1) -> None:
        """On GPUs, energy is that of the first `replicas` of them; peak memory is this one's alone."""
        every = [device] if replicas == 1 else [torch.device(device.type, number) for number in range(replicas)]
        self._device, self._joules = device, _energy_counter(every)
        self._idle = 0.0
        _forget_peak_memory(device)
        self._start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is no training; what the device has still to do of that is waited for first."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._idle += time.perf_counter() - begin

    def read(self, images: int) -> dict[str, float]:
        """`images` were trained on since the last reading, and the device has finished them.

        `device_energy_joules` is the whole devices', whoever else uses them; left out where one does not tell.
        """
        seconds = time.perf_counter() - self._begin - self._idle
        costs = {
            "images_per_second": round(images / seconds, 1),
            "peak_memory_mib": round(_peak_memory(self._device), 1),
        }
        if self._joules is not None and self._spent is not None:
            with suppress(OSError):
                costs["device_energy_joules"] = round(self._joules() - self._spent, 1)
        self._start()
        return costs

    def _start(self) -> None:
        self._begin, self._idle, self._spent = time.perf_counter(), 0.0, None
        if self._joules is not None:
            with suppress(OSError):
                self._spent = self._joules()


def _forget_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # a warm worker holds what its last trial freed, and remembers its peak
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: torch.device) -> float:
    """MiB: what PyTorch allocated on a GPU, or what the process held in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _energy_counter(devices: Sequence[torch.device]) -> Callable[[], float] | None:
    """Reads the joules that the devices have used since some moment; None where one does not tell."""
    if devices[0].type == "cpu":
        return _cpu_counter(Path("/sys/class/powercap"))
    counters = [counter for device in devices if (counter := _gpu_counter(device)) is not None]
    return (lambda: sum(counter() for counter in counters)) if len(counters) == len(devices) else None


def _cpu_counter(folder: Path) -> Callable[[], float] | None:
    """The sum over processor packages (RAPL), which only root may read on most machines."""
    packages = sorted(folder.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [path for path in packages if path.parent.name.count(":") == 1]

    def joules() -> float:
        return sum(int(path.read_text()) for path in packages) / 1e6

    with suppress(OSError, ValueError):
        return joules if packages and joules() >= 0 else None
    return None


def _gpu_counter(device: torch.device) -> Callable[[], float] | None:
    """NVML's counter of millijoules, which GPUs since Volta have."""
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        handle, name = ctypes.c_void_p(), f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)):
            return None

        def joules() -> float:
            spent = ctypes.c_ulonglong()
            if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(spent)):
                raise OSError("NVML does not tell the energy of this device")
            return spent.value / 1e3

        return joules
    return None
