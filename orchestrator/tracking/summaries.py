"""A study as one run in MLflow: how far it is, what became of its claims, and its page and tables as files."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    def name(self) -> str:
        return f"{self.study.name} (summary)"

    @property
    def experiment(self) -> str:
        """That of the study's first arm: a study over several data sets has its summary in one place."""
        return str(self.study.arms[0].network["data"]) if self.study.arms else self.study.name

    @property
    def tags(self) -> dict[str, str]:
        return {
            "kind": "summary",
            "summary.of": self.study.name,
            f"study.{self.study.name}": "yes",
            "question": self.study.question[:5000],
            "source": self.study.source[:5000],
            "study.sha256": self.study.sha256,
            "mlflow.note.content": (
                f"{self.study.question}\n\nThe page and its tables are among the artifacts. The trials:"
                f" `tags.kind = 'trial'` and the tag `study.{self.study.name}`."
            ),
        }
