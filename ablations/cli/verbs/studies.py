"""Study files: `studies`, `init`, `schema` and `export`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.datasets import prepare_data
from ablations.cli.loading import load_study, size, trials_of
from ablations.cli.options import DATA, DataOption, JsonOption, SeedsOption, SetOption, StudyArgument
from ablations.cli.output import print_json, stderr
from ablations.data.sets import of_photographs
from ablations.reader import StudyError


def studies(as_json: JsonOption = False) -> None:
    """List the studies that ship."""
    from ablations.study import load, shipped

    found = [load(name) for name in shipped()]
    if as_json:
        facts = [
            {"name": s.name, "question": s.question, "source": s.source, "arms": len(s.arms), "trials": size(s)}
            for s in found
        ]
        print_json(facts)
        return
    for study in found:
        typer.echo(f"{study.name:22} {size(study):4} trials  {study.question}")


def init(
    name: Annotated[str, typer.Argument(help="Name of the study; the file is NAME.yaml here.")],
) -> None:
    """Write a commented study file to start from."""
    from ablations.study import template

    text, path = template(name), Path(f"{name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StudyError(f"{path}: exists already; choose another name or remove it") from None
    typer.echo(f"{path} written; next: ablate plan {path}")


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from ablations.study import schema as study_schema

    print_json(study_schema())


def export(
    study: StudyArgument,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.json", help="The file to write.")],
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    data_to: Annotated[
        Path | None, typer.Option("--data-to", help="Write the study's data sets as arrays into this folder too.")
    ] = None,
    data: DataOption = DATA,
) -> None:
    """Write a study as one file, from which its trials run where only PyTorch is installed."""
    from ablations.export import Export, write
    from ablations.trials import recorded

    if to.suffix != ".json":
        raise StudyError(f"--to: the file's name ends in .json, as {to}.json, not {str(to)!r}")
    loaded = load_study(study, overrides, seeds)
    trials = trials_of(loaded, "cpu")
    if data_to is not None:
        small = [trial for trial in trials if not of_photographs(trial.params["data"]["name"])]
        prepare_data(small, data, data_to, stderr())
    write(to, Export(study=recorded(loaded), trials=trials))
    typer.echo(f"{to}: {len(trials)} trials")
    one = ["python", "-m", "ablations.trial", str(to), "--arm", trials[0].arm, "--seed", "0", "--results", "results"]
    typer.echo(f"one of them: {shlex.join(one)}")
    for name in sorted({trial.params["data"]["name"] for trial in trials}):
        if of_photographs(name):
            typer.echo(
                f"the photographs of {name} are not written; --data DIR says in which folder a copy of {data / name} is"
            )
