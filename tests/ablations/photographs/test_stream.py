"""Batches of photographs: the same bytes wherever training begins, whoever decodes, and however many share them."""

import importlib.util
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import write_set
from PIL import Image
from torch import Tensor

from ablations.data import load
from ablations.data.draws import split
from ablations.data.errors import DataError
from ablations.data.photographs import backends, choice, prepared, stream
from ablations.data.photographs.prepared import Prepared, follow, open_prepared, point
from ablations.data.photographs.stream import Stream
from ablations.recipes import IMAGENET, Recipe

pytestmark = pytest.mark.timeout(120)
TRAIN, TEST, SIZE, BATCH = 240, 30, 32, 16
EPOCH = TRAIN // BATCH
CPU = torch.device("cpu")
WORKERS = (
    1,
    pytest.param(
        2, marks=pytest.mark.skipif(importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed here")
    ),
)


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("stream") / "shapes"
    write_set(folder, {"train": TRAIN, "test": TEST}, size=SIZE, raw=True)
    return open_prepared(folder)


def recipe(**values: Any) -> Recipe:
    return replace(IMAGENET, **{"batch": BATCH, "bn_batch": None, "iterations": 100, **values})


def feed(of: Prepared, seed: int = 0, workers: int = 1, rank: int = 0, count: int = 1, **values: Any) -> Stream:
    return Stream(of, recipe(**values), seed, CPU, SIZE, workers=workers, rank=rank, count=count)


def digest(tensors: Sequence[Tensor]) -> str:
    total = sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return total.hexdigest()


def digests(of: Prepared, asked: Sequence[int], **how: Any) -> list[str]:
    with closing(feed(of, **how)) as one:
        return [digest(one.draws(iteration)) for iteration in asked]


# A function of seed and iteration


def test_the_third_epoch_is_the_same_from_its_beginning_and_from_its_ninth_batch(of: Prepared) -> None:
    third = range(3 * EPOCH, 4 * EPOCH)
    whole = digests(of, third)
    assert len(set(whole)) == EPOCH
    assert digests(of, third[9:]) == whole[9:]
    assert digests(of, range(4 * EPOCH))[third[0] :] == whole


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("values", [{}, {"augmentation": "area-crop-flip-colour"}, {"order": "quasi-random"}])
def test_workers_and_the_place_of_a_restart_change_nothing(
    of: Prepared, workers: int, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = range(3 * EPOCH, 4 * EPOCH)
    whole = digests(of, third, **values)
    monkeypatch.setattr(stream, "STRETCH", 4)
    assert digests(of, third, workers=workers, **values) == whole
    assert digests(of, third[9:], workers=workers, **values) == whole[9:]


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_may_be_asked_for_in_any_order(of: Prepared, workers: int) -> None:
    """As probes do: the next fifty batches, then the first of them again."""
    asked = [0, 1, 2, 3, 0, 0, 1, 40, 2, 3]
    expected = digests(of, range(41))
    assert digests(of, asked, workers=workers) == [expected[at] for at in asked]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_replicas_are_the_whole_batch(of: Prepared, workers: int, count: int) -> None:
    whole, shares = feed(of), [feed(of, workers=workers, rank=rank, count=count) for rank in range(count)]
    for at in (0, 1, EPOCH - 1, EPOCH):
        parts = [one.draws(at) for one in shares]
        assert {len(part[0]) for part in parts} == {BATCH // count}
        assert digest([torch.cat(each) for each in zip(*parts, strict=True)]) == digest(whole.draws(at))
    for one in (whole, *shares):
        one.close()


def test_a_look_at_a_batch_is_at_all_of_it_and_disturbs_no_reading(of: Prepared) -> None:
    """A replica that has a part of it looks at the whole, as the probes do."""
    with closing(feed(of)) as whole, closing(feed(of, rank=1, count=2)) as one:
        expected, mine = whole.drawn(whole.draws(7)), one.draws(3)
        ahead = one._ahead
        assert digest(one.batch(7)) == digest(whole.batch(7)) == digest(expected)
        assert one._ahead is ahead
        assert digest(one.draws(4)) != digest(mine)
        assert one._ahead is ahead


@pytest.mark.parametrize("workers", WORKERS)
def test_sizes_change_where_the_recipe_says(of: Prepared, workers: int) -> None:
    """Also where the change comes in mid-stretch, and where reading begins behind it."""
    values: dict[str, Any] = {"sizes": (16, 24, 32), "iterations": 21}
    whole = digests(of, range(21), **values)
    assert digests(of, range(21), workers=workers, **values) == whole
    assert digests(of, range(8, 21), workers=workers, **values) == whole[8:]
    with closing(feed(of, workers=workers, **values)) as one:
        assert [one.draws(at)[0].shape[1] for at in (0, 6, 7, 13, 14, 20, 30)] == [16, 16, 24, 24, 32, 32, 32]
        assert one.batch(3)[0].shape == (BATCH, 3, 16, 16)


def test_seeds_differ(of: Prepared) -> None:
    assert not {*digests(of, range(5))} & {*digests(of, range(5), seed=1)}


def test_held_out_images_are_validated_on_and_never_trained_on(of: Prepared) -> None:
    """The same ones for all seeds; told apart by how often each label comes, which is of the held-out images alone."""
    kept, held_out = split(TRAIN, 40)
    with closing(feed(of, held_out=40)) as one:
        found = list(one.validation_batches(16))
        epoch = torch.cat([one.draws(at)[1] for at in range(200 // BATCH + 1)])[:200]
    assert [len(labels) for _, labels in found] == [16, 16, 8]
    assert torch.equal(torch.cat([labels for _, labels in found]), torch.from_numpy(of.train.labels[held_out]))
    assert np.array_equal(np.sort(epoch.numpy()), np.sort(of.train.labels[kept]))


# What the network gets


def test_the_mean_is_subtracted_and_the_colours_are_added(of: Prepared) -> None:
    with closing(feed(of)) as one:
        pixels, labels, colours = one.draws(0)
        images, same = one.drawn((pixels, labels, colours))
    expected = (pixels.double() - torch.from_numpy(of.mean).double()) / 255 + colours.double()[:, None, None, :]
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(images.permute(0, 2, 3, 1).double(), expected, atol=1e-6)
    assert torch.equal(labels, same)
    assert colours.abs().max() > 0.01


def test_a_mean_colour_is_that_of_the_mean_image(of: Prepared) -> None:
    with closing(feed(of, normalisation="channel-mean", colour_noise=0)) as one:
        pixels, labels, colours = one.draws(0)
        images, _ = one.drawn((pixels, labels, colours))
    assert not colours.any()
    expected = (pixels.double() - torch.from_numpy(of.mean).double().mean(dim=(0, 1))) / 255
    assert torch.allclose(images.permute(0, 2, 3, 1).double(), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(SIZE, SIZE), (24, 24), (36, 36), (SIZE, 40)])
def test_the_mean_of_a_smaller_crop_is_the_mean_image_resized_and_of_a_whole_image_its_colour(
    of: Prepared, height: int, width: int
) -> None:
    with closing(feed(of)) as one:
        grey = torch.zeros(1, height, width, 3, dtype=torch.uint8)
        found = -255 * one.normalised(grey)[0].permute(1, 2, 0).numpy()
    if (height, width) == (SIZE, SIZE):
        expected = of.mean
    elif height == width < SIZE:
        channels = [Image.fromarray(of.mean[..., each]) for each in range(3)]  # in float
        expected = np.stack(
            [np.asarray(each.resize((width, height), Image.Resampling.BILINEAR)) for each in channels], axis=2
        )
    else:
        expected = np.broadcast_to(of.mean.mean(axis=(0, 1)), (height, width, 3))
    assert np.allclose(found, expected, atol=0.01)


def test_the_centre_is_torchvisions(of: Prepared) -> None:
    """Resize to 8/7 of the size, then crop the centre, in two steps; to 1.5 of 255 in the mean."""
    from torchvision.transforms import v2

    literally = v2.Compose([v2.Resize(round(SIZE * 8 / 7)), v2.CenterCrop(SIZE)])
    with closing(feed(of, normalisation="channel-mean")) as one:
        images, labels = (torch.cat(each) for each in zip(*one.test_batches(7), strict=True))
    assert torch.equal(labels, torch.from_numpy(of.test.labels))
    colour = torch.from_numpy(of.mean.mean(axis=(0, 1)))
    for at, image in enumerate(images):
        shown = literally(stored(of, at))
        far = abs(255 * image.permute(1, 2, 0) + colour - torch.from_numpy(np.array(shown)).float())
        assert far.mean() < 1.5


def stored(of: Prepared, at: int) -> Image.Image:
    """A test image as it lies in the file."""
    bytes_, shape = of.test.stored(at), (int(of.test.heights[at]), int(of.test.widths[at]))
    return Image.fromarray(bytes_.reshape(*shape, 3)) if of.test.modes[at] else Image.open(io.BytesIO(bytes_.tobytes()))


# Evaluation


def batches(one: Stream, part: slice = slice(None)) -> dict[str, Callable[[], Iterator[Any]]]:
    return {
        "test": lambda: one.test_batches(7, part),
        "validation": lambda: one.validation_batches(7, part),
        "clean": lambda: one.clean_batches(7, None, part),
        "some": lambda: one.clean_batches(7, 20, part),
    }


@pytest.mark.parametrize("kind", ["test", "validation", "clean", "some"])
@pytest.mark.parametrize("count", [2, 3, 50])
def test_replicas_share_an_evaluation_and_decode_their_part_alone(
    of: Prepared, kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(feed(of, held_out=30)) as one:
        whole = [digest(each) for each in batches(one)[kind]()]
        decoded: list[int] = []
        pixels = backends.Threads.pixels
        monkeypatch.setattr(
            backends.Threads, "pixels", lambda self, rows: (decoded.append(len(rows)), pixels(self, rows))[1]
        )
        parts = [[digest(each) for each in batches(one, slice(rank, None, count))[kind]()] for rank in range(count)]
    assert all(part == whole[rank::count] for rank, part in enumerate(parts))
    assert len(decoded) == len(whole)
    assert len(batches(one)) == 4


def test_clean_images_are_the_same_each_time_and_mixed(of: Prepared) -> None:
    with closing(feed(of)) as one, closing(feed(of, seed=5)) as other:
        some = [digest(each) for each in one.clean_batches(8, 24)]
        assert some == [digest(each) for each in other.clean_batches(8, 24)]
        assert len(some) == 3
        assert sum(len(labels) for _, labels in one.clean_batches(100)) == TRAIN


def test_an_evaluation_amid_training_changes_neither(of: Prepared) -> None:
    expected = digests(of, range(6))
    with closing(feed(of)) as one:
        tests, found = [digest(each) for each in one.test_batches(10)], []
        for at in range(6):
            found.append(digest(one.draws(at)))
            assert [digest(each) for each in one.test_batches(10)] == tests
    assert found == expected


# What is left behind


@pytest.mark.parametrize("workers", WORKERS)
def test_a_closed_stream_leaves_no_thread_and_may_be_asked_again(of: Prepared, workers: int) -> None:
    before = threading.active_count()
    one = feed(of, workers=workers)
    first = digest(one.draws(0))
    for iteration in (7, 3, 0):
        found = digest(one.draws(iteration))
        one.close()
        assert threading.active_count() == before
    one.close()
    assert found == first


def test_an_evaluation_left_early_leaves_no_thread(of: Prepared) -> None:
    before = threading.active_count()
    with closing(feed(of)) as one:
        for _ in range(3):
            seen = one.test_batches(2)
            next(seen)
            seen.close()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator
        with pytest.raises(KeyError):
            _fail_within(one.test_batches(2))
    assert threading.active_count() == before


def _fail_within(seen: Iterator[Any]) -> None:
    for _ in seen:
        raise KeyError


@pytest.mark.parametrize("workers", WORKERS)
def test_two_streams_at_once_do_not_disturb_each_other(of: Prepared, workers: int) -> None:
    expected = [digests(of, range(20), seed=seed) for seed in (0, 1)]
    with closing(feed(of, 0, workers)) as one, closing(feed(of, 1, workers)) as other:
        found = [(digest(one.draws(at)), digest(other.draws(at))) for at in range(20)]
    assert found == list(zip(*expected, strict=True))


@pytest.mark.parametrize("order", ["random", "quasi-random"])
def test_a_set_that_is_moved_amid_training_is_read_on(tmp_path: Path, order: str) -> None:
    """It is open; only the next trial looks for it by its name."""
    write_set(tmp_path / "shapes", {"train": TRAIN, "test": TEST}, size=SIZE)
    of = open_prepared(tmp_path / "shapes")
    expected = digests(of, range(20), order=order)
    with closing(feed(of, order=order)) as one:
        (tmp_path / "shapes").rename(tmp_path / "elsewhere")
        assert [digest(one.draws(at)) for at in range(20)] == expected


def test_the_loader_is_named(of: Prepared) -> None:
    for workers in (1, 2):
        assert feed(of, workers=workers).loader == choice.backend(of.train, BATCH, workers).name


# Failures


def broken(of: Prepared, folder: Path, split_: str, index: int) -> Prepared:
    """A copy of the set in which the bytes of one image are zero; its manifest does not know."""
    folder.mkdir()
    for path in of.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    source = getattr(of, split_)
    begin, size = int(source.pointers[index]), int(source.sizes[index])
    path = folder / source.path.name
    data = bytearray(path.read_bytes())
    data[begin : begin + size] = bytes(size)
    path.write_bytes(data)
    return open_prepared(folder)


@pytest.mark.parametrize("workers", WORKERS)
def test_training_ends_at_a_damaged_image_and_names_it(of: Prepared, tmp_path: Path, workers: int) -> None:
    with closing(feed(broken(of, tmp_path / "broken", "train", 10), workers=workers)) as one:  # 10: a JPEG
        for _ in range(2):
            with pytest.raises(DataError, match=r"train.beton: image 10 cannot be decoded; `ablate data verify`"):
                list(map(one.draws, range(EPOCH)))


def test_an_evaluation_ends_at_a_damaged_image_and_names_it(of: Prepared, tmp_path: Path) -> None:
    before = threading.active_count()
    with (
        closing(feed(broken(of, tmp_path / "broken", "test", 7))) as one,
        pytest.raises(DataError, match=r"test.beton: image 7 cannot be decoded; `ablate data verify`"),
    ):
        list(one.test_batches(4))
    assert threading.active_count() == before


def test_a_set_that_was_prepared_anew_is_one_line(of: Prepared, tmp_path: Path) -> None:
    """The trial was asked on the old pictures; the folder has others by now."""
    folder, pointer = tmp_path / "shapes", tmp_path / "pointer.json"
    old = write_set(folder, {"train": 12, "test": 4}).fingerprint
    point(folder, pointer)
    assert follow(pointer, old).folder == folder
    new = write_set(folder, {"train": 13, "test": 4}).fingerprint
    with pytest.raises(DataError) as refused:
        follow(pointer, old)
    assert str(refused.value) == (
        f"{folder}: has fingerprint {new[:19]}..., and the trial was asked on {old[:19]}...;"
        " it was prepared anew since, so run the study again"
    )


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"folder": 3}'])
def test_a_pointer_that_is_missing_or_damaged_is_one_line(tmp_path: Path, text: str | None) -> None:
    pointer = tmp_path / "shapes-0123.json"
    if text is not None:
        pointer.write_text(text)
    with pytest.raises(DataError, match=r"shapes-0123.json: missing or damaged \(.*\); run again, it is written anew"):
        follow(pointer, "sha256:0")


def test_photographs_are_found_by_their_pointer_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers stand elsewhere, and the data folder was named relative to where the user stood."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_DATA", "data")
    made = write_set(Path("data/shapes"), {"train": 12, "test": 4})
    cache = tmp_path / "results" / "data"
    load.prepare("shapes", Path("data"), cache)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load.photographs("shapes", made.fingerprint, cache).train) == 12
    (pointer,) = cache.iterdir()
    assert json.loads(pointer.read_text())["fingerprint"] == made.fingerprint


def test_a_mean_that_is_damaged_is_one_line(tmp_path: Path) -> None:
    write_set(tmp_path / "shapes", {"train": 12, "test": 4})
    mean = tmp_path / "shapes" / "mean.npy"
    mean.write_bytes(mean.read_bytes()[:-1] + b"!")
    with pytest.raises(DataError, match=r"mean.npy: damaged \(its checksum differs\)"):
        open_prepared(tmp_path / "shapes")
    mean.unlink()
    with pytest.raises(DataError, match=r"mean.npy: cannot be read \(No such file or directory\)"):
        open_prepared(tmp_path / "shapes")


def test_a_file_of_another_length_is_one_line(tmp_path: Path) -> None:
    write_set(tmp_path / "shapes", {"train": 12, "test": 4})
    other = write_set(tmp_path / "others", {"train": 13, "test": 4})
    (tmp_path / "shapes" / "train.beton").write_bytes((tmp_path / "others" / "train.beton").read_bytes())
    with pytest.raises(DataError, match=r"train.beton: has 13 images in [\d,]+ bytes, not the 12 in [\d,]+ of its"):
        prepared.open_prepared(tmp_path / "shapes")
    assert other.splits["train"].images == 13
