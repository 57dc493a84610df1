"""The command line. Each command imports what it needs when it is called: `plan` loads no torch, Ray or MLflow."""

import json
import os
import re
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ablations.nearest import nearest
from ablations.reader import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ablations.study import Study
    from orchestrator.ledger import Ledger
    from orchestrator.logs import Followed
    from orchestrator.packing import Packed
    from orchestrator.placement import Node
    from orchestrator.plan import Plan
    from orchestrator.runs import Run
    from orchestrator.studies import RecordedStudy
    from orchestrator.trial import Trial
    from reports.gantt import Gantt

OK, TRIALS_FAILED, WRONG_INPUT, CONTRADICTED, UNREACHABLE, DAMAGED, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130

app = typer.Typer(
    help="Rebuild the experiments of Deep Residual Learning (He et al., 2015), and judge its claims. With --debug, any"
    " command shows the traceback of its error.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name of a study that ships, or path of a study file.")
]
TrialArgument = Annotated[
    str,
    typer.Argument(metavar="TRIAL", help="Name of a trial, as digits-plain-20.s0, or the beginning of its key."),
]
ResultsOption = Annotated[
    Path, typer.Option("--results", envvar="ABLATE_RESULTS", help="Results directory, shared by all nodes.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one value for every arm, as recipe.lr=0.03."),
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Number of seeds of every arm.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
SlotsOption = Annotated[int | None, typer.Option("--slots", min=1, help="Trials at a time; by default one per core.")]
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
DataOption = Annotated[Path, typer.Option("--data", envvar="ABLATE_DATA", help="Folder of the data sets.")]
MOST_PER_GPU = 64
MOST_GPUS = 4096
RESULTS = Path("results")
DATA = Path("data")
SHORTEST_KEY = 6
"""Characters of a key that name a trial for `cancel`."""


@app.command()
def studies(as_json: JsonOption = False) -> None:
    """List the studies that ship."""
    from ablations.study import load, shipped

    found = [load(name) for name in shipped()]
    if as_json:
        facts = [
            {"name": s.name, "question": s.question, "source": s.source, "arms": len(s.arms), "trials": _size(s)}
            for s in found
        ]
        _print_json(facts)
        return
    for study in found:
        typer.echo(f"{study.name:20} {_size(study):4} trials  {study.question}")


@app.command()
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


@app.command()
def plan(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    slots: SlotsOption = None,
    per_gpu: PerGpuOption = "auto",
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="N|MxN",
            help="Plan for a cluster that need not be there: a node with N GPUs, or M nodes with N each.",
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the Gantt chart as one HTML file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a run would do now, in which order, what each trial gets, and how long it would take."""
    from ablations.console import packed_facts, planned_facts, print_gantt, print_plan
    from ablations.trials import recorded
    from orchestrator.ledger import Ledger
    from orchestrator.packing import prepare
    from reports.gantt import gantt, lines

    loaded = _load(study, overrides, seeds)
    on = "cuda" if gpus else _device("auto")
    sharing = _sharing(per_gpu, on)
    packed = prepare(
        _trials(loaded, on),
        Ledger(results),
        _assumed_nodes(gpus) if gpus else _this_machine(on, sharing, slots),
        _hardware(on),
        sharing,
        most=slots,
        with_blocked=gpus is not None,
    )
    chart = gantt(packed.simulation.spans, {each.trial.key: each.trial for each in packed.trials}, packed.nodes)
    if page is not None:
        _write_gantt(page, chart, loaded.name, packed)
    if as_json:
        facts = {
            "study": loaded.name,
            "question": loaded.question,
            "sha256": recorded(loaded).sha256,
            "results": str(results),
            **packed_facts(packed),
            "trials": [planned_facts(each) for each in packed.trials],
        }
        _print_json(facts)
    else:
        console = _stdout()
        print_plan(loaded.name, packed, console)
        if chart.rows:
            print_gantt(*lines(chart, min(console.width, 120)), chart.seconds, console)
        if page is not None:
            console.print(f"chart: {page.resolve()}", highlight=False, markup=False, soft_wrap=True)
    _exit_if_damaged(packed)


@app.command()
def run(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    data: DataOption = DATA,
    slots: SlotsOption = None,
    per_gpu: PerGpuOption = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    tracking: TrackingOption = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Copy committed records to MLflow.")] = True,
    commit_seconds: Annotated[float, typer.Option(min=0.0, help="Seconds between commits of a trial.")] = 30.0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Ray cluster that this machine is a node of; by default one of its own."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ARM|TRIAL", help="Submit this alone; may be given several times."),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="GPU_HOURS",
            help="Begin nothing that would spend more, and stop what runs when it is spent; core-hours without a GPU.",
        ),
    ] = None,
) -> None:
    """Run what the ledger misses of a study, and resume what is partial; again, and nothing is submitted."""
    from ablations.attempt import setting
    from ablations.console import print_ending
    from ablations.trials import recorded
    from orchestrator.cluster import embedded, joined
    from orchestrator.drive import Limits
    from orchestrator.drive import run as drive
    from orchestrator.ledger import Ledger
    from orchestrator.packing import prepare

    loaded = _load(study, overrides, seeds)
    limits = Limits(slots=slots, only=_only(loaded, only), budget_hours=budget)
    on = _device(device)
    sharing = _sharing(per_gpu, on)
    _refuse_without_gpu(loaded, on)
    trials, nodes = _trials(loaded, on), _this_machine(on, sharing, slots)
    results, console = results.resolve(), _stderr()
    planner = partial(prepare, trials, Ledger(results), nodes, _hardware(on), sharing, most=slots)
    planned = planner()
    _prepare((each.trial for each in planned.open), data, results / "data", console)
    standing = drive(
        recorded(loaded),
        planner,
        setting(results, on, commit_seconds),
        partial(joined, address, _lost) if address else partial(embedded, int(nodes[0].cpus), _lost),
        limits,
        tracking=_tracking(tracking, results) if track else None,
        console=console,
    )
    print_ending(standing, {trial.key: trial.name for trial in trials}, console)
    where = f" --results {results}" if results != RESULTS.resolve() else ""
    console.print(f"next: {_program()} report {study}{where}", highlight=False, soft_wrap=True)
    if standing.failed:
        raise typer.Exit(TRIALS_FAILED)
    _exit_if_damaged(planned)
    if standing.cancelled:
        by = ", ".join(dict.fromkeys(standing.cancelled.values()))
        _fail(f"{len(standing.cancelled)} cancelled by {by}; the same command takes them up again", INTERRUPTED)


@app.command()
def status(study: StudyArgument, results: ResultsOption = RESULTS, as_json: JsonOption = False) -> None:
    """Show how far a study is: what went wrong first, then each arm with its ETA and cost, then the run at work."""
    from ablations.console import print_status, status_facts
    from orchestrator.ledger import Ledger, plain
    from orchestrator.runs import read_runs
    from orchestrator.status import study_status

    record = _record(study, None, None, results)
    found = study_status(record, results)
    if as_json:
        _print_json(plain(status_facts(found, read_runs(record, Ledger(results)))))
        return
    print_status(found, _stdout())


@app.command()
def logs(
    trial: TrialArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the trial is at its end, or it has none in sight.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt alone, from 1; by default of all.")
    ] = None,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="Only so many of the last lines.")] = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Show what the attempts at a trial printed, and how they got on; times are UTC."""
    from orchestrator import logs as read
    from orchestrator.ledger import Ledger

    ledger = Ledger(results)
    found = _followed(trial, ledger)
    if follow:
        for piece in read.follow(ledger, found, attempt, lines):
            typer.echo(piece, nl=False)
        return
    folder = ledger.folder(found.key)
    if not read.logs(folder, attempt):
        which = f"attempt {attempt} of {found.name}" if attempt else found.name
        raise StudyError(f"{which}: there is no log of it; `ablate show {trial}` lists its attempts, --follow waits")
    pieces = read.printed(folder, attempt)
    for piece in pieces if lines is None else [read.last_lines(pieces, lines)]:
        typer.echo(piece, nl=False)


@app.command()
def cancel(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY [ARM|TRIAL]...",
            help="A study that is being run, or arms and trials of it; these may stand alone where one run has them.",
        ),
    ],
    results: ResultsOption = RESULTS,
) -> None:
    """Have trials of a run at work commit and stop, or not begin; `run` takes them up again."""
    from ablations.console import print_cancelled
    from orchestrator.driver import presence
    from orchestrator.ledger import Ledger
    from orchestrator.steering import Cancellation, answer, ask

    record, keys = _to_cancel(names, results)
    seen = presence(results, record.name)
    if not seen.at_work and not seen.beginning:
        _fail(f"study {record.name}: no run of it is at work, so there is nothing to cancel", UNREACHABLE)
    where, ran = str(seen.holder), set[str]()
    if seen.record and seen.at_work:
        where, ran = seen.record.host, set(seen.record.running)
        keys = [key for key in keys if key not in seen.record.settled]
    if not keys:
        typer.echo("nothing of it runs or waits: all is done, failed, cancelled or left out by the budget already")
        return
    cancellation = Cancellation(keys=keys, by=_who())
    with _stderr().status(f"asking the driver on {where}"):
        word = ask(results, record.name, cancellation)
        told = answer(results, record.name, cancellation, word)
    if not told.taken:
        _fail(
            f"the driver on {where} has not taken it up yet; it will when it looks again, `ablate status {record.name}`"
            " tells",
            UNREACHABLE,
        )
    print_cancelled(record, told, ran, Ledger(results), _stdout())


@app.command()
def show(
    trial: TrialArgument,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Show everything that is known of one trial."""
    from ablations.console import print_run, run_facts
    from orchestrator.ledger import Ledger, plain
    from orchestrator.runs import probe_summary, read_run

    ledger = Ledger(results)
    arm, about = _trial(trial, ledger)
    found = read_run(arm, about["seed"], about["key"], ledger)
    alive = {found.key} if ledger.folder(found.key).alive() else set[str]()
    if as_json:
        facts = run_facts(found, alive) | {"params": about["params"], "attempts": list(found.attempts)}
        _print_json(plain(facts | {"probes": list(found.probes)}))
        return
    probes = [{"iteration": each["iteration"]} | probe_summary(each) for each in found.probes]
    print_run(found, about["params"], probes, str(ledger.folder(found.key).path), alive, _stdout())


@app.command()
def report(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    to: Annotated[Path | None, typer.Option("--to", help="The page's file; by default in the results.")] = None,
    tracking: TrackingOption = None,
) -> None:
    """Write the study's page: one HTML file with its tables, figures, claims and provenance."""
    from reports.page import render

    record, runs, _ = _recorded_runs(study, overrides, seeds, results)
    path = to or results / "studies" / record.name / "report.html"
    page = render(record, runs, about={"command": f"ablate report {study}", "version": _version()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    where = f" --results {results}" if results != RESULTS else ""
    typer.echo(f"page: {path.resolve()}")
    typer.echo(f"MLflow: {_program()} ui{where}" + (f" --tracking {tracking}" if tracking else ""))


@app.command()
def check(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Judge the study's claims; exit code 3 if one is contradicted."""
    from dataclasses import asdict

    from ablations.console import print_verdicts
    from reports.claims import judge

    record, runs, _ = _recorded_runs(study, overrides, seeds, results)
    verdicts = judge(record, runs)
    if as_json:
        _print_json([asdict(each) for each in verdicts])
    else:
        print_verdicts([asdict(each) for each in verdicts], _stdout())
    if any(each.verdict == "fails" for each in verdicts):
        raise typer.Exit(CONTRADICTED)


@app.command()
def publish(study: StudyArgument, results: ResultsOption = RESULTS, tracking: TrackingOption = None) -> None:
    """Copy what the ledger holds of a study, and MLflow does not, to MLflow."""
    from orchestrator.ledger import Ledger
    from orchestrator.tracking import TrackingError
    from orchestrator.tracking import publish as copy

    record, _, _ = _recorded_runs(study, None, None, results)
    try:
        touched = copy(Ledger(results), record, _tracking(tracking, results))
    except TrackingError as error:
        _fail(str(error), UNREACHABLE)
    typer.echo(f"{touched} runs brought up to date")


@app.command()
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
    loaded = _load(study, overrides, seeds)
    trials = _trials(loaded, "cpu")
    if data_to is not None:
        _prepare((trial for trial in trials if trial.blocked is None), data, data_to, _stderr())
    write(to, Export(study=recorded(loaded), trials=trials))
    typer.echo(f"{to}: {len(trials)} trials")
    typer.echo(f"one of them: python -m ablations.trial {to} --arm {trials[0].arm} --seed 0 --results results")


@app.command()
def ui(
    results: ResultsOption = RESULTS,
    tracking: TrackingOption = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's own pages on this machine, for this machine alone."""
    from orchestrator.tracking import database

    uri = _tracking(tracking, results)
    stored = database(uri)
    if stored is not None and not stored.exists():
        raise StudyError(f"{results}/mlflow.db: there is none yet; run a study, or `ablate publish` one")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", f"localhost:{port},127.0.0.1:{port}"]
    os.environ.update({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"})
    typer.echo(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, arguments as a list


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from ablations.study import schema as study_schema

    _print_json(study_schema())


def main() -> None:
    """Every error that a user can cause ends in one line on standard error and the exit code of DESIGN.md."""
    debug = "--debug" in sys.argv
    arguments = [each for each in sys.argv[1:] if each != "--debug"]
    usage_error: Any = typer.BadParameter.__mro__[2]  # click's own base of usage errors, whichever click typer carries
    try:
        code = app(arguments, standalone_mode=False)
        if code == INTERRUPTED:  # typer's answer to Ctrl-C
            _say("interrupted; what was committed is kept, and the same command goes on from there", INTERRUPTED)
    except usage_error as error:
        code = _say(f"{error.format_message()} See ablate --help.", WRONG_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK
    except Exception as error:  # noqa: BLE001 - the last resort: one line, and the traceback only where it is asked for
        if debug:
            traceback.print_exc()
        code = _say(_line(error), _code(error))
    raise SystemExit(code if isinstance(code, int) else OK)


class _Stop(Exception):
    """Ends the command with a line and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def _fail(message: str, code: int) -> NoReturn:
    raise _Stop(message, code)


def _say(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code


def _code(error: Exception) -> int:
    if isinstance(error, StudyError):
        return WRONG_INPUT
    if isinstance(error, _Stop):
        return error.code
    from orchestrator.drive import UnplaceableError
    from orchestrator.ledger import LedgerError
    from orchestrator.studies import StudyInUse

    if isinstance(error, StudyInUse | UnplaceableError | ConnectionError):
        return UNREACHABLE
    if isinstance(error, LedgerError):
        return DAMAGED
    return WRONG_INPUT if isinstance(error, OSError) else OUR_BUG


def _line(error: Exception) -> str:
    if _code(error) != OUR_BUG:
        return str(error)
    return f"{type(error).__name__}: {error}; this is a bug in Ablate, --debug shows where"


def _load(source: str, overrides: list[str] | None, seeds: int | None) -> "Study":
    """The study, with its claims checked against those that reports can judge."""
    from ablations.study import load
    from reports.published import paper_claims

    return load(source, overrides=overrides or (), seeds=seeds, known_claims=paper_claims(), say_problem=_say_problem)


def _say_problem(say: str) -> str | None:
    """What is wrong with the test of a study's own claim."""
    from reports.sentences import parse_claim

    try:
        parse_claim(say)
    except ValueError as error:
        return str(error)
    return None


def _trials(study: "Study", device: str) -> "list[Trial]":
    from ablations.trials import trials

    return trials(study, gpus=1.0 if device == "cuda" else 0.0)


def _sharing(per_gpu: str, device: str) -> int | None:
    """Trials on one GPU; None: the plan chooses."""
    if per_gpu == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,3}", per_gpu) or not 1 <= int(per_gpu) <= MOST_PER_GPU:
        raise StudyError(f"--per-gpu: is auto or a whole number from 1 to {MOST_PER_GPU}, not {per_gpu[:200]!r}")
    if device == "cpu" and int(per_gpu) > 1:
        raise StudyError(f"--per-gpu {per_gpu}: these trials run on the CPU, one per core; leave it out")
    return int(per_gpu)


def _assumed_nodes(asked: str) -> "list[Node]":
    """A cluster of so many GPUs, in which cores are not what is short."""
    from orchestrator.placement import Node

    said = re.fullmatch(r"(?:([0-9]{1,4})x)?([0-9]{1,4})", asked)
    nodes, gpus = (int(said.group(1) or 1), int(said.group(2))) if said else (0, 0)
    if not (nodes and gpus and nodes * gpus <= MOST_GPUS):
        raise StudyError(
            f"--gpus: is the number of GPUs of one node, as 8, or nodes and GPUs of each, as 4x8, {MOST_GPUS:,} in all"
            f" at most, not {asked[:200]!r}"
        )
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    return [Node(id=name, host=name, cpus=float(MOST_PER_GPU * gpus), gpus=gpus) for name in names]


def _this_machine(device: str, per_gpu: int | None, slots: int | None) -> "list[Node]":
    """What a run may use here: `slots` cores where trials need no GPU, by default all."""
    from orchestrator.placement import Node
    from orchestrator.provenance import gpus

    cores, found = _cores(), gpus() if device == "cuda" else []
    cpus = max(cores, len(found) * (per_gpu or 1)) if found else slots or cores
    return [Node(id="local", host="this machine", cpus=float(cpus), gpus=len(found))]


def _hardware(device: str) -> str:
    """Model of this machine's GPUs, or of its processor; empty where trials need a GPU and it has none."""
    from orchestrator.provenance import gpus, processor

    return next(iter(gpus()), "") if device == "cuda" else processor()


def _write_gantt(path: Path, chart: "Gantt", study: str, packed: "Packed") -> None:
    from ablations.console import plan_lines
    from reports.gantt import page

    text = page(chart, study, plan_lines(packed))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _only(study: "Study", only: list[str] | None) -> list[str]:
    """The arms and trials that were asked for by name; where the study has none of it, the nearest is named."""
    arms = [arm.name for arm in study.arms]
    known = [*arms, *(f"{arm.name}.s{seed}" for arm in study.arms for seed in range(arm.seeds))]
    for name in only or ():
        if name not in known:
            near = nearest(name, known) or f"; its arms are {', '.join(arms)}"
            raise StudyError(f"--only: study {study.name} has no arm or trial {name[:200]!r}{near}")
    return only or []


def _lost(reason: str) -> None:
    """The cluster is gone, and what waits for it may wait for ever."""
    _say(f"{reason}; what was committed is kept, and the same command goes on from there", UNREACHABLE)
    os._exit(UNREACHABLE)


def _prepare(trials: "Iterable[Trial]", data: Path, to: Path, console: "Console") -> None:
    """See to it that every data set of these trials lies in a folder as arrays."""
    from ablations.data.images import DataError
    from ablations.data.load import prepare

    for name in sorted({trial.params["data"]["name"] for trial in trials}):
        try:
            with console.status(f"reading {name}"):
                prepare(name, data, to)
        except DataError as error:
            _fail(str(error), UNREACHABLE)


def _refuse_without_gpu(study: "Study", device: str) -> None:
    for arm in study.arms:
        if device == "cpu" and arm.recipe.needs_gpu:
            raise StudyError(f"{arm.name}: {arm.recipe.needs_gpu}")


def _exit_if_damaged(planned: "Plan") -> None:
    """The rest went on; what is damaged is neither read nor run over, and the user is told by the exit code too."""
    damaged = [each for each in planned.trials if each.damaged]
    if damaged:
        _fail(f"{len(damaged)} damaged: {damaged[0].trial.name}: {damaged[0].reason}", DAMAGED)


def _recorded_runs(
    source: str, overrides: list[str] | None, seeds: int | None, results: Path
) -> "tuple[RecordedStudy, list[Run], set[str]]":
    """The study as it was last run, unless something else is asked for; its runs; the keys being worked on now."""
    from orchestrator.ledger import Ledger
    from orchestrator.runs import read_runs

    record, ledger = _record(source, overrides, seeds, results), Ledger(results)
    runs = read_runs(record, ledger)
    return record, runs, {each.key for each in runs if ledger.folder(each.key).alive()}


def _record(source: str, overrides: list[str] | None, seeds: int | None, results: Path) -> "RecordedStudy":
    from ablations.study import shipped
    from ablations.trials import recorded
    from orchestrator.studies import NAME, read_study

    as_it_was = not overrides and seeds is None
    if as_it_was and re.fullmatch(NAME, source) and source not in shipped() and not Path(source).exists():
        with suppress(FileNotFoundError):
            return read_study(results, source)
    asked = recorded(_load(source, overrides, seeds))
    try:
        known = read_study(results, asked.name)
    except FileNotFoundError:
        return asked
    return known if as_it_was and known.sha256 == asked.sha256 else asked


def _trial(name: str, ledger: Any) -> "tuple[Any, dict[str, Any]]":
    """The trial of this name or key, from the ledger alone."""
    from orchestrator.studies import RecordedArm

    found = [
        dict(about)
        for key in ledger.trials()
        if (about := ledger.folder(key).about()) and (about["name"] == name or key.startswith(name))
    ]
    if not found:
        raise StudyError(f"{ledger.root}: no trial {name!r}; `ablate status STUDY --json` lists names and keys")
    if len(found) > 1:
        keys = ", ".join(each["key"] for each in found[:5])
        raise StudyError(f"{ledger.root}: {len(found)} trials are called {name!r}; give the key: {keys}")
    about = found[0]
    params = about["params"]
    arm = RecordedArm(
        name=about["arm"],
        network=params["network"],
        recipe=params["recipe"],
        deviations=(),
        parameters=about["parameters"],
        multiply_adds=about["multiply_adds"],
        trials=[(about["seed"], about["key"])],
    )
    return arm, about


def _followed(name: str, ledger: "Ledger") -> "Followed":
    """The trial of this name or key, begun or not."""
    from orchestrator import logs
    from orchestrator.studies import recorded_studies

    found = logs.find(name, ledger, recorded_studies(ledger.root))
    if not found:
        raise StudyError(f"{ledger.root}: no trial {name!r}; `ablate status STUDY --json` lists names and keys")
    if len(found) > 1:
        keys = ", ".join(each.key for each in found[:5])
        raise StudyError(f"{ledger.root}: {len(found)} trials are called {name!r}; give the key: {keys}")
    return found[0]


def _to_cancel(names: list[str], results: Path) -> "tuple[RecordedStudy, list[str]]":
    """The study, and the keys of what is to be cancelled of it."""
    from orchestrator.driver import presence
    from orchestrator.studies import recorded_studies

    records = recorded_studies(results)
    asked = next((each for each in records if each.name == _study_name(names[0])), None)
    if asked is not None:
        return asked, _keys_of(asked, names[1:])
    seen = [(each, presence(results, each.name)) for each in records]
    running = [each for each, at in seen if at.at_work or at.beginning]
    having = [each for each in running if all(_keys_named(each, name) for name in names)]
    ended = [each for each in records if each not in running and all(_keys_named(each, name) for name in names)]
    if len(having) == 1 or (not having and ended):
        asked = (having or ended)[0]
        return asked, _keys_of(asked, names)
    said = " ".join(names)
    if having:
        raise StudyError(f"{said}: runs of {', '.join(each.name for each in having)} have it; name the study before it")
    at_work = ", ".join(each.name for each in running) or "none"
    near = nearest(names[0], [each.name for each in records])
    raise StudyError(f"{said}: no study that was run here, nor part of one that is being run ({at_work}){near}")


def _study_name(source: str) -> str:
    """Of a study given by its name or its file."""
    return _load(source, None, None).name if Path(source).suffix in (".yaml", ".yml") else source


def _keys_of(study: "RecordedStudy", names: list[str]) -> list[str]:
    """Of these arms and trials of the study; without names, of all."""
    for name in names:
        if not _keys_named(study, name):
            known = [
                *(arm.name for arm in study.arms),
                *(f"{a.name}.s{seed}" for a in study.arms for seed, _ in a.trials),
            ]
            near = nearest(name, known) or f"; its arms are {', '.join(arm.name for arm in study.arms)}"
            raise StudyError(f"study {study.name} has no arm or trial {name[:200]!r}{near}")
    every = [key for arm in study.arms for _, key in arm.trials]
    return list(dict.fromkeys(key for name in names for key in _keys_named(study, name))) if names else every


def _keys_named(study: "RecordedStudy", name: str) -> list[str]:
    """Of an arm or a trial of this name, or a trial whose key begins so."""
    return [
        key
        for arm in study.arms
        for seed, key in arm.trials
        if name in (arm.name, f"{arm.name}.s{seed}") or (len(name) >= SHORTEST_KEY and key.startswith(name))
    ]


def _who() -> str:
    """The user and the machine, as `ada on login1`."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _size(study: "Study") -> int:
    return sum(arm.seeds for arm in study.arms)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _device(asked: str) -> str:
    from orchestrator.provenance import gpus

    if asked not in ("auto", "cpu", "cuda"):
        raise StudyError(f"--device: is auto, cpu or cuda, not {asked!r}")
    if asked == "cuda" and not gpus():
        _fail("--device cuda: this machine has no NVIDIA GPU; use --device cpu", UNREACHABLE)
    return "cuda" if asked == "cuda" or (asked == "auto" and gpus()) else "cpu"


def _tracking(asked: str | None, results: Path) -> str:
    from orchestrator.tracking import default_uri

    return asked or default_uri(results)


def _program() -> str:
    """This program as it was called, so that what is printed can be typed."""
    return sys.argv[0] if Path(sys.argv[0]).stem == "ablate" else "ablate"


def _version() -> str:
    from orchestrator.provenance import version

    return version("ablate") or "unknown"


def _print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=1, allow_nan=False))


def _stdout() -> "Console":
    return _console(stderr=False)


def _stderr() -> "Console":
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    """A console whose listener may leave: `ablate run ... | head` goes on without one."""
    from rich.console import Console

    class Unheard(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    return Unheard(stderr=stderr)


if __name__ == "__main__":
    main()
