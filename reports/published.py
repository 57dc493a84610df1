"""The paper's own numbers (arXiv 1512.03385v1), typed. Digits are kept as printed: 8.80 stays 8.80."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from models.spec import Shortcut
from orchestrator.runs import Curve

PaperFigure = Literal["fig1", "fig4", "fig6"]


def _rows(name: str) -> list[dict[str, str]]:
    text = files("reports").joinpath("paper", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@dataclass(frozen=True, kw_only=True)
class Table6Row:
    """One row of Table 6: classification error on the CIFAR-10 test set."""

    method: str
    layers: int | None
    params: str
    """As printed: `0.27M`; empty where the paper prints none."""
    error: str
    """As printed, percent: the only run, or the best of several."""
    mean: str
    """Mean over `runs`, where the paper prints one; empty elsewhere."""
    std: str
    source: str

    @property
    def quoted(self) -> bool:
        """Whether the paper took the row from other work."""
        return self.method != "ResNet"

    @property
    def printed(self) -> str:
        """`6.43 (6.61±0.16)`, `8.75`."""
        return f"{self.error} ({self.mean}±{self.std})" if self.mean else self.error

    @property
    def comparable(self) -> float:
        """What a mean over seeds is compared with: the mean where the paper gives one, else its only run."""
        return float(self.mean or self.error)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of one network of Table 1."""

    depth: int
    name: str
    """`conv2_x`; the classifier's is `head`."""
    output: str
    """`56x56`."""
    layers: tuple[str, ...]
    """Of one block: `3x3,64`."""
    repeats: int
    flops: str
    """Of the whole network, as `1.8e9`."""


@dataclass(frozen=True, kw_only=True)
class ImageNetRow:
    """A model and its errors in percent, as printed; empty where the paper prints none. Tables 3, 4 and 5."""

    method: str
    shortcut: Shortcut | None
    """None where the paper took the row from other work, and for an ensemble."""
    depth: int | None
    top1: str
    top5: str
    split: str
    """`ImageNet val`, `ImageNet test`."""
    members: str
    """Of an ensemble."""
    origin: str
    """`this paper`, `quoted [41]`."""

    @property
    def quoted(self) -> bool:
        """Whether the paper took the row from other work, or tested a network of others."""
        return self.origin != "this paper"


@dataclass(frozen=True, kw_only=True)
class Table2Row:
    """Top-1 error on the ImageNet validation set, 10-crop, percent as printed."""

    depth: int
    plain: str
    resnet: str
    """With option A."""


@dataclass(frozen=True, kw_only=True)
class PaperCurve:
    """A curve read off one of the paper's figures, so inexact by about 0.1 point."""

    figure: str
    panel: Literal["left", "middle", "right"]
    shortcut: Shortcut
    depth: int
    curve: Curve
    note: str


@dataclass(frozen=True, kw_only=True)
class PlainFact:
    """How a plain CIFAR-10 network ends in Figure 6; the paper prints no table of them."""

    depth: int
    test_error: str
    """Percent, `13.27`, or `>60` where the paper only says so."""
    test_uncertainty: float | None
    train_error: str
    """Percent, mean over the last 10k iterations."""
    train_uncertainty: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class PaperClaim:
    """A sentence of the paper that can be tested, with the rule that decides it."""

    id: str
    text: str
    source: str
    paper_value: str
    needs: str
    """The runs that the rule asks for."""
    statistic: str
    rule: str
    tier: str
    """S structural, M micro, C CIFAR, I ImageNet, D detection."""
    note: str


@cache
def table_6() -> tuple[Table6Row, ...]:
    """In the paper's order."""
    return tuple(
        Table6Row(
            method=row["method"],
            layers=int(row["layers"]) if row["layers"] else None,
            params=row["params_paper"],
            error=row["error_best_or_single"],
            mean=row["error_mean"],
            std=row["error_std"],
            source=row["source"],
        )
        for row in _rows("table6_cifar10")
    )


@cache
def table_1() -> tuple[Stage, ...]:
    """By depth, and from the input on."""
    return tuple(
        Stage(
            depth=int(row["depth"]),
            name=row["stage"],
            output=row["output_size"],
            layers=tuple(row["block_layers"].split(";")),
            repeats=int(row["repeats"]),
            flops=row["flops_paper"],
        )
        for row in _rows("table1_architectures")
    )


@cache
def table_2() -> tuple[Table2Row, ...]:
    """In the paper's order."""
    return tuple(
        Table2Row(depth=int(row["layers"]), plain=row["plain"], resnet=row["resnet"])
        for row in _rows("table2_plain_vs_resnet")
    )


def _imagenet_rows(name: str) -> tuple[ImageNetRow, ...]:
    return tuple(
        ImageNetRow(
            method=row.get("method") or row["model"],
            shortcut=_shortcut(row) if row["origin"] == "this paper" else None,
            depth=int(row["depth"]) if row.get("depth") else None,
            top1=row.get("top1_error", ""),
            top5=row["top5_error"],
            split=row["split"],
            members=row.get("members", ""),
            origin=row["origin"],
        )
        for row in _rows(name)
    )


def _shortcut(row: Mapping[str, str]) -> Shortcut | None:
    if row.get("family") == "plain":
        return "none"
    return row.get("option") or None  # pyright: ignore[reportReturnType]  # checked by a test over the whole files


@cache
def table_3() -> tuple[ImageNetRow, ...]:
    """10-crop, in the paper's order."""
    return _imagenet_rows("table3_imagenet_10crop")


@cache
def table_4() -> tuple[ImageNetRow, ...]:
    """Best single models, several scales, in the paper's order."""
    return _imagenet_rows("table4_single_model")


@cache
def table_5() -> tuple[ImageNetRow, ...]:
    """Ensembles, top-5 on the test server, in the paper's order."""
    return _imagenet_rows("table5_ensembles")


CURVES: Mapping[str, str] = {"train": "train_error", "test": "test_error", "val_center_crop": "test_error"}
"""What a figure's curves are among the metrics of a trial; ImageNet is tested on its validation set."""


def _curve(row: Mapping[str, str], points: list[tuple[int, float]]) -> PaperCurve:
    family, depth = row["model"].split("-")
    iterations, values = zip(*points, strict=True)
    return PaperCurve(
        figure=row["source"],
        panel=row["panel"],  # pyright: ignore[reportArgumentType]  # checked by a test over the whole file
        shortcut="none" if family == "plain" else "A",
        depth=int(depth),
        curve=Curve(metric=CURVES[row["curve"]], iterations=iterations, values=values),
        note=row["note"],
    )


@cache
def paper_curves(figure: PaperFigure) -> tuple[PaperCurve, ...]:
    """The digitised curves of Figure 1, 4 or 6, in the order of the file."""
    points: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    first: dict[tuple[str, ...], dict[str, str]] = {}
    for row in _rows(f"{figure}_curves"):
        name = (row["panel"], row["model"], row["curve"])
        first.setdefault(name, row)
        points.setdefault(name, []).append((int(row["iteration"]), float(row["error_pct"])))
    return tuple(_curve(first[name], points[name]) for name in points)


@dataclass(frozen=True, kw_only=True)
class PaperResponses:
    """Standard deviations of the layer responses of one network, read off Figure 7 to about 0.05, largest first."""

    shortcut: Shortcut
    depth: int
    values: tuple[float, ...]


@cache
def paper_responses() -> tuple[PaperResponses, ...]:
    """The lower panel of Figure 7."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in _rows("fig7_std_sorted"):
        found.setdefault(row["model"], []).append((int(row["rank"]), float(row["std"])))
    return tuple(
        PaperResponses(
            shortcut="none" if model.startswith("plain") else "A",
            depth=int(model.split("-")[1]),
            values=tuple(value for _, value in sorted(points)),
        )
        for model, points in found.items()
    )


@cache
def plain_facts() -> Mapping[int, PlainFact]:
    """By depth."""
    return {
        int(row["layers"]): PlainFact(
            depth=int(row["layers"]),
            test_error=row["final_test_error"],
            test_uncertainty=float(row["final_test_unc"]) if row["final_test_unc"] else None,
            train_error=row["train_error_tail_mean"],
            train_uncertainty=float(row["train_unc"]) if row["train_unc"] else None,
            source=row["source"],
        )
        for row in _rows("plain_cifar_facts")
    }


@cache
def paper_claims() -> Mapping[str, PaperClaim]:
    """All claims by id, in the order of the file."""
    return {
        row["id"]: PaperClaim(
            id=row["id"],
            text=row["claim"],
            source=row["paper_ref"],
            paper_value=row["paper_value"],
            needs=row["runs_needed"],
            statistic=row["statistic"],
            rule=row["decision_rule"],
            tier=row["tier"],
            note=row["note"],
        )
        for row in _rows("claims")
    }
