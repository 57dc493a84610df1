"""From a source of photographs to prepared sets: checked, converted, stored and measured in one pass over all cores.

Everything is written into `DIR/.NAME.partial`, and becomes `DIR/NAME` in one step when it is whole. A checkpoint says
how far the files there are valid: after a kill at any time, the same command goes on from it, to the same bytes.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from ablations.data import draws
from ablations.data.errors import DataError, NotThereError, UnfitError
from ablations.data.photographs import manifest
from ablations.data.photographs.beton import Sample, Writer
from ablations.data.photographs.crew import WorkerDiedError, in_order
from ablations.data.photographs.inspection import DamagedError, strict
from ablations.data.photographs.journal import CHECKPOINT, Journal
from ablations.data.photographs.manifest import SPLITS, Manifest, Remark, Source, Split, Storage
from ablations.data.photographs.sources import Listing, Photograph, list_source
from ablations.data.photographs.storing import Outcome, Stored, Task, read, work
from ablations.data.sets import SETS

IMAGENET = "imagenet"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CHECKSUMS = "checksums.npz"
"""CRC-32 of each stored image, (N,) uint32 for each split: they say which is damaged, where a file's sha256 differs."""
CHUNK = 16
"""Images of a task."""
CHECKPOINT_SECONDS = 5.0
CROPS = 100_000
"""Of the mean image, at least, unless that would be more than `MOST_CROPS` of an image."""
MOST_CROPS = 8
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPARE = 64 << 20
"""Bytes beside the images: headers, tables, the journal."""

BYTES_A_PIXEL = {"jpeg": 0.35, "raw": 3.0, "mixed": 1.7}
"""What is reckoned with: a JPEG of quality 90 takes 0.3, and of quality 98 twice that."""
PROBES = 200
"""Images whose headers say how much room all of them need."""

Watch = Callable[[str, int, int], None]
"""Told what is done, how far it is, and of how much."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to prepare. `name`: of the set with original bytes; others carry their storage behind it."""

    source: Path
    to: Path
    name: str
    title: str
    size: int = 224
    storages: tuple[Storage, ...] = (Storage(),)
    held_out: int | None = None
    leave_out_damaged: bool = False
    workers: int = 1

    def set_name(self, storage: Storage) -> str:
        return "-".join(filter(None, (self.name, storage.suffix)))

    def folder(self, storage: Storage) -> Path:
        return self.to / self.set_name(storage)

    @property
    def partial(self) -> Path:
        return self.to / f".{self.name}.partial"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The sets that are there now, those of them that were there before, and what is no image in the source."""

    sets: Mapping[Path, Manifest]
    before: tuple[Path, ...]
    passed_over: int


class DamagedImagesError(DataError):
    """Images of the source are damaged; `images` names them all."""

    def __init__(self, message: str, images: tuple[Remark, ...]) -> None:
        super().__init__(message)
        self.images = images


def prepare(request: Request, watch: Watch) -> Preparation:
    """Prepare a source in every storage that is asked for and not there yet.

    Raises UnfitError for a wrong request or source, NotThereError where there is no source or no room, DataError where
    the source is damaged; nothing is at the sets' places then.
    """
    _see_request(request)
    missing = [each for each in (request.to, *request.to.parents) if not each.exists()]
    try:
        request.partial.mkdir(parents=True, exist_ok=True)
        with _alone(request.partial):
            try:
                prepared = _prepare(request, watch)
            except DataError:
                _leave_nothing(request, missing)
                raise
            shutil.rmtree(request.partial)
            return prepared
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NotThereError(
            f"--to {request.to}: no room is left there ({error.strerror}); make room and give the same command again:"
            " it goes on from where it is"
        ) from error


def _prepare(request: Request, watch: Watch) -> Preparation:
    watch("listing images", 0, 0)
    listing = list_source(request.source, request.partial / "spool", request.held_out)
    _see_imagenet(request, listing)
    before = _before(request, listing)
    missing = tuple(each for each in request.storages if request.folder(each) not in before)
    sets = {**before, **(_Work(request, listing, missing).run(watch) if missing else {})}
    return Preparation(
        sets={request.folder(each): sets[request.folder(each)] for each in request.storages},
        before=tuple(before),
        passed_over=listing.passed_over,
    )


def _leave_nothing(request: Request, missing: Sequence[Path]) -> None:
    """Where nothing was stored yet; no folder either that was missing before."""
    if not any((request.partial / each).exists() for each in (CHECKPOINT, "spool")):
        shutil.rmtree(request.partial, ignore_errors=True)
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()  # if it is empty


def _see_request(request: Request) -> None:
    if not NAME.fullmatch(request.name):
        raise UnfitError(f"--name {request.name}: must be small letters and digits, with single hyphens between")
    if yaml.safe_load(request.name) != request.name:
        raise UnfitError(f"--name {request.name}: a study file would read it as no text; choose another name")
    if request.name in SETS and request.name != IMAGENET:
        raise UnfitError(f"--name {request.name}: is the name of another data set; choose a name of your own")
    last = request.name.rpartition("-")[2]
    if re.fullmatch(manifest.STORE, last):
        raise UnfitError(f"--name {request.name}: ends as a storage does; name it without, and add --store {last}")
    if len(set(request.storages)) != len(request.storages):
        raise UnfitError("--store: each storage can be given once")
    if request.to.exists() and not request.to.is_dir():
        raise UnfitError(f"--to {request.to}: is a file, not a folder")
    source = request.source.resolve()
    if source.is_dir() and request.to.resolve().is_relative_to(source):
        raise UnfitError(f"--to {request.to}: lies in the source {request.source}; choose a folder outside of it")


def _see_imagenet(request: Request, listing: Listing) -> None:
    """No other images are given ImageNet's name: a number of them, or of their classes, that differs is refused."""
    if request.name != IMAGENET:
        return
    known = SETS[IMAGENET]
    found = (len(listing.splits["train"]), len(listing.splits["test"]), len(listing.classes))
    if found != (known.train_images, known.test_images, known.classes):
        raise UnfitError(
            f"--from {request.source}: {found[0]:,} training and {found[1]:,} test images of {found[2]:,} classes, and"
            f" ImageNet has {known.train_images:,}, {known.test_images:,} and {known.classes:,}; complete the copy, or"
            " prepare a part of it by `ablate data prepare imagefolder --name NAME`"
        )
    if request.leave_out_damaged:
        raise UnfitError("--leave-out-damaged: ImageNet is all of its images; copy the damaged ones again")


def _before(request: Request, listing: Listing) -> dict[Path, Manifest]:
    """Sets that are there already, from this very source. Raises UnfitError where something else is at their place."""
    found = {}
    for storage in request.storages:
        folder = request.folder(storage)
        if not folder.exists():
            continue
        try:
            there = manifest.read(folder)
        except DataError as error:
            raise UnfitError(f"{folder}: is in the way ({error}); remove it, or choose another --to") from error
        if (there.source.digest, there.size) != (listing.digest(), request.size):
            raise UnfitError(
                f"{folder}: holds a set of another source, --held-out or --size ({there.title}, {there.size} pixels);"
                " remove it, or choose another --name or --to"
            )
        found[folder] = there
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotThereError(
                f"{folder}: is being written by another `ablate data prepare`; wait for its end"
            ) from None
        yield


def versions() -> dict[str, str]:
    """What decides the bytes of what is converted and of the mean image, and how images are checked."""
    from PIL import __version__ as pillow

    return {"pillow": pillow, "numpy": np.__version__, "check": "libjpeg, strictly" if strict() else "Pillow alone"}


@dataclass
class _Work:
    """One preparation, in its folder."""

    request: Request
    listing: Listing
    storages: tuple[Storage, ...]
    images: list[Photograph] = field(init=False)
    """Of both splits, in the order of the files."""
    counts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.request.partial
        self.images = []
        self.counts = {split: len(self.listing.splits[split]) for split in SPLITS}
        for split in SPLITS:
            photographs = self.listing.splits[split]
            self.images += [photographs[index] for index in draws.order(0, 0, len(photographs))]

    def run(self, watch: Watch) -> dict[Path, Manifest]:
        self._begin()
        self._see_room()
        journal = self._journal()
        with ExitStack() as stack:
            writers = self._writers(stack, journal)
            self._store(writers, journal, watch)
            left_out = self._left_out(journal)
            for each in writers.values():
                each.finish()
        watch("checksums", 0, 0)
        made = {self.request.folder(storage): self._complete(storage, journal, left_out) for storage in self.storages}
        for storage in self.storages:
            (self.folder / str(storage)).rename(self.request.folder(storage))
        _sync_folder(self.request.to)
        return made

    def _journal(self) -> Journal:
        return Journal(self.folder, self.request.size)

    # What is there already

    def _begin(self) -> None:
        """Forget what was begun for another source, storage or version."""
        about = {
            "digest": self.listing.digest(),
            "storages": [str(each) for each in self.storages],
            "size": self.request.size,
            "versions": versions(),
        }
        path, begun = self.folder / "about.json", None
        with suppress(OSError, ValueError):  # none yet, or not written to its end
            begun = json.loads(path.read_text(encoding="utf-8"))
        if begun != about or not self._still_damaged():
            for each in self.folder.iterdir():
                if each.name not in ("spool", "lock"):
                    shutil.rmtree(each) if each.is_dir() else each.unlink()
            path.write_text(json.dumps(about), encoding="utf-8")
        for storage in self.storages:
            (self.folder / str(storage)).mkdir(exist_ok=True)
            for file in (self.folder / str(storage)).iterdir():
                file.chmod(0o644)  # it was complete, and not yet at its place

    def _still_damaged(self) -> bool:
        """An image that was damaged may have been copied again, with a name and size that are the same."""
        bad = [index for index, verdict in enumerate(self._journal().verdicts()) if verdict.damaged]
        if not bad:
            return True
        task = Task(
            begin=0, images=[self.images[index] for index in bad], storages=(), size=1, draws=self._no_draws(bad)
        )
        return all(verdict.damaged for verdict in work(task).verdicts)

    def _no_draws(self, images: Sequence[int]) -> NDArray[np.uint64]:
        return np.empty((len(images), 0, 3), dtype=np.uint64)

    def _writers(self, stack: ExitStack, journal: Journal) -> dict[tuple[str, int], Writer]:
        """A writer for each split and storage, behind what is valid."""
        written: dict[tuple[str, int], list[Sample]] = {
            (split, number): [] for split in SPLITS for number in range(len(self.storages))
        }
        for index, verdict in enumerate(journal.verdicts()):
            for number, each in enumerate(verdict.stored):
                sample = Sample(
                    mode=each.mode, width=each.width, height=each.height, label=self.images[index].label, size=each.size
                )
                written[self._split(index), number].append(sample)
        return {
            (split, number): stack.enter_context(
                Writer(self._beton(self.storages[number], split), self.counts[split], samples)
            )
            for (split, number), samples in written.items()
        }

    def _beton(self, storage: Storage, split: str) -> Path:
        return self.folder / str(storage) / f"{split}.beton"

    def _split(self, index: int) -> str:
        return SPLITS[index >= self.counts["train"]]

    def _see_room(self) -> None:
        """Before a byte is written. What is encoded again is reckoned from the sizes of some images in pixels."""
        needed = SPARE * len(self.storages)
        for storage in self.storages:
            if storage.mode == "original":
                needed += sum(max(0, each.size) for each in self.images)
            else:
                needed += int(
                    len(self.images) * self._usual_pixels(storage.shorter_side or 0) * BYTES_A_PIXEL[storage.mode]
                )
        there = sum(each.stat().st_blocks * 512 for each in self.folder.rglob("*.beton"))
        needed -= there
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise NotThereError(
                f"--to {self.request.to}: {free / 1e9:,.1f} GB are free there, and about {needed / 1e9:,.1f} GB are"
                " needed; make room, or choose another folder or --store"
            )

    def _usual_pixels(self, shorter_side: int) -> float:
        """Mean number of pixels of an image whose shorter side is capped, from the headers of some."""
        found = []
        for photograph in self.images[:: max(1, len(self.images) // PROBES)]:
            try:
                with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(read(photograph))) as image:
                    share = min(1.0, shorter_side / min(image.size))
                    found.append(share * image.width * share * image.height)
            except (DamagedError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                continue  # it is named when its turn comes
        return sum(found) / len(found) if found else 0.0

    # The pass over the source

    def _store(self, writers: Mapping[tuple[str, int], Writer], journal: Journal, watch: Watch) -> None:
        last = time.monotonic()
        with journal, closing(self._outcomes(journal.progress.images)) as outcomes:
            for task, outcome in outcomes:
                self._append(writers, task, outcome)
                journal.append(outcome)
                done = journal.progress.images
                watch("storing images", done, len(self.images))
                if time.monotonic() - last >= CHECKPOINT_SECONDS or done == len(self.images):
                    for writer in writers.values():
                        writer.sync()
                    journal.checkpoint()
                    last = time.monotonic()

    def _append(self, writers: Mapping[tuple[str, int], Writer], task: Task, outcome: Outcome) -> None:
        for index, (verdict, data) in enumerate(zip(outcome.verdicts, outcome.bytes, strict=True), task.begin):
            label, split = self.images[index].label, self._split(index)
            for number, (each, stored) in enumerate(zip(verdict.stored, data, strict=True)):
                writers[split, number].append(stored, each.mode, each.width, each.height, label)

    def _outcomes(self, done: int) -> Generator[tuple[Task, Outcome], None, None]:
        """In order, from as many processes as are asked for."""
        latest = self.images[done] if done < len(self.images) else None
        try:
            for task, outcome in in_order(work, self._tasks(done), self.request.workers):
                yield task, outcome
                latest = task.images[-1]
        except WorkerDiedError:
            raise DataError(
                f"{self.request.source}: a worker process died (out of memory, or killed) near"
                f" {latest.name if latest else 'the last image'}; the same command goes on from there, and with"
                " --workers 1 it needs the least memory"
            ) from None

    def _tasks(self, done: int) -> Iterator[Task]:
        crops, every = self._crops()
        words = draws.draw(0, "mean", 0, 3 * crops * self.counts["train"]).reshape(-1, crops, 3)
        while done < len(self.images):
            end = min(done + CHUNK, len(self.images))
            if done < self.counts["train"]:
                end = min(end, self.counts["train"])
            whole = done < self.counts["train"] and (done // CHUNK) % every == 0
            drawn = words[done:end] if whole else self._no_draws(range(done, end))
            yield Task(
                begin=done,
                images=self.images[done:end],
                storages=self.storages,
                size=self.request.size,
                draws=drawn,
            )
            done = end

    def _crops(self) -> tuple[int, int]:
        """Crops of an image for the mean, and of how many chunks one gives any: of a large set, not all."""
        count = self.counts["train"]
        return min(MOST_CROPS, -(-CROPS // count)), max(1, count // (2 * CROPS))

    # What was made

    def _left_out(self, journal: Journal) -> tuple[Remark, ...]:
        found = (
            Remark(image=image.name, reason=verdict.damaged)
            for image, verdict in zip(self.images, journal.verdicts(), strict=True)
            if verdict.damaged
        )
        bad = tuple(sorted(found, key=lambda each: each.image))
        if bad and not self.request.leave_out_damaged:
            imagenet = self.request.name == IMAGENET
            raise DamagedImagesError(
                f"--from {self.request.source}: {len(bad):,} of {len(self.images):,} images cannot be read"
                f" (the first is {bad[0].image}: {bad[0].reason}); copy them again"
                + ("" if imagenet else ", or go on without them by --leave-out-damaged"),
                bad,
            )
        self._see_classes({each.image for each in bad})
        return bad

    def _see_classes(self, bad: set[str]) -> None:
        for split in SPLITS if bad else ():
            left = {image.label for image in self.listing.splits[split] if image.name not in bad}
            for label, name in enumerate(self.listing.classes):
                if label not in left:
                    raise UnfitError(f"--leave-out-damaged: class {name} would have no {split} images; copy them again")

    def _complete(self, storage: Storage, journal: Journal, left_out: tuple[Remark, ...]) -> Manifest:
        """Mean, checksums and manifest beside the files, which nobody may cut off while they are mapped."""
        number, folder = self.storages.index(storage), self.folder / str(storage)
        stored: dict[str, list[tuple[int, Stored]]] = {split: [] for split in SPLITS}
        converted = []
        for index, verdict in enumerate(journal.verdicts()):
            if verdict.stored:
                stored[self._split(index)].append((self.images[index].label, verdict.stored[number]))
            if verdict.converted:
                converted.append(Remark(image=self.images[index].name, reason=verdict.converted))
        done = journal.progress
        mean = (done.sums + done.sums[:, ::-1]) / max(1, 2 * done.crops)
        _save(folder / manifest.MEAN, np.save, mean.astype(np.float32))
        crcs = {split: np.array([each.crc for _, each in samples], np.uint32) for split, samples in stored.items()}
        _save(folder / CHECKSUMS, np.savez, **crcs)
        made = Manifest(
            name=self.request.set_name(storage),
            title=self.request.title,
            size=self.request.size,
            classes=self.listing.classes,
            fingerprint=self._fingerprint(storage, stored),
            storage=storage,
            splits={split: _split_of(self._beton(storage, split), samples) for split, samples in stored.items()},
            source=Source(
                path=str(self.request.source.resolve()), kind=self.listing.kind, digest=self.listing.digest()
            ),
            mean_sha256=sha256(folder / manifest.MEAN),
            converted=tuple(sorted(converted, key=lambda each: each.image)),
            left_out=left_out,
            versions=versions(),
        )
        manifest.write(folder, made)
        for file in folder.iterdir():
            file.chmod(0o444)
        _sync_folder(folder)
        return made

    def _fingerprint(self, storage: Storage, stored: Mapping[str, Sequence[tuple[int, Stored]]]) -> str:
        if self.request.name == IMAGENET and storage.mode == "original":
            return SETS[IMAGENET].fingerprint  # its counts and classes were looked at
        samples = {
            split: ((label, each.sha256, each.width, each.height) for label, each in all_of_it)
            for split, all_of_it in stored.items()
        }
        return manifest.fingerprint(self.listing.classes, storage, samples)


def _save(path: Path, how: Callable[..., None], *values: object, **named: object) -> None:
    with path.open("wb") as file:
        how(file, *values, **named)
        file.flush()
        os.fsync(file.fileno())


def _split_of(path: Path, samples: Sequence[tuple[int, Stored]]) -> Split:
    return Split(
        file=path.name,
        images=len(samples),
        bytes=path.stat().st_size,
        sha256=sha256(path),
        largest=max(max(each.width, each.height) for _, each in samples),
    )


def sha256(path: Path) -> str:
    """Of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
