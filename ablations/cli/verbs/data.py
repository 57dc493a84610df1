"""Data sets of photographs: `data prepare` writes one from its source, `data verify` reads it back."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.cli.exits import DAMAGED, fail
from ablations.cli.hardware import cores_here
from ablations.cli.options import JsonOption
from ablations.cli.output import print_json, program, stderr

if TYPE_CHECKING:
    from ablations.data.photographs.manifest import Manifest, Remark, Storage
    from ablations.data.photographs.prepare import Preparation, Request

data = typer.Typer(name="data", help="Prepare data sets of photographs, and verify them.", rich_markup_mode=None)
prepare = typer.Typer(
    name="prepare",
    help="Check, convert and store the photographs of a source, once for all trials.",
    rich_markup_mode=None,
)
data.add_typer(prepare)

SHOWN = 20
"""Images that are named on the terminal; --json names them all."""

FromOption = Annotated[
    Path,
    typer.Option("--from", metavar="FOLDER|TAR|PARQUET", help="The source; docs/data.md says how it may be laid out."),
]
ToOption = Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder of prepared sets; the set is DIR/NAME.")]
StoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="STORAGE",
        help="original (the default), or as in jpeg480q90, raw400, mixed480q90: shorter side, quality. May be given"
        " several times; each is a set of its own.",
    ),
]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Processes; by default one a core.")]
SizeOption = Annotated[int, typer.Option("--size", min=8, max=1024, help="Side of the square that a network gets.")]
HeldOutOption = Annotated[
    int | None,
    typer.Option("--held-out", min=1, metavar="N", help="Images a class for a test split; the draw is fixed."),
]


@prepare.command()
def imagenet(
    source: FromOption,
    to: ToOption,
    store: StoreOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """ImageNet (ILSVRC 2012), whole: its tars, class folders, or parquet files."""
    from ablations.data.photographs.prepare import IMAGENET, Request
    from ablations.data.sets import SETS

    title = SETS[IMAGENET].title
    _prepare(
        Request(
            source=source, to=to, name=IMAGENET, title=title, storages=_storages(store), workers=workers or cores_here()
        ),
        as_json,
    )


@prepare.command()
def imagefolder(
    source: FromOption,
    to: ToOption,
    name: Annotated[str | None, typer.Option("--name", help="Name of the set; by default that of the source.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="What the report calls it; by default the name.")] = None,
    size: SizeOption = 224,
    store: StoreOption = None,
    held_out: HeldOutOption = None,
    leave_out_damaged: Annotated[
        bool, typer.Option("--leave-out-damaged", help="Go on without images that cannot be read; they are listed.")
    ] = False,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Any photographs in class folders: train/CLASS/*.JPEG with val/CLASS/*.JPEG, or CLASS/*.JPEG with --held-out."""
    from ablations.data.photographs.prepare import Request

    named = name if name is not None else source.resolve().name.split(".")[0].lower().replace("_", "-")
    _prepare(
        Request(
            source=source,
            to=to,
            name=named,
            title=title or named,
            size=size,
            storages=_storages(store),
            held_out=held_out,
            leave_out_damaged=leave_out_damaged,
            workers=workers or cores_here(),
        ),
        as_json,
    )


@data.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR/NAME", help="A prepared set.")], as_json: JsonOption = False
) -> None:
    """Read every byte of a prepared set, and name what is damaged; exit code 5 if anything is."""
    from dataclasses import asdict

    from ablations.data.photographs.verify import verify as read

    with _watched() as watch:
        found = read(folder, watch)
    count = sum(split.images for split in found.manifest.splits.values())
    if as_json:
        print_json({**_facts(folder, found.manifest), "problems": [asdict(each) for each in found.problems]})
    else:
        for problem in found.problems[:SHOWN]:
            typer.echo(str(problem))
        _say_more(len(found.problems))
    if found.problems:
        fail(
            f"{folder}: {len(found.problems):,} problems, the first is {found.problems[0]}; copy it again, or"
            " remove it and prepare it again",
            DAMAGED,
        )
    if not as_json:
        typer.echo(f"{found.manifest.name}: all {count:,} images are as they were prepared")


def _prepare(request: "Request", as_json: bool) -> None:
    from ablations.data.photographs.prepare import DamagedImagesError
    from ablations.data.photographs.prepare import prepare as make

    try:
        with _watched() as watch:
            made = make(request, watch)
    except DamagedImagesError as error:
        _say_damaged(error.images, as_json)
        raise
    if as_json:
        print_json(
            {"sets": [_facts(folder, about) for folder, about in made.sets.items()], "passed_over": made.passed_over}
        )
        return
    _say_prepared(made)


def _say_prepared(made: "Preparation") -> None:
    for folder, about in made.sets.items():
        counts = " and ".join(f"{split.images:,} {name}" for name, split in about.splits.items())
        size = sum(split.bytes for split in about.splits.values()) / 1e9
        was = "is there already" if folder in made.before else "prepared"
        typer.echo(
            f"{about.name} {was}: {counts} images of {len(about.classes):,} classes, {size:,.2f} GB, in {folder}"
        )
        for what, remarks in (("converted", about.converted), ("left out", about.left_out)):
            for remark in remarks[:SHOWN]:
                typer.echo(f"  {what}: {remark.image} ({remark.reason})")
            _say_more(len(remarks))
    if made.passed_over:
        typer.echo(f"{made.passed_over:,} files of the source are no images, and were passed over")
    if any("Pillow" in about.versions.get("check", "") for about in made.sets.values()):
        typer.echo(
            "without a C compiler and libjpeg's headers, images were checked by Pillow alone, which does not see every"
            " damage"
        )
    folder, about = next(iter(made.sets.items()))
    typer.echo(f"next: {program()} data verify {shlex.quote(str(folder))}")
    typer.echo(f"then: `data: {about.name}` in a study, and --data {shlex.quote(str(folder.parent))} when it runs")


def _say_damaged(images: "tuple[Remark, ...]", as_json: bool) -> None:
    if as_json:
        print_json({"damaged": [{"image": each.image, "reason": each.reason} for each in images]})
        return
    for each in images[:SHOWN]:
        typer.echo(f"{each.image}: {each.reason}", err=True)
    _say_more(len(images), err=True)


def _say_more(count: int, *, err: bool = False) -> None:
    if count > SHOWN:
        typer.echo(f"and {count - SHOWN:,} more; --json names all", err=err)


def _facts(folder: Path, about: "Manifest") -> dict[str, Any]:
    from dataclasses import asdict

    return {"folder": str(folder), **asdict(about), "classes": list(about.classes), "storage": str(about.storage)}


def _storages(texts: list[str] | None) -> "tuple[Storage, ...]":
    from ablations.data.errors import UnfitError
    from ablations.data.photographs.manifest import Storage

    try:
        return tuple(Storage.parse(text) for text in texts or ["original"])
    except ValueError as error:
        raise UnfitError(f"--store: {error}") from None


@contextmanager
def _watched() -> "Iterator[Callable[[str, int, int], None]]":
    """A bar on a terminal; nothing elsewhere."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = stderr()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=None)

        def watch(what: str, done: int, total: int) -> None:
            if total:
                bar.update(task, completed=done, total=total)
            bar.update(task, description=what)

        yield watch
