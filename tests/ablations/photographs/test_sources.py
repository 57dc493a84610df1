"""Every layout of a source that is known, and what is said of one that is not what it should be."""

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from photographs_made import class_folders, jpeg
from scipy.io import savemat

from ablations.data.errors import DataError, NotThereError, UnfitError
from ablations.data.photographs.inspection import DamagedError
from ablations.data.photographs.sources import Listing, Photograph, list_source
from ablations.data.photographs.storing import read


def listed(source: Path, tmp_path: Path, held_out: int | None = None) -> Listing:
    return list_source(source, tmp_path / "spool", held_out)


def names(found: Listing, split: str) -> list[str]:
    return [each.name for each in found.splits[split]]


def content(found: Listing) -> dict[str, list[tuple[int, bytes]]]:
    return {split: [(each.label, read(each)) for each in images] for split, images in found.splits.items()}


def refused(source: Path, tmp_path: Path, held_out: int | None = None, kind: type[DataError] = UnfitError) -> str:
    with pytest.raises(kind) as error:
        listed(source, tmp_path, held_out)
    assert "\n" not in str(error.value)
    return str(error.value)


def packed(folder: Path, to: Path, prefix: str = "", mode: str = "w") -> Path:
    with tarfile.open(to, mode) as tar:  # type: ignore[call-overload]
        tar.add(folder, arcname=prefix or ".")
    return to


# Folders


@pytest.mark.parametrize("test", ["val", "validation", "test"])
def test_a_folder(tmp_path: Path, test: str) -> None:
    root = class_folders(tmp_path / "birds")
    (root / "val").rename(root / test)
    found = listed(root, tmp_path)
    assert found.kind == "folder"
    assert found.classes == ("jay", "wren")
    assert names(found, "train") == [f"train/{kind}/{n}.JPEG" for kind in ("jay", "wren") for n in range(3)]
    assert names(found, "test") == [f"{test}/{kind}/{n}.JPEG" for kind in ("jay", "wren") for n in range(2)]
    assert [each.label for each in found.splits["train"]] == [0, 0, 0, 1, 1, 1]
    assert read(found.splits["test"][2]) == (root / test / "wren" / "0.JPEG").read_bytes()


def test_a_folder_around_it_and_folders_inside_its_classes(tmp_path: Path) -> None:
    """As Tiny ImageNet, whose images lie in `train/CLASS/images/`."""
    root = class_folders(tmp_path / "outer" / "birds")
    inner = root / "train" / "jay" / "images"
    inner.mkdir()
    (root / "train" / "jay" / "1.JPEG").rename(inner / "1.JPEG")
    found = listed(tmp_path / "outer", tmp_path)
    assert "train/jay/images/1.JPEG" in names(found, "train")
    assert len(found.splits["train"]) == 6


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    for name in ("Thumbs.db", "note.txt", ".hidden.JPEG", "._0.JPEG", ".DS_Store"):
        (root / "train" / "jay" / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "README.md").write_text("birds")
    found = listed(root, tmp_path)
    assert len(found.splits["train"]) == 6
    assert found.passed_over == 2


def test_links_are_followed_and_never_for_ever(tmp_path: Path) -> None:
    real = class_folders(tmp_path / "real")
    root = tmp_path / "links"
    (root / "train").mkdir(parents=True)
    (root / "val").symlink_to(real / "val")
    for kind in ("jay", "wren"):
        (root / "train" / kind).symlink_to(real / "train" / kind)
    (real / "train" / "jay" / "again").symlink_to(real / "train" / "jay")
    (real / "train" / "jay" / "gone.JPEG").symlink_to(tmp_path / "nothing")
    found = listed(root, tmp_path)
    assert len(found.splits["train"]) == 7
    assert next(each for each in found.splits["train"] if "gone" in each.name).size == -1
    assert [read(each) for each in found.splits["test"]] == [
        jpeg(n, 50 + n % 13, 40 + n % 7) for n in (500, 501, 1500, 1501)
    ]


def test_a_link_to_its_own_folder_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "birds")
    (root / "train" / "jay" / "again").symlink_to(root / "train" / "jay")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    for source in (root, Path("birds"), Path("link")):
        assert names(listed(source, tmp_path), "train") == names(
            listed(class_folders(tmp_path / "b"), tmp_path), "train"
        )


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    os.mkfifo(root / "train" / "jay" / "pipe.JPEG")
    pipe = next(each for each in listed(root, tmp_path).splits["train"] if "pipe" in each.name)
    with pytest.raises(DamagedError, match="is no file"):
        read(pipe)


def test_names_are_not_read_as_text(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    (root / "train" / "jay" / "0.JPEG").rename(root / "train" / "jay" / "a b\n'é.jpeg")
    assert len(listed(root, tmp_path).splits["train"]) == 6


def test_images_are_held_out_by_a_fixed_draw(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds", train=6)
    first = listed(root / "train", tmp_path, held_out=2)
    assert [len(first.splits[split]) for split in ("train", "test")] == [8, 4]
    assert [each.label for each in first.splits["test"]] == [0, 0, 1, 1]
    assert not set(names(first, "train")) & set(names(first, "test"))
    assert listed(root / "train", tmp_path, held_out=2) == first
    assert set(names(first, "test")) < set(names(listed(root / "train", tmp_path, held_out=3), "test"))


def build(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def made(root: Path) -> None:
        class_folders(root)
        change(root)

    return made


WRONG: Mapping[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda root: root.mkdir(), "there is no image in it; expected is a folder or a plain tar with"),
    "no images": (lambda root: (root / "a" / "b").mkdir(parents=True), "there is no image in it"),
    "loose images": (
        lambda root: (root.mkdir(), (root / "1.JPEG").write_bytes(b"x")),
        "1.JPEG lies in no class folder (1 such); make class folders, or put the class of each into val_labels.txt",
    ),
    "one class": (
        lambda root: class_folders(root, classes=["jay"]),
        "has the class jay alone; at least two are needed",
    ),
    "no train": (build(lambda root: (root / "train").rename(root.parent / "x")), "has val/ and no train/"),
    "two tests": (
        build(lambda root: (root / "test").mkdir()),
        "has val/ and test/, and one can be the test split; move the other away",
    ),
    "an empty class": (build(lambda root: (root / "train" / "owl").mkdir()), "train/owl has no images; fill or remove"),
    "a class without images": (
        build(lambda root: ((root / "val" / "owl").mkdir(), (root / "val" / "owl" / "a.txt").write_text("x"))),
        "val/owl has no images",
    ),
    "a class of one split": (
        build(lambda root: (root / "val" / "wren").rename(root / "val" / "owl")),
        "wren is a class of train/ and not of val/; labels would shift",
    ),
    "classes alike": (
        build(
            lambda root: [
                ((root / split / "Jay").mkdir(), (root / split / "Jay" / "1.JPEG").write_bytes(b"x"))
                for split in ("train", "val")
            ]
        ),
        "the classes Jay and jay differ by case alone; rename one",
    ),
    "no labels": (
        build(
            lambda root: (
                (root / "val").rename(root.parent / "x"),
                (root / "val").mkdir(),
                (root / "val" / "1.JPEG").write_bytes(b"x"),
            )
        ),
        "its 1 validation images lie in no class folders, and nothing says their classes; put beside them"
        " val_labels.txt with a line for each, FILE CLASS, or ILSVRC2012_validation_ground_truth.txt and meta.mat",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str, tmp_path: Path) -> None:
    make, words = WRONG[case]
    make(tmp_path / "birds")
    said = refused(tmp_path / "birds", tmp_path)
    assert said.startswith(f"--from {tmp_path / 'birds'}: ")
    assert words in said


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    assert "is not there; expected is a folder" in refused(tmp_path / "x", tmp_path, kind=NotThereError)


def test_held_out_must_fit(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    assert "has no test split" in refused(root / "train", tmp_path)
    assert "class jay has 3 images; none would be left" in refused(root / "train", tmp_path, held_out=3)
    assert "has a test split, val/; leave the option away" in refused(root, tmp_path, held_out=1)


# Tars


@pytest.mark.parametrize("prefix", ["", "birds", "data/birds"])
def test_a_tar_is_as_its_folder(tmp_path: Path, prefix: str) -> None:
    root = class_folders(tmp_path / "birds", train=30)
    found = listed(packed(root, tmp_path / "birds.tar", prefix), tmp_path)
    folder = listed(root, tmp_path)
    assert found.kind == "tar"
    assert found.digest() == folder.digest()
    assert content(found) == content(folder)


def test_a_tar_that_cannot_be_read(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    whole = packed(root, tmp_path / "birds.tar").read_bytes()
    compressed = packed(root, tmp_path / "birds.tar.gz", mode="w:gz")
    assert "a compressed one must be unpacked first" in refused(compressed, tmp_path, kind=DataError)
    end = len(whole.rstrip(b"\0"))
    for cut in np.linspace(600, end, 20).astype(int).tolist():  # some of them at the end of an image
        (tmp_path / "cut.tar").write_bytes(whole[: cut - cut % (512 if cut % 2 else 1)])
        assert "again" in refused(tmp_path / "cut.tar", tmp_path, kind=DataError)
    damaged = bytearray(whole)
    damaged[whole.index(b"wren/1.JPEG") + 2] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    assert "again" in refused(tmp_path / "damaged.tar", tmp_path, kind=DataError)
    (tmp_path / "without an end.tar").write_bytes(whole[: end - end % 512 + 512])
    assert "is cut off or damaged at byte" in refused(tmp_path / "without an end.tar", tmp_path, kind=DataError)
    (tmp_path / "text.tar").write_bytes(b"no tar" * 1000)
    assert "is no plain tar that can be read" in refused(tmp_path / "text.tar", tmp_path, kind=DataError)
    (tmp_path / "empty.tar").write_bytes(b"")
    refused(tmp_path / "empty.tar", tmp_path, kind=DataError)
    (root / "train" / "jay" / "9.JPEG").symlink_to("1.JPEG")
    linked = packed(root, tmp_path / "linked.tar")
    assert "is a link and no file; pack it again with `tar --dereference" in refused(linked, tmp_path)


# ImageNet as it is handed out


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))


def ilsvrc(root: Path) -> list[str]:
    """Both tars, the training one with a tar for each class; the class of each validation image."""
    root.mkdir()
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for kind in ("n01440764", "n01443537"):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for number in range(40):
                    add(tar, f"{kind}_{number}.JPEG", jpeg(number, 20 + number))
            add(outer, f"{kind}.tar", inner.getvalue())
    kinds = ["n01443537", "n01440764", "n01440764"]
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for number in (2, 1, 3):
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", jpeg(1000 + number))
    return kinds


def devkit(root: Path, numbers: list[int]) -> None:
    (root / "devkit" / "data").mkdir(parents=True)
    lines = "".join(f"{number}\n" for number in numbers)
    (root / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    types = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(7, "n01440764", "tench", "", 0), (9, "n01443537", "goldfish", "", 0), (1001, "n00001740", "all", "", 2)]
    savemat(root / "devkit" / "data" / "meta.mat", {"synsets": np.array(rows, dtype=types)})


@pytest.mark.parametrize("labels", ["val_labels.txt", "LOC_val_solution.csv", "devkit"])
def test_imagenet_s_own_tars(tmp_path: Path, labels: str) -> None:
    root = tmp_path / "ilsvrc"
    kinds = ilsvrc(root)
    if labels == "devkit":
        devkit(root, [9, 7, 7])
    else:
        before, apart, after = (
            ("ImageId,PredictionString\n", ",", " 85 1 499 272") if "csv" in labels else ("", " ", "")
        )
        stem = "" if "csv" in labels else ".JPEG"
        rows = [f"ILSVRC2012_val_{n:08d}{stem}{apart}{kind}{after}" for n, kind in enumerate(kinds, 1)]
        (root / labels).write_text(before + "\n".join(rows[::-1]))
    found = listed(root, tmp_path)
    assert found.kind == "ILSVRC2012 tars"
    assert found.classes == ("n01440764", "n01443537")
    assert [len(found.splits[split]) for split in ("train", "test")] == [80, 3]
    assert found.splits["train"][41].name == "train/n01443537/n01443537_1.JPEG"
    assert content(found)["train"][41] == (1, jpeg(1, 21))
    assert content(found)["test"] == [(0, jpeg(1002)), (0, jpeg(1003)), (1, jpeg(1001))]


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    ilsvrc(tmp_path / "a")
    (tmp_path / "a" / "val_labels.txt").write_text("ILSVRC2012_val_00000001.JPEG n01440764\n")
    said = refused(tmp_path / "a", tmp_path)
    assert "has no line for ILSVRC2012_val_00000002.JPEG, ILSVRC2012_val_00000003.JPEG; it needs one for each" in said
    ilsvrc(tmp_path / "b")
    devkit(tmp_path / "b", [9, 7])
    said = refused(tmp_path / "b", tmp_path, kind=DataError)
    assert "not ILSVRC's labels (2 labels for 3 images); copy them again" in said


# Parquet


def parquet(path: Path, rows: list[tuple[bytes, int]], classes: list[str] | None) -> None:
    path.parent.mkdir(exist_ok=True)
    table = pyarrow.table(
        {"image": [{"bytes": data, "path": None} for data, _ in rows], "label": [label for _, label in rows]}
    )
    if classes:
        said = {"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pyarrow.parquet.write_table(table, path, row_group_size=3)


def test_parquet_files(tmp_path: Path) -> None:
    """Labels in the order of the file's own names, which is not that of the alphabet."""
    classes = ["wren, a bird", "jay/jaybird"]
    for number in range(2):
        rows = [(jpeg(10 * number + n), n % 2) for n in range(5)]
        parquet(tmp_path / "hf" / f"train-{number:05d}-of-00002.parquet", rows, classes)
    parquet(tmp_path / "hf" / "validation-00000-of-00001.parquet", [(jpeg(100), 1), (jpeg(101), 0)], classes)
    parquet(tmp_path / "hf" / "test-00000-of-00001.parquet", [(jpeg(200), -1)], classes)  # as ImageNet's: no labels
    found = listed(tmp_path / "hf", tmp_path)
    assert found.kind == "parquet"
    assert found.classes == ("wren, a bird", "jay|jaybird")
    assert content(found)["test"] == [(0, jpeg(101)), (1, jpeg(100))]
    assert sorted(content(found)["train"]) == sorted((n % 2, jpeg(10 * m + n)) for m in range(2) for n in range(5))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "spool").iterdir()}
    assert listed(tmp_path / "hf", tmp_path) == found
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "spool").iterdir()} == before


def test_one_parquet_file_without_names(tmp_path: Path) -> None:
    parquet(tmp_path / "birds.parquet", [(jpeg(n), n % 2) for n in range(6)], None)
    found = listed(tmp_path / "birds.parquet", tmp_path, held_out=1)
    assert found.classes == ("0", "1")
    assert len(found.splits["train"]) == 4


def test_parquet_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no PAR1")
    said = refused(tmp_path / "train.parquet", tmp_path, kind=DataError)
    assert "is no parquet file that can be read" in said
    parquet(tmp_path / "a" / "train-0.parquet", [(jpeg(1), 0), (jpeg(2), 2)], ["jay", "wren"])
    assert "row 1 has label 2, and there are 2 classes" in refused(tmp_path / "a", tmp_path, held_out=1)
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "train.parquet")
    said = refused(tmp_path / "train.parquet", tmp_path)
    assert "must have the columns image, a struct with bytes, and label, a whole number; it has x (int64)" in said
    parquet(tmp_path / "b" / "train-0.parquet", [(jpeg(n), n % 2) for n in range(6)], ["jay", "wren", "owl"])
    assert "owl has no images; labels would shift" in refused(tmp_path / "b", tmp_path, held_out=1)
    parquet(tmp_path / "c" / "x-0.parquet", [(jpeg(1), 0)], None)
    parquet(tmp_path / "c" / "y-0.parquet", [(jpeg(1), 0)], None)
    assert "no parquet file's name begins with train" in refused(tmp_path / "c", tmp_path)


IMAGES = [{"bytes": jpeg(n), "path": None} for n in range(4)]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": IMAGES, "label": [0.5, 0.2, 1.0, 1.0]}, r"must have the columns .*label \(double\)"),
        ({"image": IMAGES, "label": ["a", "a", "b", "b"]}, r"must have the columns .*label \(string\)"),
        ({"image": ["a", "b"], "label": [0, 1]}, r"must have the columns .*image \(string\)"),
        ({"image": [jpeg(1), jpeg(2)], "label": [0, 1]}, r"must have the columns .*image \(binary\)"),
        ({"image": IMAGES, "label": [0, 0, 1, None]}, "row 3 has no label"),
        ({"image": IMAGES, "label": [0, -1, 1, 1]}, "row 1 has label -1"),
    ],
)
def test_parquet_with_other_columns(tmp_path: Path, columns: dict[str, list[Any]], words: str) -> None:
    """No label is rounded, and none made up."""
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    assert re.search(words, refused(tmp_path / "train.parquet", tmp_path, held_out=1))


def test_a_row_of_parquet_without_an_image(tmp_path: Path) -> None:
    rows = {"image": [*IMAGES, None, {"bytes": None, "path": "x"}], "label": [0, 0, 1, 1, 0, 1]}
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "train.parquet")
    found = listed(tmp_path / "train.parquet", tmp_path, held_out=1)
    assert sum(each.size == 0 for images in found.splits.values() for each in images) == 2


def test_a_digest_is_of_names_and_sizes() -> None:
    def digest(*images: Photograph) -> str:
        return Listing(kind="", classes=("a", "b"), splits={"train": images, "test": ()}, passed_over=0).digest()

    image = Photograph(0, "train/a/1.JPEG", "x", 0, 10)
    assert digest(image) == digest(image._replace(file="y", offset=512))
    others = [image._replace(label=1), image._replace(name="train/a/2.JPEG"), image._replace(size=11)]
    assert len({digest(image), digest(), *(digest(each) for each in others)}) == 5
