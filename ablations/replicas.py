"""The replicas of one trial: processes of one node that each train on their share of every batch, in lockstep.

The first is the process that attempts the trial. It starts the others, alone speaks with the ledger, and ends with
them: whichever of them dies, none is left, and the next attempt starts from the last commit.
"""

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage] - documented there
from torch.nn.parallel import DistributedDataParallel

JOINING = timedelta(minutes=30)
"""For a process to start and import PyTorch, on a machine that is busy."""
TOGETHER = timedelta(days=365)
"""A replica waits for the first as long as a probe or a commit takes; that one died is not told by the clock."""
PARTING_SECONDS = 30.0
"""For what follows the end of one process: an exception in another, or its own end."""
REPORT_SECONDS = 5.0
"""For the report of an exception, which was written before the process ended."""
LOOPBACK = "lo"
FOLLOWER = ("-P", "-m", "ablations.follower")
"""What Python runs for each other replica; not out of the folder where the trial happens to be run."""
NO_CONCERN = (
    "Grad strides do not match bucket view strides",  # 1x1 convolutions, whose strides say nothing
    "`broadcast_buffers` is deprecated",  # what follows it shares buffers once, which these are not to be
)
"""How warnings of DDP begin that say nothing of a trial."""


class ReplicaError(RuntimeError):
    """The code of another replica raised an exception."""


class _ElsewhereError(Exception):
    """Of another process; its traceback is the text."""


@dataclass(frozen=True)
class Group:
    """The replicas of a trial as one of them sees them. Alone, it has the whole batch and speaks to nobody.

    What is summed, followed or told waits for the others: each of them has to call it too.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the first, which alone knows what was committed, and whose moving averages count."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Its own among the batches of an evaluation."""
        return slice(self.rank, None, self.count)

    def device(self, kind: str) -> torch.device:
        """Of this replica: the GPU of its number among those that the trial has, or the CPU."""
        return torch.device(kind, self.rank) if kind == "cuda" and self.count > 1 else torch.device(kind)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over replicas, in place, the same bits in each."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def follow(self, tensors: Sequence[Tensor]) -> None:
        """Give these tensors, all of one type, the values that the first replica's have."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.broadcast(flat, src=0)
        for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def told(self, message: bytes, device: torch.device) -> bytes:
        """What the first replica says; what the others say is not heard."""
        length = torch.tensor([len(message)], device=device)
        distributed.broadcast(length, src=0)
        text = torch.empty(int(length), dtype=torch.uint8, device=device)
        if self.leads:
            text.copy_(torch.frombuffer(bytearray(message), dtype=torch.uint8))
        distributed.broadcast(text, src=0)
        return text.cpu().numpy().tobytes()

    def averaged(self, module: Callable[[Tensor], Tensor], *, skips: bool) -> Callable[[Tensor], Tensor]:
        """The module, such that a backward pass ends with the mean of all replicas' gradients in its parameters.

        With `skips`, a pass may leave parts of it out, the same in all replicas.
        """
        if self.count == 1:
            return module
        assert isinstance(module, nn.Module)
        for told in NO_CONCERN:
            warnings.filterwarnings("ignore", message=told)
        whole = _Skipped(module) if skips else module
        return DistributedDataParallel(whole, broadcast_buffers=False, find_unused_parameters=skips)


ALONE = Group()


class _Skipped(nn.Module):
    """A module that may leave parts out. One parameter is never used, for where all are, DDP warns of needless work."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.idle = module, nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


@contextmanager
def together(params: Mapping[str, Any], site: Mapping[str, Any], count: int) -> Iterator[Group]:
    """Start the other replicas of a trial, and end them with the block; the first is whoever calls.

    `site` is what the trial is given beside its parameters. They die with the thread that calls, too.
    Raises ReplicaError, or PyTorch's OutOfMemoryError, for an exception of another's that this one can report; where
    one was killed, this process ends as well.
    """
    if count == 1:
        yield ALONE
        return
    crew = _Crew(count, nccl=site["device"] == "cuda")
    failed = True
    try:
        crew.start(params, site)
        yield crew.join()
        failed = False
    except RuntimeError as error:  # such as that of a sum which another will not come to any more
        if isinstance(error, torch.OutOfMemoryError) or (reason := crew.reason()) is None:
            raise
        raise reason from reason.__cause__
    finally:
        crew.end(aborting=failed)


def meet(rank: int, count: int, kind: str, port: int) -> Group:
    """As one of the others, join the replicas whose first has opened this port."""
    store = TCPStore("127.0.0.1", port, count, is_master=False, timeout=JOINING)
    return _joined(Group(rank, count), kind, store)


def part() -> None:
    """Leave the replicas, which all do at the same time."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class _Crew:
    """The other replicas as processes of the first."""

    def __init__(self, count: int, *, nccl: bool) -> None:
        self._count, self._nccl = count, nccl
        self._processes: list[subprocess.Popen[bytes]] = []
        self._watches: list[Thread] = []
        self._over, self._fell = Event(), Event()
        self._reason: Exception | None = None
        listener = socket.create_server(("127.0.0.1", 0))  # PyTorch's own would listen to other machines too
        self._port = listener.getsockname()[1]
        self._store = TCPStore(
            "127.0.0.1",
            self._port,
            count,
            is_master=True,
            timeout=JOINING,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )

    def start(self, params: Mapping[str, Any], site: Mapping[str, Any]) -> None:
        root = str(Path(__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
        for rank in range(1, self._count):
            process = subprocess.Popen(
                [sys.executable, *FOLLOWER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                process_group=0,  # Ctrl-C is for the first, which ends the others
            )
            self._processes.append(process)
            self._watches.append(Thread(target=self._watch, args=(rank, process), daemon=True))
            self._watches[-1].start()
            given = {"leader": os.getpid(), "port": self._port, "rank": rank, "count": self._count}
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it is dead already, as its watch will say
                process.stdin.write(json.dumps({**given, "params": params, "site": site}).encode() + b"\n")
                process.stdin.flush()

    def join(self) -> Group:
        return _joined(Group(0, self._count), "cuda" if self._nccl else "cpu", self._store)

    def reason(self) -> Exception | None:
        """The exception that ended another replica, if one ends about now."""
        self._fell.wait(REPORT_SECONDS)
        return self._reason

    def end(self, *, aborting: bool) -> None:
        self._over.set()
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(b"" if aborting else b"\n")  # it may finish, or it ends where it is
                process.stdin.flush()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if aborting and self._nccl and distributed.is_initialized():
            distributed.distributed_c10d._abort_process_group()  # another may never come to part
        part()
        for process in self._processes:
            try:
                process.wait(PARTING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for watch in self._watches:
            watch.join()

    def _watch(self, rank: int, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the end of a replica. If it comes too early, end this process: what waits for it would for ever.

        Where the other one says which exception ended it, gloo raises one here as well, which may end the attempt in
        good order. NCCL raises none, and after it is aborted what the GPU holds is no result.
        """
        assert process.stdout is not None
        with process.stdout as stdout:
            said = stdout.read()
        code = process.wait()
        if self._over.is_set():
            return
        name = f"replica {rank + 1} of {self._count}"
        told = _told(said)
        if told is not None:
            self._reason = self._reason or _exception(name, told)
            self._fell.set()
            if not self._nccl and self._over.wait(PARTING_SECONDS):
                return
        how = told["line"] if told else f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        sys.stderr.write(
            f"failed: {name}: {how}; what was committed is kept, and the next attempt goes on from there\n"
        )
        sys.stderr.flush()
        os._exit(1)


def _joined(group: Group, kind: str, store: Store) -> Group:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", LOOPBACK)
    bound: dict[str, Any] = {}
    if kind == "cuda":
        torch.cuda.set_device(group.rank)
        bound["device_id"] = group.device(kind)
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo",
        store=store,
        rank=group.rank,
        world_size=group.count,
        timeout=TOGETHER,
        **bound,
    )
    return group


def _told(said: bytes) -> dict[str, str] | None:
    """What a replica wrote before its end: the name, the last line and the whole of an exception."""
    with suppress(ValueError, IndexError):
        told = json.loads(said.splitlines()[-1])
        if isinstance(told, dict) and told.keys() == {"name", "line", "traceback"}:
            return told
    return None


def _exception(name: str, told: Mapping[str, str]) -> Exception:
    kind = torch.OutOfMemoryError if told["name"] == "OutOfMemoryError" else ReplicaError
    error = kind(f"{name}: {told['line']}")
    error.__cause__ = _ElsewhereError(told["traceback"])
    return error
