"""Prepared sets: what is in them, whatever is done to the process that makes them."""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs_made import SAMPLES, class_folders, encoded, jpeg, photograph
from PIL import Image

from ablations.data import draws
from ablations.data.errors import DataError, NotThereError, UnfitError
from ablations.data.photographs import beton, manifest, prepare, storing
from ablations.data.photographs.beton import JPEG, RAW
from ablations.data.photographs.inspection import inspect
from ablations.data.photographs.manifest import Storage, fingerprint
from ablations.data.photographs.prepare import DamagedImagesError, Preparation, Request
from ablations.data.sets import SETS

STORAGES = tuple(Storage.parse(text) for text in ("original", "jpeg32q80", "raw32", "mixed40q85"))


def request(source: Path, to: Path, **values: Any) -> Request:
    return replace(Request(source=source, to=to, name="birds", title="Birds", size=32), **values)


def silent(what: str, done: int, total: int) -> None:
    pass


def make(asked: Request) -> Preparation:
    return prepare.prepare(asked, silent)


def bytes_of(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, without the path that the manifest holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == manifest.FILE:
            said = json.loads(path.read_text(encoding="utf-8"))
            found[str(path.relative_to(folder))] = json.dumps(
                {**said, "source": said["source"]["digest"], "checksum": ""}
            )
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("source") / "birds", train=23, test=5)


@pytest.fixture(scope="module")
def whole(birds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sets in every storage, prepared undisturbed."""
    to = tmp_path_factory.mktemp("whole")
    make(request(birds, to, storages=STORAGES))
    return to


# What is in a set


def test_a_set_is_its_source(birds: Path, whole: Path) -> None:
    about = manifest.read(whole / "birds")
    assert sorted(path.name for path in (whole / "birds").iterdir()) == [
        *("checksums.npz", "manifest.json", "mean.npy", "test.beton", "train.beton")
    ]
    assert (about.name, about.title, about.size, about.classes) == ("birds", "Birds", 32, ("jay", "wren"))
    assert about.source.kind == "folder"
    assert not about.converted
    assert not about.left_out
    for split, place, count in (("train", "train", 23), ("test", "val", 5)):
        found = beton.read(whole / "birds" / about.splits[split].file)
        source = [
            (label, path)
            for label, kind in enumerate(("jay", "wren"))
            for path in sorted((birds / place / kind).iterdir(), key=lambda p: p.name)
        ]
        mixed = [source[index] for index in draws.order(0, 0, 2 * count)]
        assert [found.stored(index).tobytes() for index in range(len(found))] == [
            path.read_bytes() for _, path in mixed
        ]
        assert found.labels.tolist() == [label for label, _ in mixed]
        sizes = [inspect(path.read_bytes()).image.size for _, path in mixed]
        assert list(zip(found.widths, found.heights, strict=True)) == sizes
        assert about.splits[split].largest == max(max(size) for size in sizes)
        assert about.splits[split].images == 2 * count
        assert (
            about.splits[split].sha256 == hashlib.sha256((whole / "birds" / f"{split}.beton").read_bytes()).hexdigest()
        )


def test_the_fingerprint_is_of_what_is_stored(whole: Path) -> None:
    found = set()
    for storage in STORAGES:
        folder = whole / "-".join(filter(None, ("birds", storage.suffix)))
        about = manifest.read(folder)
        samples = {}
        for split in ("train", "test"):
            file = beton.read(folder / f"{split}.beton")
            samples[split] = [
                (
                    label,
                    hashlib.sha256(file.stored(index).tobytes()).hexdigest(),
                    int(file.widths[index]),
                    int(file.heights[index]),
                )
                for index, label in enumerate(file.labels.tolist())
            ]
        assert about.fingerprint == fingerprint(("jay", "wren"), storage, samples)
        found.add(about.fingerprint)
    assert len(found) == len(STORAGES)


def test_each_storage(birds: Path, whole: Path) -> None:
    """Pixels within what the storage may lose, sizes capped and never enlarged."""
    original = beton.read(whole / "birds" / "train.beton")
    for name, modes, cap in (("jpeg32q80", {JPEG}, 32), ("raw32", {RAW}, 32), ("mixed40q85", {JPEG, RAW}, 40)):
        found = beton.read(whole / f"birds-{name}" / "train.beton")
        assert found.labels.tolist() == original.labels.tolist()
        assert set(found.modes.tolist()) == modes
        assert np.minimum(found.widths, found.heights).tolist() == [cap] * len(found)
        for index in range(len(found)):
            source = inspect(original.stored(index).tobytes()).image
            size = (int(found.widths[index]), int(found.heights[index]))
            assert abs(size[0] / size[1] - source.width / source.height) < 0.03
            literal = np.asarray(source.resize(size, Image.Resampling.LANCZOS)).astype(int)
            stored = found.stored(index)
            if found.modes[index] == RAW:
                assert np.array_equal(stored.reshape(size[1], size[0], 3), literal)
            else:
                pixels = np.asarray(Image.open(io.BytesIO(stored.tobytes()))).astype(int)
                assert np.abs(pixels - literal).mean() < 12
    assert 10 < (found.modes == RAW).sum() < 36


def test_nothing_is_enlarged() -> None:
    small = photograph(0, 30, 20)
    assert storing.capped(small, 20) is small
    assert storing.capped(small, 400) is small
    assert storing.capped(photograph(0, 30, 20), 10).size == (15, 10)
    assert storing.capped(photograph(0, 3000, 3), 1).size == (1000, 1)


def test_a_path_of_its_own_changes_nothing(birds: Path, whole: Path, tmp_path: Path) -> None:
    """From a tar elsewhere, with one process: the same bytes, the same fingerprint."""
    with tarfile.open(tmp_path / "birds.tar", "w") as tar:
        tar.add(birds, arcname="x")
    made = make(request(tmp_path / "birds.tar", tmp_path / "to", storages=STORAGES[:2], workers=1))
    assert {path.name for path in made.sets} == {"birds", "birds-jpeg32q80"}
    for name in ("birds", "birds-jpeg32q80"):
        there = bytes_of(whole / name)
        assert {k: v for k, v in bytes_of(tmp_path / "to" / name).items() if k != manifest.FILE} == {
            k: v for k, v in there.items() if k != manifest.FILE
        }
        assert manifest.read(tmp_path / "to" / name).fingerprint == manifest.read(whole / name).fingerprint


def test_workers_change_nothing(birds: Path, whole: Path, tmp_path: Path) -> None:
    make(request(birds, tmp_path / "to", storages=STORAGES, workers=3))
    assert bytes_of(tmp_path / "to") == bytes_of(whole)


def test_nobody_can_cut_a_file_off(whole: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in (whole / "birds").iterdir()} == {0o444}


# The mean image


def test_the_mean_is_that_of_the_paper_s_crops(whole: Path) -> None:
    """Against a literal one: the whole image resized, then cut out, in floating point."""
    mean = np.load(whole / "birds" / "mean.npy")
    assert (mean.dtype, mean.shape) == (np.float32, (32, 32, 3))
    assert np.array_equal(mean, mean[:, ::-1])
    found = beton.read(whole / "birds" / "train.beton")
    words = draws.draw(0, "mean", 0, 46 * 8 * 3).reshape(46, 8, 3)
    total, scales = np.zeros((32, 32, 3)), set()
    for index in range(46):
        image = inspect(found.stored(index).tobytes()).image
        for scale, across, down in (words[index] >> np.uint64(32)).tolist():
            scale = 37 + scale * (69 - 37 + 1) // 2**32  # 256 and 480 of 224, for 32
            size = (image.width * scale // min(image.size), image.height * scale // min(image.size))
            left, top = across * (size[0] - 31) // 2**32, down * (size[1] - 31) // 2**32
            whole_image = image.resize(size, Image.Resampling.BILINEAR)
            cut = np.asarray(whole_image.crop((left, top, left + 32, top + 32))).astype(float)
            total += (cut + cut[:, ::-1]) / 2
            scales.add(scale)
    assert {37, 69} <= scales
    assert np.abs(mean - total / (46 * 8)).max() < 0.2
    assert np.abs(mean - total / (46 * 8)).mean() < 0.05


@pytest.mark.parametrize(("images", "crops", "every"), [(100, 8, 1), (20_000, 5, 1), (99_999, 2, 1), (1_281_167, 1, 6)])
def test_crops_of_the_mean(images: int, crops: int, every: int) -> None:
    """100,000 at least, or 8 of each image."""
    work = object.__new__(prepare._Work)
    work.counts = {"train": images}
    assert work._crops() == (crops, every)
    assert images * crops // every >= min(100_000, 8 * images)


def test_every_crop_lies_inside() -> None:
    for size in ((40, 40), (41, 97), (500, 33), (1, 1), (2, 400)):
        for word in (0, 1, 2**64 - 1, 12345678901234567):
            drawn = np.full(3, word, dtype=np.uint64)
            assert storing.crop(photograph(0, *size), 32, drawn).shape == (32, 32, 3)


# What is converted, damaged, left out


def spoil(root: Path) -> dict[str, str]:
    """Images that are converted, and why."""
    folder = root / "train" / "jay"
    (folder / "cmyk.JPEG").write_bytes(encoded(photograph(1).convert("CMYK")))
    (folder / "png.JPEG").write_bytes(encoded(photograph(2), "PNG"))
    (folder / "grey.JPEG").write_bytes(encoded(photograph(3).convert("L")))
    return {"train/jay/cmyk.JPEG": "JPEG in CMYK", "train/jay/png.JPEG": "PNG in RGB"}


def test_what_is_converted_is_listed(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    reasons = spoil(root)
    made = make(request(root, tmp_path / "to", storages=STORAGES[:3]))
    for about in made.sets.values():
        assert {each.image: each.reason for each in about.converted} == reasons
    found = beton.read(tmp_path / "to" / "birds" / "train.beton")
    assert set(found.modes.tolist()) == {JPEG}
    stored = [found.stored(index).tobytes() for index in range(len(found))]
    assert (root / "train" / "jay" / "grey.JPEG").read_bytes() in stored
    assert sum(image not in stored for image in (path.read_bytes() for path in (root / "train").rglob("*.JPEG"))) == 2
    converted = [image for image in stored if image not in {path.read_bytes() for path in root.rglob("*.JPEG")}]
    png = next(image for image in (np.asarray(Image.open(io.BytesIO(each))).astype(int) for each in converted)
               if np.abs(image - np.asarray(photograph(2))).mean() < 8)  # fmt: skip
    assert png.shape == (48, 64, 3)


def damage(root: Path) -> None:
    (root / "train" / "jay" / "0.JPEG").write_bytes(b"")
    path = root / "val" / "wren" / "1.JPEG"
    path.write_bytes(path.read_bytes()[:-300])
    (root / "train" / "wren" / "gone.JPEG").symlink_to(root / "nothing")


def test_damaged_images_are_refused_all_at_once(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds")
    damage(root)
    with pytest.raises(
        DamagedImagesError,
        match=r"3 of 11 images cannot be read \(the first is train/jay/0.JPEG: 0 bytes\); copy them again, or go on"
        r" without them by --leave-out-damaged",
    ) as error:
        make(request(root, tmp_path / "to"))
    assert [each.image for each in error.value.images] == [
        "train/jay/0.JPEG",
        "train/wren/gone.JPEG",
        "val/wren/1.JPEG",
    ]
    assert error.value.images[1].reason == "cannot be read: No such file or directory"
    assert [path.name for path in (tmp_path / "to").iterdir()] == [".birds.partial"]

    seen: list[int] = []
    left = request(root, tmp_path / "to", leave_out_damaged=True)
    made = prepare.prepare(left, lambda what, done, total: seen.append(done))
    assert max(seen) == 0  # nothing is stored twice
    about = made.sets[tmp_path / "to" / "birds"]
    assert [each.image for each in about.left_out] == ["train/jay/0.JPEG", "train/wren/gone.JPEG", "val/wren/1.JPEG"]
    assert [about.splits[split].images for split in ("train", "test")] == [5, 3]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["birds"]
    make(request(root, tmp_path / "at once", leave_out_damaged=True))
    assert bytes_of(tmp_path / "at once") == bytes_of(tmp_path / "to")


def test_an_image_that_was_copied_again_is_looked_at_again(tmp_path: Path) -> None:
    """Although name and size are what they were."""
    root = class_folders(tmp_path / "birds")
    path = root / "train" / "jay" / "0.JPEG"
    good = path.read_bytes()
    path.write_bytes(good[:200] + bytes(len(good) - 200))
    with pytest.raises(DamagedImagesError, match="1 of 10 images"):
        make(request(root, tmp_path / "to"))
    path.write_bytes(good)
    make(request(root, tmp_path / "to"))
    make(request(root, tmp_path / "at once"))
    assert bytes_of(tmp_path / "to") == bytes_of(tmp_path / "at once")


def test_a_class_is_never_left_empty(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "birds", test=1)
    (root / "val" / "wren" / "0.JPEG").write_bytes(b"x")
    with pytest.raises(UnfitError, match="class wren would have no test images; copy them again"):
        make(request(root, tmp_path / "to", leave_out_damaged=True))


# Requests


def test_a_set_that_is_there_is_kept(birds: Path, tmp_path: Path) -> None:
    make(request(birds, tmp_path / "to"))
    before = (tmp_path / "to" / "birds" / "train.beton").stat().st_mtime_ns
    made = make(request(birds, tmp_path / "to", storages=STORAGES[:2]))
    assert made.before == (tmp_path / "to" / "birds",)
    assert list(made.sets) == [tmp_path / "to" / "birds", tmp_path / "to" / "birds-jpeg32q80"]
    assert (tmp_path / "to" / "birds" / "train.beton").stat().st_mtime_ns == before


def test_what_is_in_the_way_is_kept(birds: Path, tmp_path: Path) -> None:
    (tmp_path / "to" / "birds").mkdir(parents=True)
    with pytest.raises(UnfitError, match=r"birds: is in the way \(.*no prepared data set is here.*\); remove it, or"):
        make(request(birds, tmp_path / "to"))
    shutil.rmtree(tmp_path / "to")
    make(request(birds, tmp_path / "to"))
    other = class_folders(tmp_path / "other")
    with pytest.raises(
        UnfitError, match=r"birds: holds a set of another source, --held-out or --size \(Birds, 32 pixels\);"
    ):
        make(request(other, tmp_path / "to"))
    with pytest.raises(UnfitError, match="holds a set of another source, --held-out or --size"):
        make(request(birds, tmp_path / "to", size=64))
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["birds"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "My Birds"}, "--name My Birds: must be small letters and digits, with single hyphens between"),
        ({"name": ""}, "--name : must be small letters"),
        ({"name": "../birds"}, "must be small letters"),
        ({"name": "101"}, "--name 101: a study file would read it as no text; choose another name"),
        ({"name": "null"}, "--name null: a study file would read it as no text"),
        ({"name": "cifar10"}, "--name cifar10: is the name of another data set; choose a name of your own"),
        ({"name": "birds-raw400"}, "ends as a storage does; name it without, and add --store raw400"),
        ({"storages": (Storage(), Storage())}, "--store: each storage can be given once"),
    ],
)
def test_a_wrong_request_is_refused(birds: Path, tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UnfitError) as error:
        make(request(birds, tmp_path / "to", **values))
    assert words in str(error.value)
    assert not (tmp_path / "to").exists()


def test_a_file_is_no_folder(birds: Path, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("x")
    with pytest.raises(UnfitError, match="is a file, not a folder"):
        make(request(birds, tmp_path / "to"))


def test_a_wrong_source_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnfitError, match="there is no image in it"):
        make(request(tmp_path / "empty", tmp_path / "a" / "to"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("below", ["", "train", "new/sets"])
def test_a_source_is_not_written_into(tmp_path: Path, below: str) -> None:
    source = class_folders(tmp_path / "source")
    before = sorted(source.rglob("*"))
    with pytest.raises(UnfitError, match=r"lies in the source .*; choose a folder outside of it"):
        make(request(source, source / below))
    assert sorted(source.rglob("*")) == before


def test_two_at_once_are_refused(birds: Path, tmp_path: Path) -> None:
    asked = request(birds, tmp_path / "to")

    def again(what: str, done: int, total: int) -> None:
        with pytest.raises(NotThereError, match="is being written by another `ablate data prepare`; wait for its end"):
            make(asked)

    prepare.prepare(asked, again)
    assert manifest.read(tmp_path / "to" / "birds").name == "birds"


# ImageNet's name


def test_imagenet_is_all_of_its_images(birds: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnfitError,
        match=r"46 training and 10 test images of 2 classes, and ImageNet has 1,281,167, 50,000 and 1,000; complete the"
        r" copy, or prepare a part of it by `ablate data prepare imagefolder --name NAME`",
    ):
        make(request(birds, tmp_path / "to", name="imagenet"))
    assert not (tmp_path / "to").exists()


def test_imagenet_s_fingerprint(birds: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its original bytes it is the one that is known without reading; stored otherwise they are other pixels."""
    small = replace(SETS["imagenet"], train_images=46, test_images=10, classes=2)
    monkeypatch.setattr(prepare, "SETS", {**SETS, "imagenet": small})
    made = make(request(birds, tmp_path / "to", name="imagenet", storages=STORAGES[:3]))
    assert [about.name for about in made.sets.values()] == ["imagenet", "imagenet-jpeg32q80", "imagenet-raw32"]
    found = [about.fingerprint for about in made.sets.values()]
    assert found[0] == "ilsvrc2012:1281167+50000"
    assert found[1] == manifest.read(whole / "birds-jpeg32q80").fingerprint
    with pytest.raises(UnfitError, match="--leave-out-damaged: ImageNet is all of its images"):
        make(request(birds, tmp_path / "b", name="imagenet", leave_out_damaged=True))


# Kills, full disks, dead workers

SCRIPT = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from ablations.data.photographs import prepare
from ablations.data.photographs.manifest import Storage
prepare.CHECKPOINT_SECONDS, prepare.CHUNK = 0.0, 4
source, to, after, place = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def die():
    print(*(each.pid for each in active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def watch(what, done, total):
    if place == "store" and what == "storing images":
        print("at", done, file=sys.stderr, flush=True)
        if done >= after:
            die()

if place == "complete":
    prepare._sync_folder = lambda folder: die()
if place == "checkpoint":
    prepare.Journal.checkpoint = lambda self: self.progress.images >= after and die()
if __name__ == "__main__":
    storages = tuple(Storage.parse(text) for text in ("original", "jpeg32q80", "raw32", "mixed40q85"))
    request = prepare.Request(source=source, to=to, name="birds", title="Birds", size=32, storages=storages, workers=2)
    prepare.prepare(request, watch)
"""


def killed(source: Path, to: Path, after: int, place: str, script: Path) -> tuple[list[int], list[int]]:
    """A preparation that kills itself; its workers, and how far it was."""
    script.write_text(SCRIPT)
    command = [sys.executable, script, source, to, str(after), place]
    env = {**os.environ, "PYTHONPATH": str(Path(prepare.__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [int(each) for each in done.stdout.split()], [
        int(line[3:]) for line in done.stderr.splitlines() if line.startswith("at ")
    ]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def soon(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_a_kill_at_any_time_costs_nothing_but_time(
    birds: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed six times, in the pass and when all is complete; the bytes are those of an undisturbed one."""
    to = tmp_path / "to"
    before = 0
    for after, place in (
        (4, "store"),
        (20, "store"),
        (30, "checkpoint"),
        (46, "store"),
        (56, "store"),
        (0, "complete"),
    ):
        workers, seen = killed(birds, to, after, place, tmp_path / "killed.py")
        assert not [path for path in to.iterdir() if path.name != ".birds.partial"]
        assert soon(lambda pids=workers: all(map(gone, pids)))
        if seen:
            assert min(seen) > before  # it went on from where it was
            before = max(seen) - 4
        if place == "store" and after < 56:
            assert workers
    monkeypatch.setattr(prepare, "CHUNK", 4)
    stored: list[int] = []
    prepare.prepare(request(birds, to, storages=STORAGES), lambda what, done, total: stored.append(done))
    assert max(stored) == 0
    assert bytes_of(to) == bytes_of(whole)


def test_another_source_begins_again(birds: Path, whole: Path, tmp_path: Path) -> None:
    """What was begun is not mixed with what is asked for now."""
    other = class_folders(tmp_path / "other", train=9)
    killed(other, tmp_path / "to", 8, "store", tmp_path / "killed.py")
    make(request(birds, tmp_path / "to", storages=STORAGES))
    assert bytes_of(tmp_path / "to") == bytes_of(whole)


@pytest.mark.parametrize(("name", "cut"), [("checkpoint.npz", 100), ("about.json", 10)])
def test_a_damaged_record_of_it_begins_again(birds: Path, whole: Path, tmp_path: Path, name: str, cut: int) -> None:
    killed(birds, tmp_path / "to", 20, "store", tmp_path / "killed.py")
    path = tmp_path / "to" / ".birds.partial" / name
    path.write_bytes(path.read_bytes()[:cut])
    make(request(birds, tmp_path / "to", storages=STORAGES))
    assert bytes_of(tmp_path / "to") == bytes_of(whole)


def test_a_dead_worker_is_told(birds: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CHUNK", 1)
    monkeypatch.setattr(prepare, "CHECKPOINT_SECONDS", 0.0)
    asked = request(birds, tmp_path / "to", storages=STORAGES, workers=2)

    def kill(what: str, done: int, total: int) -> None:
        if done == 5:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGKILL)

    with pytest.raises(
        DataError, match=r"a worker process died \(out of memory, or killed\) near .*; the same command"
    ):
        prepare.prepare(asked, kill)
    monkeypatch.undo()
    make(asked)
    assert bytes_of(tmp_path / "to") == bytes_of(whole)


def test_a_worker_that_raises_ends_all(birds: Path, tmp_path: Path) -> None:
    """A storage that no worker knows stands for a bug: it is raised here, and nothing waits."""
    with pytest.raises(KeyError, match="heic"):
        make(request(birds, tmp_path / "to", storages=(Storage(mode="heic"),)))
    assert not (tmp_path / "to" / "birds-heicNone").exists()


def test_a_full_disk_leaves_nothing_half_valid(birds: Path, whole: Path, tmp_path: Path) -> None:
    """No file may grow beyond some sizes: in the images, in the table, in the mean."""
    code = """
import resource, sys
from ablations.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""
    end = (whole / "birds" / "train.beton").stat().st_size
    command = ["data", "prepare", "imagefolder", "--size=32", "--name=birds", "--title=Birds", f"--from={birds}"]
    command += [f"--to={tmp_path / 'to'}", "--workers=1", *(f"--store={each}" for each in STORAGES)]
    for most in (1000, 8 << 20, (8 << 20) + 5000, end - 1000, end - 1):
        done = subprocess.run(
            [sys.executable, "-c", code, str(most), *command], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 4, done.stderr
        assert done.stderr.count("\n") == 1
        assert (
            "no room is left there (File too large); make room and give the same command again: it goes on"
            in done.stderr
        )
        assert [path.name for path in (tmp_path / "to").iterdir()] == [".birds.partial"]
    make(request(birds, tmp_path / "to", storages=STORAGES))
    assert bytes_of(tmp_path / "to") == bytes_of(whole)


def test_room_is_looked_at_before(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**7, 10**7))
    with pytest.raises(
        NotThereError, match=r"0.0 GB are free there, and about 0.1 GB are needed; make room, or choose"
    ):
        make(request(birds, tmp_path / "to"))
    assert not (tmp_path / "to").exists()


def test_room_is_reckoned_from_the_images(birds: Path, whole: Path, tmp_path: Path) -> None:
    """What a storage takes, and no more than twice that for small JPEGs, whose headers are a good part of them."""
    for storage, most in zip(STORAGES[1:], (1.5, 1.1, 1.5), strict=True):
        asked = request(birds, tmp_path / "to", storages=(storage,))
        work = prepare._Work(asked, prepare.list_source(birds, tmp_path / "spool"), (storage,))
        reckoned = work._usual_pixels(storage.shorter_side or 0) * prepare.BYTES_A_PIXEL[storage.mode]
        taken = beton.read(whole / f"birds-{storage.suffix}" / "train.beton").sizes.mean()
        assert taken / most / 2 < reckoned < taken * most


# Real photographs


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no {SAMPLES.name} beside the repository")
def test_real_photographs(tmp_path: Path) -> None:
    """40 of them, in four classes: all are kept as they are, and colour and size survive."""
    with tarfile.open(SAMPLES) as tar:
        for number, member in enumerate(tar.getmembers()[:40]):
            file = tar.extractfile(member)
            assert file is not None
            path = tmp_path / "source" / f"c{number % 4}" / Path(member.name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())
    asked = request(
        tmp_path / "source",
        tmp_path / "to",
        size=224,
        held_out=2,
        workers=2,
        storages=(Storage(), Storage.parse("raw128")),
    )
    made = make(asked)
    about = made.sets[tmp_path / "to" / "birds"]
    assert [about.splits[split].images for split in ("train", "test")] == [32, 8]
    assert not about.converted
    found = beton.read(tmp_path / "to" / "birds" / "train.beton")
    originals = {path.read_bytes() for path in (tmp_path / "source").rglob("*.JPEG")}
    assert all(found.stored(index).tobytes() in originals for index in range(32))
    mean = np.load(tmp_path / "to" / "birds" / "mean.npy")
    assert 80 < mean.mean() < 160
    assert mean.mean((0, 1))[0] > mean.mean((0, 1))[2]  # photographs are more red than blue
    assert jpeg(0) not in originals
