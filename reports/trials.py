"""One trial whole: what it was to do, what came out, and of each attempt how, where and with what it computed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.ledger import Ledger, LedgerError, TrialFolder
from orchestrator.logs import logs, tail
from orchestrator.runs import Curve, Run, probe_summary
from orchestrator.studies import RecordedArm, RecordedStudy
from reports.arms import gather
from reports.figures import FIGURES, Figure
from reports.provenance import described

TAIL_BYTES = 6000
"""Of an attempt's log."""
DRAWN = ("curves", "gradients", "figure-7")
"""Figures of one trial, where this version has them and the trial what they show."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_DEPARTURE = re.compile(r"(?P<name>\w+) .*\(paper (?P<paper>.*)\)")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    name: str
    value: str
    paper: str = ""
    """The paper's value, where it is another."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """`network`, `recipe`, `data`, `result`: values that belong together."""

    title: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of the trial's folder that its last commit names."""

    name: str
    size: int | None
    """Bytes that were committed, or that are there now; None where there is no such file."""
    sha256: str
    """As committed."""


@dataclass(frozen=True, kw_only=True)
class CurveSummary:
    metric: str
    unit: str
    points: int
    last: float
    best: float
    """The lowest value."""
    best_at: int


@dataclass(frozen=True, kw_only=True)
class AttemptFacts:
    number: int
    ended: str
    """`finished`, `error`, `killed`, `at work`."""
    reason: str
    record: Mapping[str, str]
    """Everything that was recorded of it, in words."""
    traceback: str
    """Of the error that ended it."""
    log: str
    """The end of what it printed."""


@dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """Everything that is known of one trial."""

    run: Run
    alive: bool
    """Whether an attempt is at work now."""
    arm: RecordedArm
    studies: tuple[RecordedStudy, ...]
    """Those that ask for it, as they were last run."""
    groups: tuple[Group, ...]
    files: tuple[File, ...]
    attempts: tuple[AttemptFacts, ...]

    @property
    def paper(self) -> bool | None:
        """Whether it is the paper's network under its recipe; None where no study's record says."""
        return not self.arm.deviations if self.studies else None

    @property
    def standing(self) -> str:
        """The outcome in a word; `partial` where the end was not reached and no attempt is at work."""
        return "partial" if self.run.outcome.value == "running" and not self.alive else self.run.outcome.value

    @property
    def curves(self) -> tuple[CurveSummary, ...]:
        return tuple(_summary(each) for each in self.run.curves.values())

    @property
    def probes(self) -> tuple[Mapping[str, float], ...]:
        """What each probe comes down to, with its `iteration`."""
        return tuple({"iteration": each["iteration"]} | probe_summary(each) for each in self.run.probes)


Askers = Sequence[tuple[RecordedStudy, RecordedArm]]
"""The studies that ask for a trial, each with the arm that it belongs to there."""


def askers(studies: Iterable[RecordedStudy]) -> Mapping[str, Askers]:
    """By the key of each trial that a study asks for."""
    found: dict[str, list[tuple[RecordedStudy, RecordedArm]]] = {}
    for study in studies:
        for arm in study.arms:
            for _, key in arm.trials:
                found.setdefault(key, []).append((study, arm))
    return found


def trial_facts(run: Run, arm: RecordedArm, ledger: Ledger, asked_by: Askers) -> TrialFacts:
    """`run` as the ledger has it; `arm` is what the ledger says of its arm, where no study asks for it."""
    folder = ledger.folder(run.key)
    known = asked_by[0][1] if asked_by else arm
    alive = folder.alive()
    return TrialFacts(
        run=run,
        alive=alive,
        arm=known,
        studies=tuple(study for study, _ in asked_by),
        groups=_groups(run, _params(run, folder), known.deviations),
        files=_files(folder),
        attempts=_attempts(run, folder, alive),
    )


def _params(run: Run, folder: TrialFolder) -> Mapping[str, Any]:
    """What the trial's key was computed from; where its record is damaged, what the study's says."""
    try:
        return (folder.about() or {}).get("params", run.params)
    except (LedgerError, OSError):
        return run.params


def _groups(run: Run, params: Mapping[str, Any], deviations: Sequence[str]) -> tuple[Group, ...]:
    papers = {found["name"]: found["paper"] for each in deviations if (found := _DEPARTURE.fullmatch(each))}
    rest = {name: value for name, value in params.items() if not isinstance(value, Mapping)}
    parts = {name: value for name, value in params.items() if isinstance(value, Mapping)}
    recipe = {"recipe": parts.pop("recipe")} if "recipe" in parts else {}
    every = parts | {"trial": {"key": run.key} | rest} | ({"result": run.result} if run.result else {}) | recipe
    return tuple(
        Group(
            title=title,
            parameters=tuple(
                _parameter(name, value, papers if title in ("network", "recipe") else {})
                for name, value in values.items()
            ),
        )
        for title, values in every.items()
    )


def _parameter(name: str, value: Any, papers: Mapping[str, str]) -> Parameter:
    return Parameter(name=str(name), value=written(value), paper=papers.get(str(name), ""))


def written(value: Any) -> str:
    """A value as a study file has it, in one line; numbers that were measured to six digits."""
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else described(value)


def _files(folder: TrialFolder) -> tuple[File, ...]:
    try:
        head = folder.head()
    except (LedgerError, OSError):
        return ()
    if head is None:
        return ()
    beside = {head.checkpoint: head.checkpoint_sha256, **(head.result or {}).get("kept", {})}
    return (
        *[File(name=name, size=length, sha256=sha256) for name, (length, sha256) in sorted(head.streams.items())],
        *[File(name=name, size=_size(folder, name), sha256=str(sha256)) for name, sha256 in beside.items()],
    )


def _size(folder: TrialFolder, name: str) -> int | None:
    try:
        return (folder.path / name).lstat().st_size
    except OSError:
        return None


def _attempts(run: Run, folder: TrialFolder, alive: bool) -> tuple[AttemptFacts, ...]:
    tails = {int(path.stem): _printed(tail(path, TAIL_BYTES)) for path in logs(folder)}
    last = len(run.attempts)
    return tuple(
        AttemptFacts(
            number=number,
            ended=str(each.get("cause") or ("at work" if alive and number == last else "killed")),
            reason=str(each.get("reason") or ""),
            record={str(name): written(value) for name, value in each.items() if _told(name, value)},
            traceback=str(each.get("traceback") or ""),
            log=tails.get(number, ""),
        )
        for number, each in enumerate(run.attempts, start=1)
    )


def _told(name: str, value: Any) -> bool:
    """Whether it says something that is not said elsewhere."""
    return name not in ("cause", "reason", "traceback") and value not in (None, "", [], {})


def _printed(text: str) -> str:
    """What a terminal would show of it: without colours, and of a line that was written over its last state."""
    lines = _CONTROL.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).strip("\n")


def _summary(curve: Curve) -> CurveSummary:
    best = min(range(len(curve.values)), key=lambda place: curve.values[place])
    return CurveSummary(
        metric=curve.metric,
        unit=curve.unit,
        points=len(curve.values),
        last=curve.values[-1],
        best=curve.values[best],
        best_at=curve.iterations[best],
    )


def trial_figures(trial: TrialFacts) -> tuple[Figure, ...]:
    """The trial's curves, and what its probes saw, as figures of a study that has this trial alone."""
    arm = replace(trial.arm, trials=((trial.run.seed, trial.run.key),))
    alone = RecordedStudy(
        name=trial.run.name, question="", source="", text="", sha256="", overrides=(), arms=(arm,), tables=(),
        figures=(), claims=(),
    )  # fmt: skip
    arms = gather(alone, [trial.run])
    names = [name for name in DRAWN if name in FIGURES and (name == "curves" or trial.run.probes)]
    return tuple(figure for name in names for figure in FIGURES[name](arms) if figure.panels)
