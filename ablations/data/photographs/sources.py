"""Where photographs come from: a folder or an uncompressed tar of class folders, ImageNet as it is handed out, parquet.

Whatever it is, it becomes a `Listing`: for each split the images in the order of label and name, each as a range of
bytes of a file, so that they can be read in any order by any number of processes. Nothing is decoded here.
"""

import hashlib
import json
import os
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from ablations.data.draws import draw
from ablations.data.errors import DataError, NotThereError, UnfitError

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
"""What is taken for an image; everything else is passed over. The content decides what it is."""
TRAIN, TESTS = "train", ("val", "validation", "test")
TRAIN_TAR, TEST_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
LABELS = ("val_labels.txt", "LOC_val_solution.csv")
"""Files that name the class of each image of a folder without class folders."""
EXPECTED = (
    "expected is a folder or a plain tar with train/CLASS/*.JPEG and val/CLASS/*.JPEG (or test/), CLASS/*.JPEG alone"
    " (imagefolder with --held-out N), or parquet files with the columns image and label"
)


class Photograph(NamedTuple):
    """An image: `size` bytes of a file from `offset` on. `size` is -1 where the file cannot be seen."""

    label: int
    name: str
    """As `train/n01440764/n01440764_18.JPEG`."""
    file: str
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All images of a source, not decoded. `passed_over`: files that are no images."""

    kind: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Photograph]]
    passed_over: int

    def digest(self) -> str:
        """`sha256:` over the names and sizes of the images, in order."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for split, images in self.splits.items():
            digest.update(f"\n{split}\n".encode())
            for image in images:
                digest.update(f"{image.label} {image.name} {image.size}\n".encode("utf-8", errors="surrogateescape"))
        return f"sha256:{digest.hexdigest()}"


class _Found(NamedTuple):
    """A file of a source, before it is known what its place means."""

    parts: tuple[str, ...]
    file: str
    offset: int
    size: int


@dataclass(frozen=True)
class _Tree:
    """Files and folders of a source, by the parts of their paths from its root."""

    kind: str
    files: list[_Found]
    folders: set[tuple[str, ...]]

    def below(self, *top: str) -> "_Tree":
        depth = len(top)
        return _Tree(
            self.kind,
            [each._replace(parts=each.parts[depth:]) for each in self.files if each.parts[:depth] == top],
            {each[depth:] for each in self.folders if each[:depth] == top and len(each) > depth},
        )

    def tops(self) -> set[str]:
        """Names of the folders at the root."""
        return {each.parts[0] for each in self.files if len(each.parts) > 1} | {each[0] for each in self.folders}


def list_source(source: Path, spool: Path, held_out: int | None = None) -> Listing:
    """Find all images of a source. What parquet files hold is unpacked into the folder `spool`.

    `held_out`: images of each class that become the test split where the source has none. Raises NotThereError where
    nothing is there, UnfitError where its classes or splits are not what is needed, DataError where it is damaged.
    """
    if not source.exists():
        raise NotThereError(f"--from {source}: is not there; {EXPECTED}")
    if parquet := _parquet_files(source):
        return _parquet(source, parquet, spool, held_out)
    tree = _folder(source) if source.is_dir() else _tar(source)
    tree = _without_folders_around(tree)
    at_root = {each.parts[0]: each for each in tree.files if len(each.parts) == 1}
    if TRAIN_TAR in at_root:
        tree = _Tree("ILSVRC2012 tars", [*tree.files, *_class_tars(at_root[TRAIN_TAR])], tree.folders)
        if TEST_TAR in at_root:
            tree.files.extend(_members(at_root[TEST_TAR], "val"))
    return _arrange(source, tree, held_out)


def _without_folders_around(tree: _Tree) -> _Tree:
    """From the folder on that holds the splits, the classes, or ImageNet's tars."""
    while len(tops := tree.tops()) == 1 and not {TRAIN, *TESTS} & tops:
        if any(
            len(each.parts) == 1 and (each.parts[0] == TRAIN_TAR or _is_image(each.parts[0])) for each in tree.files
        ):
            break
        tree = tree.below(*tops)
    return tree


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


# Splits and classes


def _arrange(source: Path, tree: _Tree, held_out: int | None) -> Listing:
    tops = tree.tops()
    tests = [name for name in TESTS if name in tops]
    if len(tests) > 1:
        raise UnfitError(
            f"--from {source}: has {' and '.join(f'{each}/' for each in tests)}, and one can be the test split;"
            " move the other away"
        )
    if tests and TRAIN not in tops:
        raise UnfitError(f"--from {source}: has {tests[0]}/ and no train/; {EXPECTED}")
    if not tests:
        return _hold_out(source, tree.below(TRAIN) if TRAIN in tops else tree, held_out)
    if held_out is not None:
        raise UnfitError(f"--held-out {held_out}: {source} has a test split, {tests[0]}/; leave the option away")
    train, test = tree.below(TRAIN), _labelled(source, tree, tree.below(tests[0]))
    by_split = {"train": _by_class(source, train, "train/"), "test": _by_class(source, test, f"{tests[0]}/")}
    _see_classes(source, by_split["train"])
    _see_same_classes(source, by_split["train"], by_split["test"], tests[0])
    classes = tuple(sorted(by_split["train"]))
    places = {"train": TRAIN, "test": tests[0]}
    splits = {
        split: [
            image
            for label, name in enumerate(classes)
            for image in _photographs(places[split], label, name, found[name])
        ]
        for split, found in by_split.items()
    }
    return _listing(tree, classes, splits)


def _hold_out(source: Path, tree: _Tree, held_out: int | None) -> Listing:
    """One set of class folders, `held_out` images of each drawn for the test split; the draw is fixed."""
    found = _by_class(source, tree, "")
    _see_classes(source, found)
    if held_out is None:
        raise UnfitError(
            f"--from {source}: has no test split (val/, validation/ or test/); `imagefolder --held-out N` takes N"
            " images of each class for it, by a fixed draw"
        )
    classes = tuple(sorted(found))
    splits: dict[str, list[Photograph]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        images = _photographs("", label, name, found[name])
        if len(images) <= held_out:
            raise UnfitError(
                f"--held-out {held_out}: class {name} has {len(images):,} images; none would be left to train on"
            )
        chosen = set(np.argsort(draw(0, "held-out", label, len(images)), kind="stable")[:held_out].tolist())
        for index, image in enumerate(images):
            splits["test" if index in chosen else "train"].append(image)
    return _listing(tree, classes, splits)


def _listing(tree: _Tree, classes: tuple[str, ...], splits: Mapping[str, Sequence[Photograph]]) -> Listing:
    passed_over = sum(len(each.parts) > 1 and not _is_image(each.parts[-1]) for each in tree.files)
    return Listing(kind=tree.kind, classes=classes, splits=splits, passed_over=passed_over)


def _by_class(source: Path, tree: _Tree, where: str) -> dict[str, list[_Found]]:
    """Images by the name of their class folder. A folder without images is refused, not skipped: labels would shift."""
    found: dict[str, list[_Found]] = defaultdict(list)
    loose = [each for each in tree.files if len(each.parts) == 1 and _is_image(each.parts[0])]
    if loose:
        raise UnfitError(
            f"--from {source}: {where}{loose[0].parts[0]} lies in no class folder ({len(loose):,} such); make class"
            f" folders, or put the class of each into {LABELS[0]}, a line for each: FILE CLASS"
        )
    for each in tree.files:
        if len(each.parts) > 1 and _is_image(each.parts[-1]):
            found[each.parts[0]].append(each)
    if not found:
        raise UnfitError(f"--from {source}: there is no image in {where or 'it'}; {EXPECTED}")
    if empty := sorted(tree.tops() - set(found)):
        raise UnfitError(f"--from {source}: {_some([where + each for each in empty])} has no images; fill or remove it")
    for alike in _alike(found):
        raise UnfitError(f"--from {source}: the classes {' and '.join(alike)} differ by case alone; rename one")
    return found


def _alike(names: Iterable[str]) -> Iterator[list[str]]:
    by_case = defaultdict(list)
    for name in sorted(names):
        by_case[name.casefold()].append(name)
    return (each for each in by_case.values() if len(each) > 1)


def _see_classes(source: Path, found: Mapping[str, object]) -> None:
    if len(found) < 2:
        raise UnfitError(
            f"--from {source}: has the class {next(iter(found))} alone; at least two are needed. {EXPECTED}"
        )


def _see_same_classes(source: Path, train: Iterable[str], test: Iterable[str], name: str) -> None:
    for here, there, missing in ((TRAIN, name, set(train) - set(test)), (name, TRAIN, set(test) - set(train))):
        if missing:
            raise UnfitError(
                f"--from {source}: {_some(sorted(missing))} is a class of {here}/ and not of {there}/; labels would"
                " shift"
            )


def _photographs(place: str, label: int, kind: str, found: Sequence[_Found]) -> list[Photograph]:
    prefix = f"{place}/" if place else ""
    return sorted(
        Photograph(label, prefix + "/".join((kind, *each.parts[1:])), each.file, each.offset, each.size)
        for each in found
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


# Folders


def _folder(root: Path) -> _Tree:
    files: list[_Found] = []
    folders: set[tuple[str, ...]] = set()
    top = os.path.realpath(root)
    waiting: list[tuple[tuple[str, ...], str, frozenset[str]]] = [((), top, frozenset((top,)))]
    while waiting:
        parts, path, above = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                below = (*parts, entry.name)
                if entry.is_dir():
                    real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    if real not in above:  # a link to a folder above would never end
                        folders.add(below)
                        waiting.append((below, real, above | {real}))
                else:
                    files.append(_Found(below, entry.path, 0, _size(entry)))
    return _Tree("folder", files, folders)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing is listed as an image that cannot be read
        return -1


# Tars


def _tar(path: Path) -> _Tree:
    tree = _Tree("tar", [], set())
    with path.open("rb") as file:
        for member in _open_tar(file, str(path)):
            parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
            if not parts or any(part.startswith(".") for part in parts):
                continue
            if member.isdir():
                tree.folders.add(parts)
            elif member.isfile():
                tree.folders.update(parts[:depth] for depth in range(1, len(parts)))
                tree.files.append(_Found(parts, str(path), member.offset_data, member.size))
            elif _is_image(parts[-1]):
                raise UnfitError(
                    f"{path}: {member.name} is a link and no file; pack it again with"
                    " `tar --dereference --hard-dereference`"
                )
    return tree


def _open_tar(file: BinaryIO, name: str) -> Iterator[tarfile.TarInfo]:
    """The members of a tar. Raises DataError where it is cut off, damaged or compressed.

    `tarfile` takes a damaged header, and the end of a cut file, for the end of the tar; a whole one ends in zeros.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as members:
            for member in members:
                yield member
                members.members.clear()  # type: ignore[attr-defined] # a million of them would be kept
            file.seek(members.offset)  # type: ignore[attr-defined]
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DataError(f"{name}: is cut off or damaged at byte {members.offset:,}; copy it again")  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{name}: is no plain tar that can be read ({error}); a compressed one must be unpacked first,"
            " a damaged one copied again"
        ) from error


class _Range:
    """A range of a file as a file: a tar in a tar."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self._file, self._begin, self._size, self._at = file, begin, size, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._file.seek(self._begin + self._at)
        data = self._file.read(left if count < 0 else min(count, left))
        self._at += len(data)
        return data


def _class_tars(outer: _Found) -> Iterator[_Found]:
    """The images of ILSVRC2012_img_train.tar, which holds a tar for each class."""
    with Path(outer.file).open("rb") as file, Path(outer.file).open("rb") as inside:
        for member in _open_tar(file, outer.file):
            if member.isfile() and member.name.endswith(".tar"):
                kind = Path(member.name).stem
                part = _Range(inside, member.offset_data, member.size)
                for image in _open_tar(part, f"{outer.file}: {member.name}"):  # type: ignore[arg-type]
                    if image.isfile():
                        at = member.offset_data + image.offset_data
                        yield _Found((TRAIN, kind, Path(image.name).name), outer.file, at, image.size)


def _members(outer: _Found, split: str) -> Iterator[_Found]:
    with Path(outer.file).open("rb") as file:
        for member in _open_tar(file, outer.file):
            if member.isfile():
                yield _Found((split, Path(member.name).name), outer.file, member.offset_data, member.size)


# Labels of ImageNet's validation images


def _labelled(source: Path, tree: _Tree, test: _Tree) -> _Tree:
    """A test split without class folders, given them by a file of labels where there is one."""
    flat = sorted(
        (each for each in test.files if len(each.parts) == 1 and _is_image(each.parts[0])), key=lambda f: f.parts
    )
    if not flat:
        return test
    kinds = _kinds(source, tree, [each.parts[0] for each in flat])
    return _Tree(
        tree.kind, [each._replace(parts=(kind, *each.parts)) for each, kind in zip(flat, kinds, strict=True)], set()
    )


def _kinds(source: Path, tree: _Tree, names: Sequence[str]) -> list[str]:
    by_name = {each.parts[-1]: each for each in tree.files}
    for labels in LABELS:
        if labels in by_name:
            return _named_kinds(by_name[labels], names)
    if TRUTH in by_name and META in by_name:
        return _devkit_kinds(by_name[TRUTH], by_name[META], names)
    raise UnfitError(
        f"--from {source}: its {len(names):,} validation images lie in no class folders, and nothing says their"
        f" classes; put beside them {LABELS[0]} with a line for each, FILE CLASS, or {TRUTH} and {META} of ILSVRC's"
        " development kit, unpacked"
    )


def _named_kinds(file: _Found, names: Sequence[str]) -> list[str]:
    """From lines such as `ILSVRC2012_val_00000001.JPEG n01751748`, blanks or commas between; the rest is not read."""
    lines = [re.split(r"[\s,]+", line.strip())[:2] for line in _text(file).splitlines() if line.strip()]
    kinds = {Path(line[0]).stem: line[1] for line in lines if len(line) == 2}
    missing = [name for name in names if Path(name).stem not in kinds]
    if missing:
        raise UnfitError(f"{file.file}: has no line for {_some(missing)}; it needs one for each image, FILE CLASS")
    return [kinds[Path(name).stem] for name in names]


def _devkit_kinds(truth: _Found, meta: _Found, names: Sequence[str]) -> list[str]:
    """From ILSVRC's own number of each image's class, and its table of these numbers."""
    import io

    from scipy.io import loadmat

    try:
        rows = loadmat(io.BytesIO(_bytes(meta)), squeeze_me=True)["synsets"]
        kinds = {int(row[0]): str(row[1]) for row in rows}
        numbers = [int(line) for line in _text(truth).split()]
        if len(numbers) != len(names):
            raise ValueError(f"{len(numbers):,} labels for {len(names):,} images")
        return [kinds[number] for number in numbers]
    except (ValueError, KeyError, TypeError, IndexError, NotImplementedError) as error:
        raise DataError(f"{truth.file} with {meta.file}: not ILSVRC's labels ({error}); copy them again") from error


def _text(found: _Found) -> str:
    return _bytes(found).decode("utf-8", errors="replace")


def _bytes(found: _Found) -> bytes:
    with Path(found.file).open("rb") as file:
        file.seek(found.offset)
        return file.read(found.size)


# Parquet


def _parquet_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if source.suffix == ".parquet" else []
    return sorted((*source.glob("*.parquet"), *source.glob("data/*.parquet")))


def _parquet(source: Path, files: Sequence[Path], spool: Path, held_out: int | None) -> Listing:
    """Rows of `image` ({bytes, path}) and `label`, the split by the file's name: `train-00000-of-00294.parquet`."""
    by_split: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_split[re.split(r"[-_.]", file.name)[0]].append(file)
    tests = [name for name in TESTS if name in by_split]
    if TRAIN not in by_split and len(by_split) == 1 and not tests:
        by_split = {TRAIN: next(iter(by_split.values()))}
    if TRAIN not in by_split:
        raise UnfitError(f"--from {source}: no parquet file's name begins with {TRAIN}; {EXPECTED}")
    classes = _parquet_classes(by_split[TRAIN][0])
    tree = _Tree("parquet", [], set())
    for split in (TRAIN, *tests[:1]):
        for file in by_split[split]:
            tree.files.extend(_unpacked(file, split, classes, spool))
    listing = _arrange(source, tree, held_out)
    if classes is None:
        return listing
    return _in_order(source, listing, classes)


def _in_order(source: Path, listing: Listing, classes: Sequence[str]) -> Listing:
    """Labels as the parquet files give them, not in the order of the names."""
    if repeated := [name for name, count in Counter(classes).items() if count > 1]:
        raise UnfitError(f"--from {source}: {_some(repeated)} names two classes")
    if missing := sorted(set(classes) - set(listing.classes)):
        raise UnfitError(f"--from {source}: {_some(missing)} has no images; labels would shift")
    numbers = [classes.index(name) for name in listing.classes]
    splits = {
        split: sorted(image._replace(label=numbers[image.label]) for image in images)
        for split, images in listing.splits.items()
    }
    return Listing(kind=listing.kind, classes=tuple(classes), splits=splits, passed_over=0)


def _parquet_classes(file: Path) -> list[str] | None:
    """Names of the classes in the order of labels, where the file says them as Hugging Face's do.

    A slash in a name would make a folder of it.
    """
    import pyarrow.parquet

    try:
        said = json.loads((pyarrow.parquet.read_schema(file).metadata or {}).get(b"huggingface", b"{}"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is no parquet file that can be read ({error}); copy it again") from error
    names = said.get("info", {}).get("features", {}).get("label", {}).get("names")
    return [str(name).replace("/", "|") for name in names] if isinstance(names, list) else None


def _unpacked(file: Path, split: str, classes: Sequence[str] | None, spool: Path) -> list[_Found]:
    """The images of a parquet file, one after the other in a file of the spool; unpacked once."""
    spool.mkdir(parents=True, exist_ok=True)
    blob, index = spool / f"{file.name}.images", spool / f"{file.name}.json"
    about = [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
    try:
        said = json.loads(index.read_text(encoding="utf-8"))
        if said["about"] == about:
            return [_Found((split, *parts), str(blob), offset, size) for parts, offset, size in said["images"]]
    except (OSError, ValueError, KeyError):
        pass  # not unpacked to its end
    images: list[tuple[tuple[str, str], int, int]] = []
    with blob.open("wb") as to:
        for row, (data, label) in enumerate(_rows(file)):
            kind = str(label) if classes is None else _kind(file, row, label, classes)
            images.append(((kind, f"{file.stem}-{row:06d}.JPEG"), to.tell(), len(data)))
            to.write(data)
        to.flush()
        os.fsync(to.fileno())
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({"about": about, "images": images}), encoding="utf-8")
    partial.replace(index)
    return [_Found((split, *parts), str(blob), offset, size) for parts, offset, size in images]


def _kind(file: Path, row: int, label: int, classes: Sequence[str]) -> str:
    if not 0 <= label < len(classes):
        raise UnfitError(f"{file}: row {row:,} has label {label}, and there are {len(classes):,} classes")
    return classes[label]


def _rows(file: Path) -> Iterator[tuple[bytes, int]]:
    """Bytes and label of each row; no bytes where there is no image, which is then named as damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            _see_columns(file, table.schema_arrow)
            row = 0
            for batch in table.iter_batches(batch_size=64, columns=["image", "label"]):
                for each in batch.to_pylist():
                    label = each["label"]
                    if label is None or label < 0:
                        raise UnfitError(f"{file}: row {row:,} has {'no label' if label is None else f'label {label}'}")
                    yield (each["image"] or {}).get("bytes") or b"", label
                    row += 1
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: is no parquet file that can be read ({error}); copy it again") from error


def _see_columns(file: Path, schema: "pyarrow.Schema") -> None:
    from pyarrow import types

    kinds = {name: schema.field(name).type for name in ("image", "label") if name in schema.names}
    image, label = kinds.get("image"), kinds.get("label")
    if (
        image is None
        or label is None
        or not types.is_struct(image)
        or image.get_field_index("bytes") < 0
        or not types.is_integer(label)
    ):
        raise UnfitError(
            f"{file}: must have the columns image, a struct with bytes, and label, a whole number; it has"
            f" {_some([f'{name} ({str(schema.field(name).type)[:40]})' for name in schema.names])}"
        )
