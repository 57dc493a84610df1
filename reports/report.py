"""A report as plain data, whatever it is then written as: the study, its arms, tables, verdicts and provenance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.arms import MeasuredArm, gather
from reports.claims import judge
from reports.provenance import Fact, facts
from reports.tables import Table, maker
from reports.verdicts import Verdict


@dataclass(frozen=True, kw_only=True)
class Report:
    study: RecordedStudy
    arms: tuple[MeasuredArm, ...]
    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...]
    facts: tuple[Fact, ...]
    about: Mapping[str, str]
    """What the runs cannot say: the program's `version`, the `command` that makes the report."""
    unknown: tuple[str, ...] = ()
    """Tables that the study names and this version does not have."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """One for each trial, in the study's order."""
        return tuple(run for arm in self.arms for run in arm.runs)


def report_of(study: RecordedStudy, runs: Iterable[Run], about: Mapping[str, str]) -> Report:
    """What the runs say of the study. Runs of other studies are left out."""
    recorded = list(runs)
    arms = gather(study, recorded)
    names = study.tables or ("table",)
    return Report(
        study=study,
        arms=arms,
        tables=tuple(table for name in names if (make := maker(name)) for table in make(arms)),
        verdicts=tuple(judge(study, recorded)),
        facts=facts(study, [run for arm in arms for run in arm.runs], about),
        about=about,
        unknown=tuple(name for name in names if maker(name) is None),
    )


def numbers_of(verdict: Verdict) -> str:
    """What a verdict rests on, in one line: its statistic, p value, why it is undecided, and on which runs."""
    chance = ""
    if verdict.p is not None:
        among = "" if verdict.p_corrected is None else f", {verdict.p_corrected:.2g} among {verdict.tested} (Holm)"
        chance = f"p = {verdict.p:.2g}{among}"
    return "; ".join(part for part in (verdict.statistic, chance, verdict.reason, verdict.measured) if part)
