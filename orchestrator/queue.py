"""Which trial is next, on which node, and what becomes of one that ended: the decisions of a run.

Neither Ray nor a clock is known here: `schedule` makes these decisions real, `simulate` replays them.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.ledger import Commit, Ledger, LedgerError
from orchestrator.placement import Node, Room
from orchestrator.planning.plan import PlannedTrial
from orchestrator.suspicion import Suspicions
from orchestrator.trial import Resources, Trial
from orchestrator.worker import Cause, Ending

TRIES_AFTER_ERROR = 2
"""An error in a trial's code is tried once more, then the trial has failed."""
DEATHS_WITHOUT_COMMIT = 3
"""A trial whose process died is resumed without limit as long as it gets on; after so many deaths at one commit it
has failed, because it would go on dying."""
BUDGET = "the budget"
"""Who cancels what is not affordable."""
INTERRUPTION = "an interruption"
"""Who cancels everything when the run is to end early."""
ELSEWHERE_SECONDS = 30.0
"""Before another look at a trial that another run is at work on."""
STORAGE_SECONDS = (5.0, 300.0)
"""First and longest wait before a trial is tried again whose results directory could not be written."""


_Kind = tuple[Resources, str | None]
"""What a trial occupies, and the node that it is not to be tried on again."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial on a node."""

    key: str
    node: str
    resources: Resources
    devices: Sequence[int]
    """Which of the node's GPUs, as we count them."""
    started: float
    """When its process was there, or until then when it was placed; on the clock of whoever asks the queue."""
    expected_end: float
    begun: bool = False
    """Whether its process is there: until then it costs nothing."""

    @property
    def occupied(self) -> float:
        """GPUs, or cores where it has none: what is paid for."""
        return self.resources.gpus or self.resources.cpus

    def cost(self, now: float) -> float:
        """GPU-seconds, or core-seconds, up to a moment."""
        return self.occupied * max(0.0, now - self.started) if self.begun else 0.0


@dataclass
class Standing:
    """Where a run stands now; the queue writes it, whoever watches reads it."""

    total: int
    running: dict[str, Running] = field(default_factory=dict)
    """By ticket."""
    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Key -> reason."""
    cancelled: dict[str, str] = field(default_factory=dict)
    """Key -> by whom."""
    unaffordable: list[str] = field(default_factory=list)
    """Keys of what the budget was too small for."""
    submitted: int = 0
    interruptions: dict[str, int] = field(default_factory=dict)
    """Key -> how often a trial was begun again after a death, a lost node, or a results directory that was away."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Node's id -> why nothing is put there any more."""
    spent_seconds: float = 0.0
    """GPU-seconds (core-seconds of trials without a GPU) of the attempts that have ended."""


def joint(one: Standing, other: Standing) -> Standing:
    """Two rounds of a run, both of which are over, as one."""
    return Standing(
        total=one.total + other.total,
        done=[*one.done, *other.done],
        failed={**one.failed, **other.failed},
        cancelled={**one.cancelled, **other.cancelled},
        unaffordable=[*one.unaffordable, *other.unaffordable],
        submitted=one.submitted + other.submitted,
        interruptions={**one.interruptions, **other.interruptions},
        set_aside={**one.set_aside, **other.set_aside},
        spent_seconds=one.spent_seconds + other.spent_seconds,
    )


class Queue:
    """The open trials of a plan, the nodes they may run on, and what the user asked for beside.

    `budget_seconds` is what this run may spend, in GPU-seconds, or core-seconds of trials that need none; `most` is
    the number of trials at a time, whatever the nodes could hold.
    """

    def __init__(
        self,
        planned: Sequence[PlannedTrial],
        ledger: Ledger,
        nodes: Iterable[Node] = (),
        *,
        budget_seconds: float | None = None,
        most: int | None = None,
    ) -> None:
        self.trials = {each.trial.key: each.trial for each in planned}
        self.standing = Standing(total=len(self.trials))
        self.interrupted = False
        """Whether the run is to end before its trials have."""
        self.stops: dict[str, str] = {}
        """Key -> why its running attempt is to be stopped."""
        self._rank = {key: rank for rank, key in enumerate(self.trials)}
        self._pace = {each.trial.key: _seconds_per_iteration(each) for each in planned}
        self._left = {each.trial.key: each.expected_seconds for each in planned}
        self._ledger, self._budget, self._most = ledger, budget_seconds, most
        self._rooms: dict[str, Room] = {}
        self._large_enough: dict[Resources, list[Room]] = {}
        """Until nodes come or go."""
        self._ready: dict[_Kind, list[tuple[int, str]]] = {}
        """By what decides where they may go, a heap of those that may start."""
        self._children: dict[str, list[str]] = {}
        """Parent's key -> those that wait for its end."""
        self._later: list[tuple[float, int, str]] = []
        """A heap of those that wait for a moment."""
        self._errors: Counter[str] = Counter()
        self._deaths: Counter[tuple[str, int]] = Counter()
        self._storage: Counter[str] = Counter()
        self._suspicions = Suspicions()
        self.see(nodes)
        for trial in self.trials.values():
            if trial.after in self.trials:
                self._children.setdefault(trial.after, []).append(trial.key)
            else:
                self._enqueue(trial.key)

    # The cluster ------------------------------------------------------------------------------------------------------

    def see(self, nodes: Iterable[Node]) -> None:
        """The nodes that are alive now. What runs on one that is gone will be told as ended."""
        alive = {node.id: node for node in nodes}
        self._rooms = {each: self._rooms.get(each) or self._room(node) for each, node in alive.items()}
        self._large_enough = {}

    def _room(self, node: Node) -> Room:
        room = Room(node)
        for each in self.standing.running.values():
            if each.node == node.id:
                room.occupy(each.resources, each.devices)
        return room

    # What is next -----------------------------------------------------------------------------------------------------

    def next(self, ticket: str, now: float) -> Running | None:
        """What to start under this ticket, and where; None if nothing may start now.

        The first that is ready goes first. Where it does not fit, the node on which it will fit soonest is kept for it:
        others may start meanwhile, there only if they are expected to end before.
        """
        while self._later and self._later[0][0] <= now:
            self._enqueue(heapq.heappop(self._later)[2])
        if not any(self._ready.values()):
            return None
        if self._most is not None and len(self.standing.running) >= self._most:
            return None
        waiting: str | None = None
        kept: tuple[Room, float] | None = None
        for key, resources in self._candidates(now):
            room = self._fitting(key, now)
            if room is not None and waiting is not None:
                kept = kept or self._soonest(waiting, now)
                key, room = self._without_delay(key, resources, now, kept)
            if room is not None:
                return self._start(ticket, key, room, now)
            if waiting is None and self._allowed(key):
                waiting = key
        return None

    def _without_delay(
        self, key: str, resources: Resources, now: float, kept: tuple[Room, float] | None
    ) -> tuple[str, Room | None]:
        """This trial if it delays nobody for whom a node is kept, or the first of those like it that does not; and its
        place."""
        room = self._fitting(key, now, kept)
        if room is None and kept is not None and kept[0].fits(resources):
            affordable = self._affordable(now)
            alike = (each for kind, heap in self._ready.items() if kind[0] == resources for each in heap)
            shorter = (each for each in alike if now + self._left[each[1]] <= kept[1] and affordable(each[1]))
            if (first := min(shorter, default=None)) is not None:
                return first[1], self._fitting(first[1], now, kept)
        return key, room

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is left that may."""
        return not self.standing.running and not self._later and not any(self._ready.values())

    def wanted(self) -> list[Resources]:
        """What everything that runs or may run now occupies, the most urgent first, as many as may run at a time."""
        ready = sorted(entry for heap in self._ready.values() for entry in heap)
        running = [each.resources for each in self.standing.running.values()]
        return [*running, *(self.trials[key].resources for _, key in ready)][: self._most]

    def unplaceable(self) -> list[Trial]:
        """Trials that wait, and that no node is large enough for."""
        rooms = list(self._rooms.values())
        shapes = {shape for shape, _ in self._ready if not any(room.node.holds(shape) for room in rooms)}
        return [self.trials[key] for kind, heap in self._ready.items() if kind[0] in shapes for _, key in heap]

    def _candidates(self, now: float) -> list[tuple[str, Resources]]:
        """Of each kind of resources the first that is ready and affordable, in order of urgency."""
        affordable = self._affordable(now)
        firsts: list[tuple[int, str]] = []
        for heap in self._ready.values():
            if heap and affordable(heap[0][1]):
                firsts.append(heap[0])
            else:
                firsts += [each for each in sorted(heap) if affordable(each[1])][:1]
        if not firsts and not self.standing.running:
            self._withdraw([key for heap in self._ready.values() for _, key in heap], BUDGET)
        return [(key, self.trials[key].resources) for _, key in sorted(firsts)]

    def _allowed(self, key: str) -> list[Room]:
        """The nodes that are large enough, but none that is set aside or where the trial came to harm, if there is
        another."""
        resources = self.trials[key].resources
        if (rooms := self._large_enough.get(resources)) is None:
            large = [room for room in self._rooms.values() if room.node.holds(resources)]
            rooms = [room for room in large if room.node.id not in self.standing.set_aside] or large
            self._large_enough[resources] = rooms
        shunned = self._suspicions.shunned(key)
        return rooms if shunned is None else [room for room in rooms if room.node.id != shunned] or rooms

    def _fitting(self, key: str, now: float, kept: tuple[Room, float] | None = None) -> Room | None:
        """The fullest node with room; not one that is kept for another, unless the trial will have ended by then."""
        resources, ends = self.trials[key].resources, now + self._left[key]
        free = (room for room in self._allowed(key) if room.fits(resources))
        found = (room for room in free if kept is None or kept[0] is not room or ends <= kept[1])
        return min(found, key=lambda room: room.free, default=None)

    def _soonest(self, key: str, now: float) -> tuple[Room, float] | None:
        """The node on which a trial will fit soonest, and when, if what runs ends as expected."""
        resources = self.trials[key].resources
        allowed = {room.node.id: room for room in self._allowed(key)}
        then: dict[str, Room] = {}
        for each in sorted(self.standing.running.values(), key=lambda each: each.expected_end):
            if each.node in allowed:
                room = then[each.node] = then.get(each.node) or allowed[each.node].copy()
                room.give(each.resources, each.devices)
                if room.fits(resources):
                    return allowed[each.node], max(now, each.expected_end)
        return None

    def _start(self, ticket: str, key: str, room: Room, now: float) -> Running:
        resources = self.trials[key].resources
        self._remove(key)
        started = Running(
            key=key, node=room.node.id, resources=resources, devices=room.take(resources), started=now,
            expected_end=now + self._left[key],
        )  # fmt: skip
        self.standing.running[ticket] = started
        self.standing.submitted += 1
        return started

    def _enqueue(self, key: str) -> None:
        heapq.heappush(self._ready.setdefault(self._kind(key), []), (self._rank[key], key))

    def _kind(self, key: str) -> "_Kind":
        """Does not change while a trial waits."""
        return self.trials[key].resources, self._suspicions.shunned(key)

    def began(self, ticket: str, now: float) -> None:
        """A ticket's process is there: what it waited for is neither paid for nor part of its expected time."""
        was = self.standing.running.get(ticket)
        if was is not None and not was.begun:
            ends = now + self._left[was.key]
            self.standing.running[ticket] = replace(was, begun=True, started=now, expected_end=ends)

    # What ended -------------------------------------------------------------------------------------------------------

    def ended(self, ticket: str, ending: Ending, now: float) -> None:
        """A ticket's attempt ended. An unknown ticket changes nothing."""
        was = self.standing.running.pop(ticket, None)
        if was is None:
            return
        if (room := self._rooms.get(was.node)) is not None:
            room.give(was.resources, was.devices)
        self.standing.spent_seconds += was.cost(now)
        why_stopped = self.stops.pop(was.key, None)
        if ending.cause is Cause.DONE:
            self._done(was.key, was.node)
        elif ending.cause in (Cause.DIED, Cause.NODE_LOST):
            self._lost(was, ending, why_stopped)
        elif why_stopped:
            self._cancelled(was.key, why_stopped)
        elif ending.cause is Cause.STORAGE:
            self._storage_away(was, now)
        elif ending.cause is Cause.ELSEWHERE:
            heapq.heappush(self._later, (now + ELSEWHERE_SECONDS, self._rank[was.key], was.key))
        elif ending.cause is Cause.MEMORY and was.resources.gpus:
            self._short_of_memory(was.key, ending.reason)
        elif ending.cause is Cause.STOPPED:
            self._enqueue(was.key)
        else:
            self._erred(was, ending.reason)
        self._set_nodes_aside()

    def _done(self, key: str, node: str) -> None:
        self._suspicions.ended_well(key, node)
        self.standing.done.append(key)
        for child in self._children.pop(key, ()):
            self._enqueue(child)

    def _erred(self, was: Running, reason: str | None) -> None:
        key = was.key
        self._suspicions.harmed(key, was.node, died=False)
        self._errors[key] += 1
        if self._errors[key] < TRIES_AFTER_ERROR:
            self._enqueue(key)
        else:
            self._failed(key, reason or "it ended without a reason")

    def _short_of_memory(self, key: str, reason: str | None) -> None:
        """Again with twice the share of a GPU. The batch stays as it is: batch normalisation sees it."""
        trial = self.trials[key]
        if trial.resources.gpus >= 1:
            self._failed(key, f"a whole GPU has too little memory: {reason}")
            return
        larger = replace(trial.resources, gpus=min(1.0, 2 * trial.resources.gpus))
        self.trials[key] = replace(trial, resources=larger)
        self._again(key)

    def _storage_away(self, was: Running, now: float) -> None:
        """As often as it takes, ever later: what was committed is there once the directory is."""
        key, (first, longest) = was.key, STORAGE_SECONDS
        self._suspicions.harmed(key, was.node, died=False)
        wait = min(longest, first * 2 ** self._storage[key])
        self._storage[key] += 1
        self.standing.interruptions[key] = self.standing.interruptions.get(key, 0) + 1
        heapq.heappush(self._later, (now + wait, self._rank[key], key))

    def _lost(self, was: Running, ending: Ending, why_stopped: str | None) -> None:
        """Its process is gone: what the ledger holds decides."""
        key = was.key
        try:
            head = self._ledger.folder(key).head()
        except LedgerError as error:
            self._failed(key, str(error))
            return
        except OSError:
            head = None
        if head is not None and head.result is not None:
            self._done(key, was.node)
        elif why_stopped:
            self._cancelled(key, why_stopped)
        elif ending.cause is Cause.NODE_LOST:
            self._again(key, head)
        else:
            self._died(key, head, was.node, ending.reason)

    def _died(self, key: str, head: Commit | None, node: str, reason: str | None) -> None:
        at = head.iteration if head else 0
        self._suspicions.harmed(key, node, died=True)
        self._deaths[key, at] += 1
        if self._deaths[key, at] < DEATHS_WITHOUT_COMMIT:
            self._again(key, head)
            return
        last = f": {reason}" if reason else ""
        self._failed(
            key, f"its process died {DEATHS_WITHOUT_COMMIT} times after iteration {at} without a new commit{last}"
        )

    def _again(self, key: str, head: Commit | None = None) -> None:
        if head is not None:
            self._left[key] = self._pace[key] * max(0, self.trials[key].iterations - head.iteration)
        self.standing.interruptions[key] = self.standing.interruptions.get(key, 0) + 1
        self._enqueue(key)

    def _failed(self, key: str, reason: str) -> None:
        """The trial has failed, and with it every trial that was to begin from it."""
        self.standing.failed[key] = reason
        for child in self._children.pop(key, ()):
            self._failed(child, f"it begins from {self.trials[key].name}, which failed: {reason}")

    def _set_nodes_aside(self) -> None:
        """Those that are to blame, unless no other node is left; and take back those that were not, after all."""
        for node in self._suspicions.lifted():
            self.standing.set_aside.pop(node, None)
            self._large_enough = {}
        for node, (why, last) in self._suspicions.culprits().items():
            room, others = self._rooms.get(node), {*self._rooms} - {*self.standing.set_aside} - {node}
            if room is not None and others:
                self._suspicions.mark(node)
                self.standing.set_aside[node] = f"{room.node.host}: {why}, {self.trials[last].name} the last"
                self._large_enough = {}

    # What the user asks for -------------------------------------------------------------------------------------------

    def cancel(self, keys: Iterable[str], by: str) -> None:
        """Drop what waits, and have what runs commit and stop; with a trial all that begin from it."""
        asked = set(keys)
        for heap in self._ready.values():
            self._withdraw([key for _, key in heap if key in asked], by)
        self._withdraw([key for _, _, key in self._later if key in asked], by)
        for key in [child for children in self._children.values() for child in children if child in asked]:
            self._cancelled(key, by)
        for each in self.standing.running.values():
            if each.key in asked:
                self.stops[each.key] = by

    def interrupt(self) -> None:
        """Begin nothing more, and have all that runs commit and stop."""
        self.interrupted = True
        self.cancel(list(self.trials), INTERRUPTION)

    def _withdraw(self, keys: Iterable[str], by: str) -> None:
        for key in list(keys):
            self._remove(key)
            self._cancelled(key, by)

    def _remove(self, key: str) -> None:
        """Take a trial that is not running out of whatever it waits in."""
        heap = self._ready.get(self._kind(key), [])
        if heap and heap[0][1] == key:
            heapq.heappop(heap)
        elif (entry := (self._rank[key], key)) in heap:
            heap.remove(entry)
            heapq.heapify(heap)
        else:
            self._later = [each for each in self._later if each[2] != key]
            heapq.heapify(self._later)

    def _cancelled(self, key: str, by: str) -> None:
        if by == BUDGET:
            self.standing.unaffordable.append(key)
        else:
            self.standing.cancelled[key] = by
        for children in self._children.values():
            if key in children:
                children.remove(key)
        for child in self._children.pop(key, ()):
            self._cancelled(child, by if by == BUDGET else f"{by}, with {self.trials[key].name} from which it begins")

    def keep_budget(self, now: float) -> None:
        """Have everything that runs commit and stop, once the budget is spent."""
        if self._budget is None:
            return
        running = self.standing.running.values()
        if self.standing.spent_seconds + sum(each.cost(now) for each in running) >= self._budget:
            self.stops |= {each.key: BUDGET for each in running if each.key not in self.stops}

    def _affordable(self, now: float) -> Callable[[str], bool]:
        """Whether a trial's expected cost is left of the budget, beside what is spent and what runs will spend."""
        if self._budget is None:
            return lambda _: True
        running = self.standing.running.values()
        promised = sum(each.occupied * (max(now, each.expected_end) - each.started) for each in running)
        left = self._budget - self.standing.spent_seconds - promised
        return lambda key: self._left[key] * occupied(self.trials[key].resources) <= left


def _seconds_per_iteration(each: PlannedTrial) -> float:
    return each.expected_seconds / max(1, each.trial.iterations - each.iteration)


def occupied(resources: Resources) -> float:
    """GPUs, or cores where there is none: what a budget pays for."""
    return resources.gpus or resources.cpus
