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


def published(number: int, _: Sequence[MeasuredArm]) -> tuple[Table, ...]:
    """Table 7 to 14, whatever the study asks for. Digits are kept as printed."""
    file, caption = CAPTIONS[number]
    text = files("reports").joinpath("paper", f"table{number}_{file}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    names = [name for name in rows[0] if name != "source"]
    numeric = {name: all(_number(row[name]) is not None for row in rows if row[name]) for name in names}
    return (
        Table(
            id=f"table-{number}",
            title=f"Table {number}",
            caption=caption,
            columns=tuple(
                Column(title=TITLES.get(name, name), group=PAPER_GROUP, numeric=numeric[name]) for name in names
            ),
            rows=tuple(
                Row(
                    entries=tuple(
                        printed(row[name], _number(row[name])) if numeric[name] else words(row[name]) for name in names
                    )
                )
                for row in rows
            ),
            notes=(PUBLISHED,),
        ),
    )


AS_PUBLISHED: dict[str, Callable[[Sequence[MeasuredArm]], tuple[Table, ...]]] = {
    f"table-{number}": partial(published, number) for number in CAPTIONS
}
