"""The table of runs: a row for each trial, of which a hundred are drawn and all are on the page as data."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from models.spec import Layout
from orchestrator.runs import Run
from reports.arms import MeasuredArm
from reports.cells import COSTS, Metric, title
from reports.names import anchor, clean
from reports.page.packing import packed

SHOWN = 100
"""Rows of a table that are drawn at once."""
Kind = Literal["trial", "text", "count", "percent", "cost", "digest", "key", "mlflow"]
LOOKS: Mapping[str, str] = {
    **dict.fromkeys(("count", "percent", "cost"), "right"),
    **dict.fromkeys(("key", "mlflow", "digest"), "code"),
}
USUAL = (Metric.LAST_TEST, Metric.BEST_TEST, Metric.TAIL_TRAIN)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~%/-]+")
_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is found: on this page, and beyond it."""

    row: int
    anchor: str


@dataclass(frozen=True, kw_only=True)
class RunColumn:
    title: str
    kind: Kind
    read: Callable[[Run], Any]
    metric: Metric | None = None

    @property
    def numeric(self) -> bool:
        return self.kind in ("count", "percent", "cost")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a row that is drawn without a script."""

    text: str
    kind: Kind
    href: str = ""
    whole: str = ""
    """What the text is the beginning of."""

    @property
    def look(self) -> str:
        """The class of its element."""
        return LOOKS.get(self.kind, self.kind)


def places(arms: Sequence[MeasuredArm]) -> dict[str, Place]:
    """The row and the anchor of each run, by its key."""
    runs = [run for arm in arms for run in arm.runs]
    return {run.key: Place(row=row, anchor=anchor("run", run.key)) for row, run in enumerate(runs)}


def _number(value: Any, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _told(run: Run, metric: Metric) -> float | None:
    return _number((run.costs if metric in COSTS else run.result).get(metric.value), 4)


def _metric(metric: Metric, layout: Layout) -> RunColumn:
    cost, name = metric in COSTS, title(metric, layout)
    return RunColumn(
        title=name if cost else f"{name} %",
        kind="cost" if cost else "percent",
        read=lambda run: _told(run, metric),
        metric=metric,
    )


def columns(runs: Sequence[Run], shown: Iterable[Metric]) -> tuple[RunColumn, ...]:
    """What is told of every run: the usual errors, those that a table of the page shows, and where it is found."""
    metrics = dict.fromkeys([*USUAL, *[each for each in shown if each is not Metric.SECONDS]])
    told = [each for each in metrics if each is Metric.LAST_TEST or any(_told(run, each) is not None for run in runs)]
    layouts = {run.params.get("network", {}).get("layout") for run in runs}
    layout: Layout = "imagenet" if layouts == {"imagenet"} else "cifar"
    found = [
        RunColumn(title="trial", kind="trial", read=lambda run: clean(run.name)),
        RunColumn(title="seed", kind="count", read=lambda run: run.seed),
        RunColumn(title="outcome", kind="text", read=lambda run: run.outcome.value),
        *[_metric(each, layout) for each in told],
        RunColumn(title="iterations", kind="count", read=lambda run: run.iteration),
        RunColumn(
            title="seconds", kind="cost", read=lambda run: _number(run.seconds or None, 1), metric=Metric.SECONDS
        ),
        RunColumn(title="attempts", kind="count", read=lambda run: len(run.attempts)),
        RunColumn(title="key", kind="key", read=lambda run: clean(run.key)),
        RunColumn(
            title="MLflow run", kind="mlflow", read=lambda run: clean(run.mlflow_run) if run.mlflow_run else None
        ),
        RunColumn(title="sha256 of the weights", kind="digest", read=_weights),
    ]
    return tuple(each for each in found if each.kind not in ("digest", "mlflow") or any(map(each.read, runs)))


def _weights(run: Run) -> str | None:
    found = run.result.get("weights_sha256")
    return clean(str(found)) if found else None


@dataclass(frozen=True, kw_only=True)
class Links:
    """Where rows lead to beyond the page."""

    pages: Mapping[str, str]
    """Of trials, by key, as paths from this page."""
    server: str
    """Of MLflow; empty without one."""

    def page(self, run: Run) -> str:
        """Empty where there is none, or none that is a plain path."""
        path = self.pages.get(run.key, "")
        return path if _PLAIN_PATH.fullmatch(path) else ""

    def mlflow(self, run: Run) -> str:
        known = self.server and run.mlflow_run and _ID.fullmatch(run.mlflow_run)
        return f"{self.server}/#/runs/{run.mlflow_run}" if known else ""


def web_address(address: str) -> str:
    """A server's address as a page may link to it; empty for what is none, or holds a password."""
    try:
        parts = urlsplit(address)
        fine = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        return ""
    plain = re.fullmatch(r"[A-Za-z0-9._:/\[\]-]+", address)
    return address.rstrip("/") if fine and plain else ""


def _field(run: Run, column: RunColumn, links: Links) -> Field:
    value = column.read(run)
    text, href, whole = _text(value, column.kind), "", ""
    if column.kind == "trial":
        href = links.page(run) or f"#{anchor('run', run.key)}"
    elif column.kind == "key":
        href = f"#{anchor('run', run.key)}"
    elif column.kind == "mlflow":
        href = links.mlflow(run)
    elif column.kind == "digest" and value:
        text, whole = value[:12], value
    return Field(text=text, kind=column.kind, href=href, whole=whole)


def _text(value: Any, kind: Kind) -> str:
    if value is None:
        return ""
    if kind == "percent":
        return f"{value:.2f}"
    return f"{value:,.1f}" if kind == "cost" else f"{value:,}" if kind == "count" else str(value)


@dataclass(frozen=True, kw_only=True)
class DrawnRun:
    anchor: str
    fields: tuple[Field, ...]
    notes: str


def drawn(runs: Sequence[Run], told: Sequence[RunColumn], links: Links) -> tuple[DrawnRun, ...]:
    """The first rows, which are there without a script."""
    return tuple(
        DrawnRun(
            anchor=anchor("run", run.key),
            fields=tuple(_field(run, column, links) for column in told),
            notes=_notes(run),
        )
        for run in runs[:SHOWN]
    )


def _notes(run: Run) -> str:
    return "; ".join(clean(note) for note in run.notes)


def data(arms: Sequence[MeasuredArm], told: Sequence[RunColumn], links: Links) -> dict[str, Any]:
    """All rows, column by column, for the page's script. A trial is named by its arm and seed unless it says else."""
    pairs = [(number, run) for number, arm in enumerate(arms) for run in arm.runs]
    runs = [run for _, run in pairs]
    names = {arm: clean(measured.arm.name) for arm, measured in enumerate(arms)}
    return {
        "rows": len(runs),
        "arms": list(names.values()),
        "armAnchors": [anchor("arm", arm.arm.name) for arm in arms],
        "arm": packed([number for number, _ in pairs]),
        "names": {
            row: clean(run.name) for row, (arm, run) in enumerate(pairs) if clean(run.name) != _name(names[arm], run)
        },
        "anchors": {
            row: anchor("run", run.key) for row, run in enumerate(runs) if anchor("run", run.key) != f"run-{run.key}"
        },
        "notes": {row: _notes(run) for row, run in enumerate(runs) if run.notes},
        "pages": packed([links.page(run) for run in runs]) if any(map(links.page, runs)) else [],
        "server": links.server,
        "columns": [_column(each, runs) for each in told],
    }


def _name(arm: str, run: Run) -> str:
    return f"{arm}.s{run.seed}"


def _column(column: RunColumn, runs: Sequence[Run]) -> dict[str, Any]:
    found = {"title": column.title, "kind": column.kind, "metric": column.metric.value if column.metric else None}
    return found if column.kind == "trial" else found | {"values": packed([column.read(run) for run in runs])}
