"""Tables 7 to 14: detection and localisation, as the paper prints them; no trial of this version measures any of it."""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files

from reports.arms import MeasuredArm
from reports.tables.beside import PAPER_GROUP
from reports.tables.entries import Column, Row, Table, printed, words

PUBLISHED = (
    "Published values: detection and localisation are not trained by this version, so nothing stands beside them."
)
ITALICS = "Rows set in italics are quoted by the paper from other work."
QUOTED = ("GoogLeNet (ILSVRC'14)", "OverFeat (ILSVRC'13)", "VGG (ILSVRC'14)", "VGG's [41]")
"""What the paper did not run itself. Its detectors with VGG-16 it did."""
CAPTIONS = {
    7: ("voc_detection", "Object detection on PASCAL VOC, mAP in percent, baseline Faster R-CNN."),
    8: ("coco_detection", "Object detection on COCO validation, mAP in percent, baseline Faster R-CNN."),
    9: (
        "coco_improvements",
        "Improvements of object detection on COCO, mAP in percent, each on top of the one before.",
    ),
    10: ("voc2007_per_class", "Object detection on the PASCAL VOC 2007 test set, mAP and AP by class in percent."),
    11: ("voc2012_per_class", "Object detection on the PASCAL VOC 2012 test set, mAP and AP by class in percent."),
    12: ("imagenet_det", "ImageNet detection, mAP in percent."),
    13: ("localization_val", "Localisation error on the ImageNet validation set, percent."),
    14: ("localization_sota", "Localisation error on ImageNet, top-5, percent."),
}
"""File and caption of each table."""
TITLES = {
    "net": "network",
    "training_data": "training data",
    "test_data": "test data",
    "map": "mAP@.5",
    "map_at_0.5": "mAP@.5",
    "map_at_0.5_0.95": "mAP@[.5, .95]",
    "val_map_0.5": "validation mAP@.5",
    "val_map_0.5_0.95": "validation mAP@[.5, .95]",
    "testdev_map_0.5": "test-dev mAP@.5",
    "testdev_map_0.5_0.95": "test-dev mAP@[.5, .95]",
    "val2_map": "val2 mAP",
    "test_map": "test mAP",
    "loc_method": "localisation method",
    "loc_network": "localisation network",
    "loc_error_on_gt_class": "error, true class given",
    "classification_network": "classification network",
    "top5_loc_error_on_predicted_class": "top-5 error, class predicted",
    "val_top5_loc_error": "validation top-5 error",
    "test_top5_loc_error": "test top-5 error",
}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _rows(number: int) -> list[dict[str, str]]:
    """In the paper's order, digits as printed."""
    file, _ = CAPTIONS[number]
    text = files("reports").joinpath("paper", f"table{number}_{file}.csv").read_text(encoding="utf-8")
    return [
        {name: value for name, value in row.items() if name != "source"} for row in csv.DictReader(text.splitlines())
    ]


def published(number: int, _: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """Table 7 to 14, whatever the study asks for. Digits are kept as printed; what all rows share is said in a note."""
    rows = _rows(number)
    shared = {name: text for name, text in rows[0].items() if text and all(row[name] == text for row in rows)}
    names = [name for name in rows[0] if name not in shared]
    numeric = {name: all(_number(row[name]) is not None for row in rows if row[name]) for name in names}
    quoted = [any(text in QUOTED for text in row.values()) for row in rows]
    return (
        Table(
            id=f"table-{number}",
            title=f"Table {number}",
            caption=CAPTIONS[number][1],
            columns=tuple(
                Column(title=TITLES.get(name, name), group=PAPER_GROUP, numeric=numeric[name]) for name in names
            ),
            rows=tuple(
                Row(
                    entries=tuple(
                        printed(row[name], _number(row[name]), unit="%") if numeric[name] else words(row[name])
                        for name in names
                    ),
                    quoted=by_others,
                )
                for row, by_others in zip(rows, quoted, strict=True)
            ),
            notes=(
                PUBLISHED,
                *[f"{TITLES.get(name, name).capitalize()}: {text}." for name, text in shared.items()],
                *([ITALICS] if any(quoted) else []),
            ),
        ),
    )


AS_PUBLISHED: dict[str, Callable[[Sequence[MeasuredArm]], tuple[Table, ...]]] = {
    f"table-{number}": partial(published, number) for number in CAPTIONS
}
