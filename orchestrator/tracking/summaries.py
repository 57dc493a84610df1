"""A study as one run in MLflow: how far it is, what became of its claims, and its page and tables as files."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.studies import RecordedStudy


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is shown of a study beside its trials' runs."""

    study: RecordedStudy
    metrics: Mapping[str, float]
    """As `trials_finished`, `claims_hold`."""
    files: Mapping[str, str]
    """Text of each file by its name, as `report.html`."""

    @property
    def key(self) -> str:
        """What its run is found by, as a trial's by the trial's key."""
        return f"summary.{self.study.name}"

    @property
    def name(self) -> str:
        return f"{self.study.name} (summary)"

    @property
    def experiment(self) -> str:
        """That of the study's first arm: a study over several data sets has its summary in one place."""
        return str(self.study.arms[0].network["data"]) if self.study.arms else self.study.name

    @property
    def tags(self) -> dict[str, str]:
        """What may change from one time to the next; a parameter of MLflow's never does."""
        return {
            "kind": "summary",
            "studies": self.study.name,
            f"study.{self.study.name}": "yes",
            "question": self.study.question[:5000],
            "source": self.study.source[:5000],
            "sha256": self.study.sha256,
            "arms": str(len(self.study.arms)),
            "trials": str(sum(len(arm.trials) for arm in self.study.arms)),
        }

    @property
    def note(self) -> str:
        """What MLflow shows over the run."""
        return (
            f"{self.study.question}\n\nThe page and its tables are among the artifacts. The trials:"
            f" `tags.kind = 'trial' and tags.\"study.{self.study.name}\" = 'yes'`."
        )[:5000]

    @property
    def digests(self) -> Mapping[str, str]:
        """A tag for each file: one that is there already is not sent again."""
        return {f"file.{name}": sha256(text.encode()).hexdigest() for name, text in self.files.items()}
