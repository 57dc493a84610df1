"""`run --until-decided`: after each round the claims are judged, and the arms of undecided ones get more seeds."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ablations.reader import StudyError
from ablations.study import Study, parent

if TYPE_CHECKING:
    from orchestrator.drive import Round
    from orchestrator.planning.plan import Plan
    from orchestrator.queue import Standing
    from orchestrator.studies import RecordedStudy
    from reports.verdicts import Verdict


MOST_SEEDS = 20
"""Of an arm, unless the user says otherwise."""


def refuse_undecidable(study: Study, only: list[str] | None) -> None:
    """Where there is nothing to decide, or only a part of the study would run, it is said before anything begins."""
    if only:
        raise StudyError("--until-decided judges the whole study; leave out --only, or give the one or the other")
    if not study.claims:
        raise StudyError(f"--until-decided: study {study.name} has no claims to decide; write some under `claims`")


def as_far(study: Study, results: Path) -> tuple[Study, int]:
    """The study with the seeds that earlier rounds gave it, and the number of looks so far; as asked if there is none.

    They count if nothing else was asked for then.
    """
    from ablations.trials import recorded
    from orchestrator.studies import read_study

    with suppress(FileNotFoundError):
        before, now = read_study(results, study.name), recorded(study)
        if before.looks > 1 and (before.sha256, list(before.overrides)) == (now.sha256, list(now.overrides)):
            seeds = {arm.name: len(arm.trials) for arm in before.arms}
            return with_seeds(study, {arm.name: seeds.get(arm.name, 0) - arm.seeds for arm in study.arms}), before.looks
    return study, 1


def with_seeds(study: Study, more: Mapping[str, int]) -> Study:
    """With more seeds of these arms, and of those that they are grown from, each seed from its own."""
    arms = [replace(arm, seeds=arm.seeds + max(0, more.get(arm.name, 0))) for arm in study.arms]
    needed = {(parent(arm.network), arm.recipe): arm.seeds for arm in arms if parent(arm.network)}
    return replace(
        study,
        arms=tuple(replace(arm, seeds=max(arm.seeds, needed.get((arm.network, arm.recipe), 0))) for arm in arms),
    )


def looked_at(study: Study, looks: int) -> "RecordedStudy":
    from ablations.trials import recorded

    return replace(recorded(study), looks=looks)


class Rounds:
    """What follows each round of a run: nothing, once no claim is left that more seeds would decide."""

    def __init__(
        self,
        study: Study,
        looks: int,
        results: Path,
        most: int,
        planner_of: "Callable[[Study], Callable[[], Plan]]",
        console: Console,
    ) -> None:
        self._study, self._looks, self._results, self._most = study, looks, results, most
        self._planner_of, self._console = planner_of, console

    @property
    def names(self) -> Mapping[str, str]:
        """Of every trial so far, by its key."""
        record = looked_at(self._study, self._looks)
        return {key: f"{arm.name}.s{seed}" for arm in record.arms for seed, key in arm.trials}

    def following(self, _: "Standing") -> "Round | None":
        """A study with more seeds, or None; what was found is said either way."""
        from orchestrator.ledger import Ledger
        from orchestrator.runs import read_runs
        from reports.claims import judge
        from reports.deciding import pursued, seeds_to_add

        record = looked_at(self._study, self._looks)
        verdicts = judge(record, read_runs(record, Ledger(self._results)))
        more = seeds_to_add(verdicts, {arm.name: arm.seeds for arm in self._study.arms}, self._most)
        self._say(verdicts, pursued(verdicts), more)
        if not more:
            return None
        self._study, self._looks = with_seeds(self._study, more), self._looks + 1
        return looked_at(self._study, self._looks), self._planner_of(self._study)

    def _say(self, verdicts: "list[Verdict]", left: "list[Verdict]", more: Mapping[str, int]) -> None:
        counts = {word: sum(each.verdict == word for each in verdicts) for word in ("holds", "fails", "undecided")}
        said = f"look {self._looks}: {counts['holds']} hold, {counts['fails']} fail, {counts['undecided']} undecided"
        if more:
            arms = ", ".join(f"{seeds} of {arm}" for arm, seeds in more.items())
            said += f"; for {', '.join(each.id for each in left)} seeds are added: {arms}"
        elif left:
            said += f"; {', '.join(each.id for each in left)} would need more than --most-seeds {self._most}"
        elif counts["undecided"]:
            said += ", which no seeds would decide"
        self._console.print(said, highlight=False, markup=False, soft_wrap=True)
