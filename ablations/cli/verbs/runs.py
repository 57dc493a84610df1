"""Running a study from here: `plan` and `run`."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.clusters import look_at, lost, refuse_what_does_not_fit
from ablations.cli.datasets import beyond_memory, prepare_data
from ablations.cli.deciding import MOST_SEEDS, Rounds, as_far, looked_at, refuse_undecidable
from ablations.cli.directories import refuse_read_only
from ablations.cli.exits import DAMAGED, INTERRUPTED, TRIALS_FAILED, UNREACHABLE, fail
from ablations.cli.hardware import (
    assumed_nodes,
    choose_device,
    hardware_model,
    refuse_empty,
    refuse_without_gpu,
    this_machine,
    trials_per_gpu,
)
from ablations.cli.loading import load_study, trials_of
from ablations.cli.names import asked_for
from ablations.cli.options import (
    DATA,
    RESULTS,
    BudgetOption,
    CommitOption,
    DataOption,
    DeviceOption,
    JsonOption,
    MostSeedsOption,
    OnlyOption,
    OpenOption,
    PerGpuOption,
    ResultsOption,
    SeedsOption,
    SetOption,
    SlotsOption,
    StudyArgument,
    TrackingOption,
    TrackOption,
    UntilDecidedOption,
)
from ablations.cli.output import print_json, program, stderr, stdout
from ablations.cli.tracking import tracking_uri
from ablations.reader import StudyError

if TYPE_CHECKING:
    from ablations.study import Study
    from orchestrator.planning.packing import Packed
    from orchestrator.planning.plan import Plan
    from reports.gantt import Gantt


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
            callback=refuse_empty,
            help="Plan for a cluster that need not be there: a node with N GPUs, or M nodes with N each.",
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the Gantt chart as one HTML file.")
    ] = None,
    data: DataOption = DATA,  # noqa: ARG001 - what was prepared there is known from here on
    as_json: JsonOption = False,
) -> None:
    """Show what a run would do now, in which order, what each trial gets, and how long it would take."""
    from ablations.cli.printing.plans import packed_facts, planned_facts, print_gantt, print_plan
    from ablations.trials import recorded
    from orchestrator.ledger import Ledger
    from orchestrator.planning.packing import prepare
    from reports.gantt import gantt, lines

    loaded = load_study(study, overrides, seeds)
    if page is not None:
        _see_file(page)
    on = "cuda" if gpus else choose_device("auto")
    sharing = trials_per_gpu(per_gpu, on)
    packed = prepare(
        trials_of(loaded, on),
        Ledger(results),
        assumed_nodes(gpus) if gpus else this_machine(on, sharing, slots),
        hardware_model(on),
        sharing,
        most=slots,
        with_blocked=gpus is not None,
    )
    chart = gantt(packed.simulation.spans, {each.trial.key: each.trial for each in packed.trials}, packed.nodes)
    if page is not None:
        _write_gantt(page, chart, loaded.name, packed)
    warnings = [] if gpus else beyond_memory(each.trial for each in packed.open)
    if as_json:
        facts = {
            "study": loaded.name,
            "question": loaded.question,
            "sha256": recorded(loaded).sha256,
            "results": str(results),
            **packed_facts(packed),
            "trials": [planned_facts(each) for each in packed.trials],
            "warnings": warnings,
        }
        print_json(facts)
    else:
        console = stdout()
        print_plan(loaded.name, packed, console)
        for each in warnings:
            console.print(f"warning: {each}", highlight=False, markup=False, soft_wrap=True)
        if chart.rows:
            print_gantt(*lines(chart, min(console.width, 120)), chart.seconds, console)
        if page is not None:
            console.print(f"chart: {page.resolve()}", highlight=False, markup=False, soft_wrap=True)
    _exit_if_damaged(packed)


def run(
    study: StudyArgument,
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: ResultsOption = RESULTS,
    data: DataOption = DATA,
    slots: SlotsOption = None,
    per_gpu: PerGpuOption = "auto",
    device: DeviceOption = "auto",
    tracking: TrackingOption = None,
    track: TrackOption = True,
    commit_seconds: CommitOption = 30.0,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster that this machine is a node of, or auto to find it; by default one of its own.",
        ),
    ] = None,
    allow_open: OpenOption = False,
    only: OnlyOption = None,
    budget: BudgetOption = None,
    until_decided: UntilDecidedOption = False,
    most_seeds: MostSeedsOption = MOST_SEEDS,
) -> None:
    """Run what the ledger misses of a study, and resume what is partial; again, and nothing is submitted."""
    from ablations.attempt import setting
    from ablations.cli.printing.progress import print_ending
    from orchestrator.cluster import embedded, joined
    from orchestrator.drive import Limits
    from orchestrator.drive import run as drive
    from orchestrator.ledger import Ledger
    from orchestrator.planning.packing import prepare

    loaded = load_study(study, overrides, seeds)
    if until_decided:
        refuse_undecidable(loaded, only)
    limits = Limits(slots=slots, only=asked_for(loaded, only), budget_hours=budget)
    results, console = results.resolve(), stderr()
    uri = tracking_uri(tracking, results) if track else None
    refuse_read_only(results)
    head, joining = look_at(address, results, allow_open) if address is not None else (None, None)
    on = choose_device(device, joining)
    sharing = trials_per_gpu(per_gpu, on)
    refuse_without_gpu(loaded, on)
    nodes = joining or this_machine(on, sharing, slots)
    hardware = "" if head and on == "cuda" else hardware_model(on)
    loaded, looks = as_far(loaded, results) if until_decided else (loaded, 1)

    def planner_of(study: "Study") -> "Callable[[], Packed]":
        return partial(prepare, trials_of(study, on), Ledger(results), nodes, hardware, sharing, most=slots)

    rounds = Rounds(loaded, looks, results, most_seeds, planner_of, console)
    planner = planner_of(loaded)
    planned = planner()
    if head:
        refuse_what_does_not_fit([each.trial for each in planned.open], limits.only, nodes)
    _say_blocked(planned)
    prepare_data((each.trial for each in planned.open), data, results / "data", console)
    for each in [] if head else beyond_memory(each.trial for each in planned.open):
        typer.echo(f"warning: {each}", err=True)
    standing = drive(
        looked_at(loaded, looks),
        planner,
        setting(results, on, commit_seconds),
        partial(joined, head.address, lost, head.token) if head else partial(embedded, int(nodes[0].cpus), lost),
        limits,
        tracking=uri,
        console=console,
        following=rounds.following if until_decided else lambda _: None,
    )
    print_ending(standing, rounds.names, console)
    where = ["--results", str(results)] if results != RESULTS.resolve() else []
    following = shlex.join(["report", study, *where])
    console.print(f"next: {program()} {following}", highlight=False, markup=False, soft_wrap=True)
    if standing.failed:
        raise typer.Exit(TRIALS_FAILED)
    _exit_if_damaged(planned)
    if standing.cancelled:
        by = ", ".join(dict.fromkeys(standing.cancelled.values()))
        fail(f"{len(standing.cancelled)} cancelled by {by}; the same command takes them up again", INTERRUPTED)


def _say_blocked(planned: "Plan") -> None:
    """What has no data does not run; where nothing has any, nothing does, and a script is told by the exit code."""
    found = [each for each in planned.trials if each.reason and each.trial.blocked and not each.damaged]
    lines = [
        f"blocked: {sum(each.reason == reason for each in found)} trials: {reason}"
        for reason in dict.fromkeys(each.reason for each in found)
    ]
    if found and len(found) == len(planned.trials):
        fail(f"no trial can be run; {'; '.join(lines)}", UNREACHABLE)
    for line in lines:
        typer.echo(line, err=True)


def _write_gantt(path: Path, chart: "Gantt", study: str, packed: "Packed") -> None:
    from ablations.cli.printing.plans import plan_lines
    from orchestrator.ledger import write_text
    from reports.gantt import page

    text = page(chart, study, plan_lines(packed))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise StudyError(
            f"--html {str(path)!r}: {error.strerror}; give a file in a folder that you may write"
        ) from None


def _see_file(path: Path) -> None:
    """Before anything is planned."""
    if path.is_dir() or not path.name:
        raise StudyError(f"--html: is the file to write, as plan.html, not the folder {str(path)!r}")


def _exit_if_damaged(planned: "Plan") -> None:
    """The rest went on; what is damaged is neither read nor run over, and the user is told by the exit code too."""
    damaged = [each for each in planned.trials if each.damaged]
    if damaged:
        fail(f"{len(damaged)} damaged: {damaged[0].trial.name}: {damaged[0].reason}", DAMAGED)
