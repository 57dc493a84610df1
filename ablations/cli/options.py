"""Arguments and options that several verbs take, with the words of `--help`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ablations.data.sets import FOLDER_VARIABLE
from ablations.reader import StudyError


def _see_directory(results: Path) -> Path:
    return see_directory(results, "--results")


def see_directory(results: Path, option: str) -> Path:
    """What is in the way of a results directory is told by every verb alike, before anything is read."""
    try:
        nearest = next((each for each in (results, *results.parents) if each.exists()), None)
        if nearest is None or nearest.is_dir():
            return results
        problem = "is a file, not a directory" if nearest == results else f"{nearest} is a file, not a directory"
    except OSError as error:
        problem = str(error.strerror)
    raise StudyError(f"{option} {results}: {problem}; name another with --results or ABLATE_RESULTS")


def _look_into(data: Path) -> Path:
    """Sets that were prepared are known by name from their folder, in whatever part of the program."""
    os.environ[FOLDER_VARIABLE] = str(data)
    return data


StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name of a study that ships, or path of a study file.")
]
TrialArgument = Annotated[
    str,
    typer.Argument(metavar="TRIAL", help="Name of a trial, as digits-plain-20.s0, or the beginning of its key."),
]
ResultsOption = Annotated[
    Path,
    typer.Option(
        "--results", envvar="ABLATE_RESULTS", callback=_see_directory, help="Results directory, shared by all nodes."
    ),
]
JudgedResultsOption = Annotated[
    Path, typer.Option("--results", envvar="ABLATE_RESULTS", help="Results directory, shared by all nodes.")
]
"""For a verb that judges the directory itself, or that names one of another machine."""
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one value for every arm, as recipe.lr=0.03."),
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds of every arm.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
SlotsOption = Annotated[
    int | None, typer.Option("--slots", min=1, help="Trials at a time, at most; without a GPU no more than cores.")
]
PerGpuOption = Annotated[
    str,
    typer.Option(
        "--per-gpu",
        metavar="auto|K",
        help="Trials at a time on one GPU, 1 to 64; auto: as many as memory allows and throughput gains from, and"
        " several GPUs for a trial whose recipe allows it.",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking", envvar="MLFLOW_TRACKING_URI", help="MLflow's address; by default SQLite in the results."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TrackOption = Annotated[bool, typer.Option("--track/--no-track", help="Copy committed records to MLflow.")]
CommitOption = Annotated[float, typer.Option(min=0.0, help="Seconds between commits of a trial.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ARM|TRIAL", help="Submit this alone; may be given several times."),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="GPU_HOURS",
        help="Begin nothing that would spend more, and stop what runs when it is spent; core-hours without a GPU.",
    ),
]
UntilDecidedOption = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="At the end judge the claims, and give seeds to the arms of those that more seeds would decide; again and"
        " again, within the budget.",
    ),
]
MostSeedsOption = Annotated[
    int, typer.Option("--most-seeds", min=2, max=1000, help="Seeds of an arm that --until-decided goes to, at most.")
]
OpenOption = Annotated[
    bool, typer.Option("--allow-open-cluster", help="Use a cluster that asks for no token and is not this machine's.")
]
DataOption = Annotated[
    Path, typer.Option("--data", envvar=FOLDER_VARIABLE, callback=_look_into, help="Folder of the data sets.")
]
RESULTS = Path("results")
DATA = Path("data")
