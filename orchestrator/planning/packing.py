"""What each trial gets: a share of a GPU, one, or several with a replica on each, so that the last of all ends soonest.

The choice is made before a run, by trying it: the simulator replays the run's own decisions for each candidate. A trial
that has begun keeps its number of replicas, because its bits depend on it.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from orchestrator.ledger import Ledger
from orchestrator.placement import Node
from orchestrator.planning.cost import Costs, Origin
from orchestrator.planning.fitting import earliest
from orchestrator.planning.plan import Plan, PlannedTrial, ordered, survey
from orchestrator.planning.simulate import Simulation, Way, capacity, lower_bound, simulate
from orchestrator.trial import Resources, State, Trial

STRETCHES = (1.0, 1.03, 1.06, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 4.0, float("inf"))
"""Times the lower bound: the deadlines by which each trial is to end, at the least cost, of the candidates."""
SIMULATED_TRIALS = 20_000
"""How many trials all candidates of a plan may have together: a plan of any size takes seconds."""
CANDIDATES = (3, 400)
"""Fewest and most candidates of a plan."""
NORM = 12
"""The larger, the less do ends before the last count."""
MOST_FITTED = 50_000
"""Trials times GPUs: with more, the longest first is close to the bound."""
LATEST = 1.5
"""Times the lower bound: the latest deadline of an order that fits trials together."""
TOLERANCE = 0.01
"""Share by which the search may get worse on its way, at its beginning; at its end it may not."""
LEAST_SHARE = 0.05
"""Of the work; an arm with less is no lever."""
CLOSE = 1.02
"""Times the lower bound: nothing better is looked for."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """Resources that a trial may get, and how long what is left of it then takes."""

    resources: Resources
    seconds: float
    origin: Origin

    @cached_property
    def way(self) -> Way:
        return Way(occupied=self.resources.gpus or self.resources.cpus, seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class Lever:
    """A change, and when the last trial would end with it."""

    what: str
    """As `one more node of 8 GPUs`."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Packed(Plan):
    """A plan whose trials have the resources that they are to get, and what a run of it would look like.

    Open trials stand in the order in which they are to start: the longest first, unless another order ends sooner.
    """

    hardware: str
    """Model on which the expected times are based; empty where nothing is known of it."""
    nodes: Sequence[Node]
    simulation: Simulation
    bound_seconds: float
    """No schedule of these trials on these nodes, and of so many at a time, ends before."""
    written: Simulation
    """The same trials as a loop over the study would run them: in its order, each on a GPU or a core of its own, or on
    the part of a GPU that was asked for."""
    case: "Case"
    """To ask what would change it."""

    @property
    def simulated(self) -> list[PlannedTrial]:
        """Those that the simulation runs."""
        keys = {each.key for each in self.simulation.spans} | {each.key for each in self.simulation.unplaced}
        return [each for each in self.trials if each.trial.key in keys]

    @cached_property
    def levers(self) -> list[Lever]:
        """Changes that would help, the one that helps most first."""
        found = [lever for lever in self.case.levers(self.simulation) if lever.seconds < self.simulation.makespan]
        return sorted(found, key=lambda lever: lever.seconds)


def prepare(
    trials: Iterable[Trial],
    ledger: Ledger,
    nodes: Sequence[Node],
    hardware: str = "",
    per_gpu: int | None = None,
    *,
    most: int | None = None,
    with_blocked: bool = False,
) -> Packed:
    """Plan the trials on these nodes, and give each its resources.

    `hardware` is the model of their GPUs, or of their processor where trials use no GPU; without it, what Ray says of
    the nodes, or else the GPU that the ledger measured most. `per_gpu` is the number of trials on one GPU; None: it is
    chosen. `most` is the number of trials at a time. `with_blocked` simulates also what cannot run for want of data.
    """
    listed, costs = survey(trials, ledger, hardware or next((node.gpu for node in nodes if node.gpu), ""))
    by_key = {each.trial.key: each for each in listed}
    runs = [each for each in listed if _would_run(each, by_key, with_blocked)]
    case = Case(runs=runs, costs=costs, nodes=nodes, per_gpu=per_gpu, most=most)
    chosen, simulation = case.pack()
    packed = {each.trial.key: each for each in chosen}
    rest = [each for each in listed if each.trial.key not in packed]
    return Packed(
        trials=[*chosen, *ordered(rest)], hardware=costs.hardware, nodes=nodes, simulation=simulation,
        bound_seconds=case.bound, written=case.written(), case=case,
    )  # fmt: skip


def _would_run(each: PlannedTrial, by_key: Mapping[str, PlannedTrial], with_blocked: bool) -> bool:
    """Whether a run would submit it, or would if it had the data."""
    if each.state is not State.BLOCKED:
        return each.state is not State.DONE
    if not with_blocked or each.damaged:
        return False
    parent = by_key.get(each.trial.after or "")
    if parent is None:
        return each.trial.after is None
    return parent.state is State.DONE or _would_run(parent, by_key, with_blocked)


Choice = Mapping[str, Option]
"""By key, what each trial gets."""


class Case:
    """Trials, what they would cost, and the nodes that they are to run on."""

    def __init__(
        self,
        *,
        runs: Sequence[PlannedTrial],
        costs: Costs,
        nodes: Sequence[Node],
        per_gpu: int | None,
        most: int | None,
        wider: frozenset[str] = frozenset(),
    ) -> None:
        self._runs, self._costs, self._nodes, self._per_gpu, self._most = runs, costs, nodes, per_gpu, most
        self._wider = wider
        """Arms that may have as many replicas as a node has GPUs, whatever their recipe says."""
        self._by_key = {each.trial.key: each for each in runs}
        self._after = {each.trial.key: each.trial.after for each in runs}
        self._options = {each.trial.key: self._worthwhile(each) for each in runs}
        ways = {key: [option.way for option in options] for key, options in self._options.items()}
        self._on_gpus = any(each.trial.resources.gpus for each in runs)
        self._places = capacity(nodes, self._on_gpus)
        self.bound = lower_bound(ways, self._after, self._places, most)
        self._tries = min(max(SIMULATED_TRIALS // max(1, len(runs)), CANDIDATES[0]), CANDIDATES[1])

    # What a trial may get ---------------------------------------------------------------------------------------------

    def _worthwhile(self, each: PlannedTrial) -> list[Option]:
        """The fastest first; those that are neither faster nor cheaper than another are left out."""
        found: list[Option] = []
        for option in sorted(self._all(each), key=lambda option: (option.seconds, option.way.area)):
            if not found or option.way.area < found[-1].way.area * (1 - 1e-9):
                found.append(option)
        return found

    def _all(self, each: PlannedTrial) -> Iterator[Option]:
        left = each.trial.iterations - each.iteration
        for resources in self._resources(each):
            seconds, origin = self._costs.iteration(each.trial, resources)
            yield Option(resources=resources, seconds=seconds * left, origin=origin)

    def _resources(self, each: PlannedTrial) -> Iterator[Resources]:
        trial = each.trial
        largest = max((node.gpus for node in self._nodes), default=0)
        if each.replicas:
            counts: Sequence[int] = (each.replicas,)
        elif self._per_gpu and self._per_gpu > 1:
            counts = (1,)
        elif trial.arm in self._wider:
            counts = [2**power for power in range(largest.bit_length())]
        else:
            counts = trial.replica_counts
        if not trial.resources.gpus:
            one = each.replicas or 1
            yield replace(trial.resources, cpus=trial.resources.cpus * one, replicas=one)
            return
        for replicas in [count for count in counts if count <= largest] or [min(counts)]:
            if replicas > 1:
                yield Resources(cpus=replicas, gpus=replicas, replicas=replicas)
                continue
            for sharing in self._sharings(trial):
                yield Resources(gpus=1 / sharing)

    def _sharings(self, trial: Trial) -> list[int]:
        if self._per_gpu:
            return [self._per_gpu]
        cores = max((node.cpus / node.gpus for node in self._nodes if node.gpus), default=1)
        return [each for each in self._costs.sharings(trial) if each <= max(1, cores)]

    # What is best -----------------------------------------------------------------------------------------------------

    def pack(self) -> tuple[list[PlannedTrial], Simulation]:
        """The trials in the order in which they are to start, with their resources, and the run that this makes."""
        search = _Search(self._simulated, self.bound, self._tries)
        for choice in self._candidates():
            if not search.goes_on:
                break
            given = [_given(each, choice[each.trial.key]) for each in self._runs]
            for before in ORDERS:
                search.see(choice, [each.trial.key for each in ordered(given, before)])
            if self._on_gpus and search.goes_on and len(given) * self._places < MOST_FITTED:
                latest = min(search.simulation.makespan, LATEST * self.bound)
                starts = earliest(given, self._nodes, self.bound, latest)
                if starts is not None:
                    search.see(choice, sorted(starts, key=starts.__getitem__))
        self._improve(search)
        return search.planned, search.simulation

    def _candidates(self) -> Iterator[Choice]:
        """For each of some deadlines, what of each trial's options is cheapest and ends by then; once with all options,
        and once without those that occupy less than some share of a GPU, or than some GPUs."""
        seen: list[Choice] = []
        levels = sorted({option.way.occupied for options in self._options.values() for option in options})
        for level, stretch in product(levels, STRETCHES):
            chosen = {
                id(options): _cheapest(_from(options, level), stretch * self.bound)
                for options in self._options.values()
            }
            choice = {key: chosen[id(options)] for key, options in self._options.items()}
            if choice not in seen:
                seen.append(choice)
                yield choice

    def _improve(self, search: "_Search") -> None:
        """Change what one trial gets, or when it starts, and go on from there unless it is much worse."""
        dice = random.Random(len(self._runs))  # noqa: S311 - the same trials get the same plan
        several = [key for key, options in self._options.items() if len(options) > 1]
        while search.goes_on and several:
            choice, order = search.choice, list(search.order)
            if dice.random() < 0.5:
                key = dice.choice(several)
                choice = {**choice, key: dice.choice(self._options[key])}
            else:
                key = order.pop(dice.randrange(len(order)))
                order.insert(dice.randrange(len(order) + 1), key)
            search.see(choice, order, tolerance=dice.random())

    def _simulated(self, choice: Choice, order: Sequence[str]) -> tuple[list[PlannedTrial], Simulation]:
        planned = [_given(self._by_key[key], choice[key]) for key in order]
        return planned, simulate(planned, self._nodes, most=self._most)

    def written(self) -> Simulation:
        """In the order given, each with as few replicas as it may have, on the largest share of a GPU that it may get:
        one that the bound holds for too."""
        planned = []
        for each in self._runs:
            one = min(self._all(each), key=lambda option: (option.resources.replicas, -option.resources.gpus))
            planned.append(_given(each, one))
        return simulate(planned, self._nodes, most=self._most)

    # What would change it ---------------------------------------------------------------------------------------------

    def levers(self, now: Simulation) -> Iterator[Lever]:
        """Each is simulated."""
        if not now.spans:
            return
        node = max(self._nodes, key=lambda node: (node.gpus, node.cpus))
        size = Resources(cpus=node.cpus, gpus=node.gpus if self._on_gpus else 0).words
        more = replace(node, id=f"{node.id} again")
        yield Lever(what=f"one more node of {size}", seconds=self._changed(nodes=[*self._nodes, more]))
        if self._most is not None:
            yield Lever(
                what=f"{2 * self._most} trials at a time in place of {self._most}",
                seconds=self._changed(most=2 * self._most),
            )
        arms = {each.trial.key: each.trial.arm for each in self._runs}
        work: dict[str, float] = {}
        for span in now.spans:
            work[arms[span.key]] = work.get(arms[span.key], 0.0) + span.occupied * (span.expected_end - span.started)
        dearest = max(work, key=lambda arm: work[arm])
        share = work[dearest] / sum(work.values())
        if len(work) > 1 and share >= LEAST_SHARE:
            rest = [each for each in self._runs if each.trial.arm != dearest]
            yield Lever(
                what=f"leave out {dearest}, which is {share:.0%} of the work".replace("%", " %"),
                seconds=self._changed(runs=rest),
            )
        last = max(now.spans, key=lambda span: (span.expected_end, span.expected_end - span.started))
        trial = next(each.trial for each in self._runs if each.trial.key == last.key)
        if self._on_gpus and trial.replica_counts == (1,) and node.gpus > 1 and not self._per_gpu:
            yield Lever(
                what=f"let {trial.arm}, whose recipe allows one replica, train on several GPUs",
                seconds=self._changed(wider=frozenset({trial.arm})),
            )

    def _changed(
        self,
        nodes: Sequence[Node] | None = None,
        runs: Sequence[PlannedTrial] | None = None,
        wider: frozenset[str] = frozenset(),
        most: int | None = None,
    ) -> float:
        case = Case(
            runs=self._runs if runs is None else runs, costs=self._costs, nodes=nodes or self._nodes,
            per_gpu=self._per_gpu, most=most or self._most, wider=wider,
        )  # fmt: skip
        return case.pack()[1].makespan


Before = Callable[[PlannedTrial], float]
"""What comes first, before length decides."""


def _length(_: PlannedTrial) -> float:
    return 0.0


def _width(each: PlannedTrial) -> float:
    return -max(1.0, each.trial.resources.gpus)


def _area(each: PlannedTrial) -> float:
    return -max(1.0, each.trial.resources.gpus) * each.expected_seconds


ORDERS: Sequence[Before] = (_length, _width, _area)
"""By length, what waits for a trial counted; gangs before others; by GPU-seconds."""


class _Search:
    """The best of the candidates that were seen."""

    def __init__(
        self,
        simulated: Callable[[Choice, Sequence[str]], tuple[list[PlannedTrial], Simulation]],
        bound: float,
        tries: int,
    ) -> None:
        self._simulated, self._bound, self._tries, self._left = simulated, bound, tries, tries
        self.choice: Choice = {}
        self.order: Sequence[str] = ()
        self.planned: list[PlannedTrial] = []
        self.simulation = Simulation(spans=(), unplaced=(), nodes=())
        self._stand: tuple[int, float] | None = None
        self._least: tuple[float, ...] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether there is something better to look for, and time for it."""
        return self._left > 0 and (self._least is None or self.simulation.makespan > CLOSE * self._bound)

    def see(self, choice: Choice, order: Sequence[str], tolerance: float = 0.0) -> None:
        """Simulate it, and go on from there if it is better than where we stand, or not much worse; ever less worse
        is borne. `tolerance` is 0 to 1."""
        if not self.goes_on:
            return
        self._left -= 1
        planned, simulation = self._simulated(choice, order)
        score = (len(simulation.unplaced), _lateness(simulation))
        if self._stand is not None:
            unplaced, late = self._stand
            borne = TOLERANCE * tolerance * self._left / self._tries
            if score > (unplaced, late * (1 + borne)):
                return
        self._stand, self.choice, self.order = score, choice, order
        least = (len(simulation.unplaced), simulation.makespan, simulation.occupied_seconds)
        if self._least is None or least < self._least:
            self._least, self.planned, self.simulation = least, planned, simulation


def _lateness(simulation: Simulation) -> float:
    """The makespan, and a little of every other end of a GPU: with many that end last, one that ends sooner is
    progress, which the makespan alone does not show."""
    ends: dict[tuple[str, int], float] = {}
    for each in simulation.spans:
        for device in each.devices:
            ends[each.node, device] = max(ends.get((each.node, device), 0.0), each.expected_end)
    makespan = simulation.makespan
    if not makespan:
        return 0.0
    return makespan * sum((end / makespan) ** NORM for end in ends.values()) ** (1 / NORM) if ends else makespan


def _from(options: Sequence[Option], level: float) -> Sequence[Option]:
    """Those that occupy at least so much; the widest if none does."""
    return [each for each in options if each.way.occupied >= level] or options[:1]


def _cheapest(options: Sequence[Option], deadline: float) -> Option:
    """Options are the fastest first, and ever cheaper; the fastest if none ends by the deadline."""
    return next((each for each in reversed(options) if each.seconds <= deadline * (1 + 1e-9)), options[0])


def _given(each: PlannedTrial, option: Option) -> PlannedTrial:
    return replace(
        each,
        trial=replace(each.trial, resources=option.resources),
        expected_seconds=option.seconds,
        origin=option.origin,
    )
