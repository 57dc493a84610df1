"""Data sets: how they are read, what is refused and in which words, and the draws that decide the training."""

import io
import os
import pickle
import random
import tarfile
import urllib.error
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import md5
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablations.data import cifar10, cifar10_jpeg, digits, load
from ablations.data.draws import draw, order
from ablations.data.images import DataError, Images, fingerprint
from ablations.data.sets import SETS

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""Beside the repository, where there is one."""
ARCHIVE = SHARED / "cifar10-jpeg.tar.xz"
ARRAYS = [field.name for field in fields(Images)]

seeds = st.integers(0, 10**6)


def same(one: Images, other: Images) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# The draws


def test_the_words_of_a_draw_never_change() -> None:
    """They decide every result: if these change, raise `SEMANTICS`, and every trial is another one."""
    assert draw(0, "order", 0, 3).tolist() == [8092608474061213860, 5654248449537088938, 11962988878336243291]
    assert draw(3, "augmentation", 7, 2).tolist() == [11912429152231951123, 2779207263332454399]
    assert order(0, 0, 10).tolist() == [7, 8, 9, 1, 0, 6, 4, 3, 2, 5]
    assert order(1, 0, 10).tolist() == [3, 6, 7, 4, 1, 0, 2, 9, 5, 8]
    assert order(0, 1, 10).tolist() == [5, 6, 3, 4, 9, 8, 0, 1, 2, 7]


@given(seeds, st.integers(0, 1000), st.integers(0, 500))
def test_an_order_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    """Each image once, whatever the seed and the epoch."""
    assert sorted(order(seed, epoch, count).tolist()) == list(range(count))


@given(seeds, st.integers(0, 1000))
def test_seed_epoch_and_purpose_each_give_other_words(seed: int, epoch: int) -> None:
    """No two of them share a word, also where a seed and an epoch have the same digits in a row."""
    asked = [
        (seed, "order", epoch),
        (seed + 1, "order", epoch),
        (seed, "order", epoch + 1),
        (seed, "augmentation", epoch),
    ]
    asked += [(seed * 10, "order", epoch), (seed, "order", int(f"9{epoch}"))]
    asked = list(dict.fromkeys(asked))
    words = [word for each in asked for word in draw(*each, 8).tolist()]
    assert len(set(words)) == 8 * len(asked)


@given(seeds, st.integers(0, 1000), st.integers(0, 100))
def test_a_draw_depends_on_its_arguments_alone(seed: int, epoch: int, count: int) -> None:
    """Neither NumPy's nor Python's generator, nor what was drawn before, nor how many words are asked for."""
    first = draw(seed, "order", epoch, count)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    draw(seed + 1, "order", epoch, 7)
    assert np.array_equal(draw(seed, "order", epoch, count + 5)[:count], first)
    assert first.dtype == np.uint64


# The fingerprint


def tiny() -> Images:
    generator = np.random.default_rng(0)
    return Images(
        train=generator.integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
        train_labels=np.arange(6, dtype=np.int64),
        test=generator.integers(0, 256, (3, 4, 4, 3), dtype=np.uint8),
        test_labels=np.arange(3, dtype=np.int64),
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_a_fingerprint_changes_with_every_value(name: str) -> None:
    """One level of one pixel, or one label, is another data set."""
    images = tiny()
    changed = getattr(images, name).copy()
    changed.flat[-1] ^= 1
    assert fingerprint(replace(images, **{name: changed})) != fingerprint(images)


def test_a_fingerprint_changes_with_shapes_and_types_and_not_with_memory() -> None:
    """The same bytes in another shape are another data set; the same values in another layout are the same."""
    images = tiny()
    found = fingerprint(images)
    assert fingerprint(replace(images, train=images.train.reshape(6, 2, 8, 3))) != found
    assert fingerprint(replace(images, train_labels=images.train_labels.view(np.uint64))) != found
    assert fingerprint(replace(images, train=np.asfortranarray(images.train))) == found
    moved = Images(
        train=images.train[:5],
        train_labels=images.train_labels[:5],
        test=np.concatenate([images.train[5:], images.test]),
        test_labels=np.concatenate([images.train_labels[5:], images.test_labels]),
    )
    assert fingerprint(moved) != found


# Digits


def test_digits_are_split_into_disjoint_parts_that_are_the_whole() -> None:
    """1,437 + 360 images; together, with their labels, they are scikit-learn's 1,797, none twice and none missing."""
    from sklearn.datasets import load_digits

    images, whole = digits.read(), cast(Any, load_digits())
    assert (len(images.train), len(images.test)) == (1437, 360)
    parts = [
        (*pixels.ravel().tolist(), int(label)) for pixels, label in zip(images.train, images.train_labels, strict=True)
    ]
    parts += [
        (*pixels.ravel().tolist(), int(label)) for pixels, label in zip(images.test, images.test_labels, strict=True)
    ]
    flat = (whole.data * 15).astype(int)
    expected = [(*pixels.tolist(), int(label)) for pixels, label in zip(flat, whole.target, strict=True)]
    assert sorted(parts) == sorted(expected)
    assert images.train.max() == 240
    assert set(images.test_labels.tolist()) == set(range(10))


def test_digits_are_what_is_known_of_them() -> None:
    """Fingerprint, counts, size, channels and classes are those of SETS: nothing has to be read to know them."""
    images, known = digits.read(), SETS["digits"]
    assert fingerprint(images) == known.fingerprint
    assert images.train.shape == (known.train_images, known.size, known.size, known.channels)
    assert images.test.shape == (known.test_images, known.size, known.size, known.channels)
    assert len(set(images.train_labels.tolist())) == known.classes
    assert (images.train.dtype, images.train_labels.dtype) == (np.uint8, np.int64)


def test_digits_need_neither_preparation_nor_a_folder(tmp_path: Path) -> None:
    """They come with scikit-learn; reading them writes nothing, and preparing them keeps them as any other."""
    assert fingerprint(load.load("digits", tmp_path / "cache")) == SETS["digits"].fingerprint
    assert not list(tmp_path.iterdir())
    load.prepare("digits", tmp_path / "nowhere", tmp_path / "cache")
    assert [path.suffix for path in tmp_path.rglob("*.*")] == [".npz"]


# CIFAR-10 as JPEG files


def jpeg(size: tuple[int, int] = (32, 32), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set has 20 training and 10 test images."""
    monkeypatch.setattr(cifar10_jpeg, "SPLITS", {"train": 20, "test": 10})


@pytest.fixture
def folder(tmp_path: Path, small: None) -> Path:
    """A folder of 20 + 10 JPEG files, and what else is found in such folders."""
    root, seed = tmp_path / "sets" / "cifar10-jpeg", 0
    for split, count in (("train", 2), ("test", 1)):
        for kind in cifar10_jpeg.CLASSES:
            for index in range(count):
                path = root / split / kind / f"{index + 1:04d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(seed=seed))
                seed += 1
    (root / "README.md").write_text("not an image")
    (root / "train" / "airplane" / "Thumbs.db").write_bytes(b"not an image")
    return root


def packed(folder: Path, top: str = "cifar10-jpeg", mode: str = "w:xz") -> Path:
    """The archive of a folder, beside it."""
    archive = folder.with_name("cifar10-jpeg.tar.xz")
    with tarfile.open(archive, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType]
        tar.add(folder, arcname=top)
    return archive


@pytest.mark.skipif(not ARCHIVE.exists(), reason="needs ../shared/data/cifar10-jpeg.tar.xz, which is not there")
def test_the_real_jpeg_archive_has_its_fingerprint() -> None:
    """60,000 images, decoded by whatever libjpeg is installed, are the pixels that SETS knows."""
    images, known = cifar10_jpeg.read(ARCHIVE), SETS["cifar10-jpeg"]
    assert images.train.shape == (known.train_images, known.size, known.size, known.channels)
    assert np.bincount(images.test_labels).tolist() == [1000] * known.classes
    assert fingerprint(images) == known.fingerprint


@pytest.mark.parametrize("top", ["cifar10-jpeg", ".", "CIFAR-10-images-master"])
def test_a_folder_and_its_archive_give_equal_images(folder: Path, top: str) -> None:
    """In the same order too, whatever the folder in the archive is called, and whatever else lies there."""
    loose, archived = cifar10_jpeg.read(folder), cifar10_jpeg.read(packed(folder, top))
    assert same(loose, archived)
    assert fingerprint(loose) == fingerprint(archived)


def test_images_are_in_the_order_of_class_and_name(folder: Path) -> None:
    """Labels number the classes alphabetically, and pixels are what the files hold."""
    images = cifar10_jpeg.read(folder)
    assert images.train_labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert images.test_labels.tolist() == list(range(10))
    with Image.open(folder / "train" / "bird" / "0002.jpg") as image:
        assert np.array_equal(images.train[5], np.asarray(image))


def test_an_archive_that_is_not_compressed_with_xz_is_read_as_well(folder: Path) -> None:
    """What decides is the content, not the name."""
    assert same(cifar10_jpeg.read(packed(folder, mode="w:gz")), cifar10_jpeg.read(folder))


def damage_image(folder: Path) -> None:
    (folder / "train" / "cat" / "0002.jpg").write_bytes(jpeg()[:300])


def empty_image(folder: Path) -> None:
    (folder / "train" / "cat" / "0002.jpg").write_bytes(b"")


def enlarge_image(folder: Path) -> None:
    (folder / "train" / "cat" / "0002.jpg").write_bytes(jpeg((33, 32)))


def bomb_image(folder: Path) -> None:
    """A header that promises 65,500 x 65,500 pixels."""
    whole = jpeg()
    at = whole.index(b"\xff\xc0") + 5
    (folder / "train" / "cat" / "0002.jpg").write_bytes(whole[:at] + b"\xff\xdc\xff\xdc" + whole[at + 4 :])


def lose_image(folder: Path) -> None:
    (folder / "test" / "frog" / "0001.jpg").unlink()


def add_image(folder: Path) -> None:
    (folder / "test" / "frog" / "0002.jpeg").write_bytes(jpeg())


CAT = "train/cat/0002.jpg"


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damage_image, (CAT, "not a readable image", "copy it again")),
        (empty_image, (CAT, "not a readable image", "copy it again")),
        (enlarge_image, (CAT, "33x32 pixels, not 32x32")),
        (bomb_image, (CAT,)),
        (lose_image, ("9 images in test/, not 10", "is the copy complete?")),
        (add_image, ("11 images in test/, not 10",)),
    ],
)
def test_a_damaged_set_of_images_is_refused(
    folder: Path, change: Callable[[Path], None], said: tuple[str, ...], archived: bool
) -> None:
    """The message names the set, the image and what to do."""
    change(folder)
    source = packed(folder) if archived else folder
    with pytest.raises(DataError) as error:
        cifar10_jpeg.read(source)
    assert all(part in one_line(error) for part in (str(source), *said)), error.value


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2", "w"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_archive_is_refused(folder: Path, mode: str, kept: float) -> None:
    """However it is compressed and wherever it ends, and never read as a smaller data set."""
    archive = packed(folder, mode=mode)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError) as error:
        cifar10_jpeg.read(archive)
    assert str(archive) in one_line(error)
    assert "copy it again" in one_line(error) or "is the copy complete?" in one_line(error)


def test_an_archive_with_changed_bytes_is_refused(folder: Path) -> None:
    """The checksum of xz finds them."""
    archive = packed(folder)
    changed = bytearray(archive.read_bytes())
    for at in range(len(changed) // 2, len(changed) // 2 + 8):
        changed[at] ^= 0xFF
    archive.write_bytes(changed)
    with pytest.raises(DataError) as error:
        cifar10_jpeg.read(archive)
    assert str(archive) in one_line(error)


@pytest.mark.parametrize(
    "content", [b"", b"no archive", os.urandom(5000), jpeg()], ids=["empty", "text", "noise", "jpeg"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, small: None) -> None:
    """The message names it and says to copy it again."""
    archive = tmp_path / "cifar10-jpeg.tar.xz"
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"copy it again|is the copy complete") as error:
        cifar10_jpeg.read(archive)
    assert str(archive) in one_line(error)


# CIFAR-10 itself


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of CIFAR-10, two images in each, and torchvision told their checksums."""
    from torchvision.datasets import CIFAR10

    folder, generator = tmp_path / "sets" / "cifar10" / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)

    def written(name: str, content: Any) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return md5((folder / name).read_bytes()).hexdigest()

    def batch(name: str) -> list[str]:
        data = generator.integers(0, 256, (2, 3 * 32 * 32), dtype=np.uint8)
        return [name, written(name, {"data": data, "labels": [3, 9]})]

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{number}") for number in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    names = {"label_names": list(cifar10_jpeg.CLASSES)}
    monkeypatch.setattr(
        CIFAR10,
        "meta",
        {"filename": "batches.meta", "key": "label_names", "md5": written("batches.meta", names)},
    )
    return tmp_path / "sets"


def test_cifar10_is_read_in_its_own_order(original: Path) -> None:
    """Five training batches and a test batch; the file holds red, green and blue planes one after another."""
    source = cifar10.find(original)
    assert source == original / "cifar10"
    assert source is not None
    assert cifar10.find(source) == source
    images = cifar10.read(source)
    assert (images.train.shape, images.test.shape) == ((10, 32, 32, 3), (2, 32, 32, 3))
    assert images.train_labels.tolist() == [3, 9] * 5
    assert images.train_labels.dtype == np.int64
    second = pickle.loads((source / "cifar-10-batches-py" / "data_batch_2").read_bytes())["data"][1]
    for channel in range(3):
        assert np.array_equal(images.train[3, :, :, channel].ravel(), second[1024 * channel : 1024 * (channel + 1)])


@pytest.mark.parametrize("file", ["data_batch_4", "test_batch"])
@pytest.mark.parametrize("lost", [False, True], ids=["changed", "lost"])
def test_other_files_are_not_taken_for_cifar10(original: Path, file: str, lost: bool) -> None:
    """Their checksums are compared before anything in them is read, and so before it could do harm."""
    path = original / "cifar10" / "cifar-10-batches-py" / file
    if lost:
        path.unlink()
    else:
        path.write_bytes(pickle.dumps(Trap(original / "sprung")))
    with pytest.raises(DataError, match=r"not the CIFAR-10 that is distributed.*; remove .* fetch it again") as error:
        cifar10.read(original / "cifar10")
    assert str(original / "cifar10") in one_line(error)
    assert not (original / "sprung").exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("Name or service not known"),
        TimeoutError("timed out"),
        ConnectionResetError("Connection reset by peer"),
        RuntimeError("File not found or corrupted."),
        tarfile.ReadError("unexpected end of data"),
        EOFError("Compressed file ended before the end-of-stream marker was reached"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failed_download_is_one_clear_line(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, and where to put the data by hand; nothing is left that would be taken for the data later."""
    from torchvision.datasets import cifar

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    with pytest.raises(DataError) as error:
        load.prepare("cifar10", tmp_path, tmp_path / "cache")
    said = one_line(error)
    assert all(part in said for part in ("cifar10: cannot be downloaded", str(tmp_path / "cifar10"), str(failure)))
    assert "put the unpacked cifar-10-batches-py there by hand" in said
    assert cifar10.find(tmp_path) is None


def test_a_download_gives_up_on_a_server_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets have a time limit while it lasts, and the limit of before when it has ended."""
    import socket

    from torchvision.datasets import cifar

    limits = []

    def fail(*_: Any, **__: Any) -> None:
        limits.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(cifar, "download_and_extract_archive", fail)
    with pytest.raises(DataError):
        cifar10.download(tmp_path)
    assert limits == [cifar10.SILENCE_SECONDS]
    assert socket.getdefaulttimeout() is None


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """A file stands where the data would go."""
    (tmp_path / "cifar10").write_text("in the way")
    with pytest.raises(DataError, match="cannot be downloaded") as error:
        cifar10.download(tmp_path)
    assert str(tmp_path / "cifar10") in one_line(error)


# Prepared arrays


@pytest.fixture
def known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small folder is what SETS calls cifar10-jpeg; returns where it stands."""
    found = fingerprint(cifar10_jpeg.read(folder))
    changed = replace(SETS["cifar10-jpeg"], fingerprint=found, train_images=20, test_images=10)
    monkeypatch.setattr(load, "SETS", {**SETS, "cifar10-jpeg": changed})
    return folder.parent


def prepared(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def written(cache: Path) -> tuple[int, int]:
    """Which file it is, and when it was last written; that it was read since is no change."""
    found = prepared(cache).stat()
    return found.st_ino, found.st_mtime_ns


def test_a_data_set_is_decoded_once(known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time the arrays are there: the images are not needed, and what is read is equal."""
    cache, expected = tmp_path / "cache", cifar10_jpeg.read(known / "cifar10-jpeg")
    load.prepare("cifar10-jpeg", known, cache)
    first = written(cache)
    monkeypatch.setattr(cifar10_jpeg, "read", lambda source: pytest.fail("decoded again"))
    load.prepare("cifar10-jpeg", tmp_path / "nowhere", cache)
    assert written(cache) == first
    assert same(load.load("cifar10-jpeg", cache), expected)


def test_missing_images_are_one_clear_line(tmp_path: Path) -> None:
    """It says what was looked for, where, and how to say where it is."""
    with pytest.raises(DataError) as error:
        load.prepare("cifar10-jpeg", tmp_path, tmp_path / "cache")
    expected = ("neither a folder cifar10-jpeg/train nor cifar10-jpeg.tar.xz", str(tmp_path), "--data FOLDER")
    assert all(part in one_line(error) for part in expected)


def test_photographs_that_were_not_prepared_are_refused(tmp_path: Path) -> None:
    """With the folder that was looked into, and the command that makes one."""
    with pytest.raises(DataError, match=r"/imagenet: no prepared data set is here .*`ablate data prepare` makes one"):
        load.prepare("imagenet", tmp_path, tmp_path)


def test_other_pixels_under_the_name_are_refused(known: Path, tmp_path: Path) -> None:
    """One other image of the right size: nothing is prepared, and both fingerprints are said."""
    (known / "cifar10-jpeg" / "train" / "dog" / "0001.jpg").write_bytes(jpeg(seed=999))
    with pytest.raises(DataError, match=r"fingerprint sha256:\w{12}\.\.\., not sha256:\w{12}\.\.\.") as error:
        load.prepare("cifar10-jpeg", known, tmp_path / "cache")
    assert str(known / "cifar10-jpeg") in one_line(error)
    assert not (tmp_path / "cache").exists()


def test_other_pixels_in_the_prepared_arrays_are_refused(known: Path, tmp_path: Path) -> None:
    """Whoever made the file, and however whole it is: what is trained on has the fingerprint that the key holds."""
    cache = tmp_path / "cache"
    load.prepare("cifar10-jpeg", known, cache)
    images = cifar10_jpeg.read(known / "cifar10-jpeg")
    images.train[3, 2, 1, 0] ^= 1
    load._keep(images, prepared(cache))
    with pytest.raises(DataError, match="other pixels") as error:
        load.load("cifar10-jpeg", cache)
    assert str(cache) in one_line(error)


def test_prepared_cifar10_has_the_shapes_of_cifar10(original: Path, tmp_path: Path) -> None:
    """Its fingerprint is of the archive; of the prepared arrays, counts and sizes are looked at."""
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"cifar10: .* 10 training and 2 test images"):
        load.prepare("cifar10", original, cache)
    assert not cache.exists()
    path = cache / f"cifar10-{SETS['cifar10'].fingerprint[4:16]}.npz"
    cache.mkdir()
    load._keep(tiny(), path)
    with pytest.raises(DataError, match=r"cifar10: .* 6 training and 3 test images"):
        load.load("cifar10", cache)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_bits(path: Path) -> None:
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 0xFF
    path.write_bytes(changed)


def lose_array(path: Path) -> None:
    np.savez(path, train=tiny().train)


def lone_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, tiny().train)


def trap(path: Path) -> None:
    objects = np.array([Trap(path.parent / "sprung")], dtype=object)
    np.savez(path, **dict.fromkeys(ARRAYS, objects), allow_pickle=True)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("change", [truncate, empty, flip_bits, lose_array, lone_array, trap, os.unlink])
def test_damaged_arrays_are_refused(change: Callable[[Path], None], known: Path, tmp_path: Path) -> None:
    """One line that names the file and says to remove it; nothing in the file is unpickled. Then it is made again."""
    cache = tmp_path / "cache"
    load.prepare("cifar10-jpeg", known, cache)
    path = prepared(cache)
    change(path)
    with pytest.raises(DataError, match="missing or damaged") as error:
        load.load("cifar10-jpeg", cache)
    assert str(path) in one_line(error)
    assert "remove it and run again" in one_line(error)
    assert not (cache / "sprung").exists()
    path.unlink(missing_ok=True)
    load.prepare("cifar10-jpeg", known, cache)
    assert fingerprint(load.load("cifar10-jpeg", cache)) == load.SETS["cifar10-jpeg"].fingerprint


def test_arrays_are_whole_or_absent(known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves nothing under the name that is looked for, and no rest; the next attempt succeeds."""
    cache, save = tmp_path / "cache", np.savez

    def stop_in_the_middle(file: Any, **arrays: Any) -> None:
        save(file, train=arrays["train"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", stop_in_the_middle)
    with pytest.raises(OSError, match="No space left on device"):
        load.prepare("cifar10-jpeg", known, cache)
    assert not list(cache.iterdir())
    monkeypatch.setattr(np, "savez", save)
    load.prepare("cifar10-jpeg", known, cache)
    assert len(load.load("cifar10-jpeg", cache).train) == 20


def test_arrays_take_their_name_when_they_are_on_disk(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, flushed to the disk, renamed: in this order."""
    events: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        events.append("fsync")
        fsync(descriptor)

    def record_rename(self: Path, target: Path) -> Path:
        assert self.parent == target.parent, "a rename is atomic on one file system only"
        assert not target.exists()
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_rename)
    load.prepare("cifar10-jpeg", known, tmp_path / "cache")
    assert events[:2] == ["fsync", "rename"]


@settings(max_examples=20)
@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_an_image(data: bytes) -> None:
    """Whatever an image file holds, the error is ours and names it."""
    with pytest.raises(DataError, match=r"^set: train/cat/1\.jpg: "):
        cifar10_jpeg._decode(data, "set: train/cat/1.jpg")


def test_changed_pixels_of_prepared_cifar10_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The archive's checksum cannot tell once it is decoded, so the arrays carry their own."""
    size = tiny().train.shape[1]
    known = replace(SETS["cifar10"], train_images=6, test_images=3, size=size)
    monkeypatch.setitem(SETS, "cifar10", known)  # type: ignore[arg-type]
    path = load._cached("cifar10", tmp_path)
    load._keep(tiny(), path)
    load.prepare("cifar10", tmp_path, tmp_path)
    with np.load(path) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed["train"][0, 0, 0, 0] ^= 1
    np.savez(path, **changed)
    load.load.cache_clear()
    with pytest.raises(DataError, match=r"is damaged .* remove it and run again"):
        load.prepare("cifar10", tmp_path, tmp_path)
