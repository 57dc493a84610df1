"""Running a study elsewhere: `submit`, and `doctor`, which says what keeps a machine or a cluster from it."""

from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.clusters import code_digest, code_root, refuse_address, refuse_what_does_not_fit, usable
from ablations.cli.deciding import MOST_SEEDS, refuse_undecidable
from ablations.cli.exits import INTERRUPTED, UNREACHABLE, fail
from ablations.cli.hardware import choose_device, refuse_without_gpu, trials_per_gpu
from ablations.cli.loading import load_study, trials_of
from ablations.cli.names import asked_for
from ablations.cli.options import (
    RESULTS,
    BudgetOption,
    CommitOption,
    DeviceOption,
    JsonOption,
    JudgedResultsOption,
    MostSeedsOption,
    OnlyOption,
    OpenOption,
    PerGpuOption,
    SeedsOption,
    SetOption,
    SlotsOption,
    StudyArgument,
    TrackingOption,
    TrackOption,
    UntilDecidedOption,
)
from ablations.cli.output import print_json, stdout
from ablations.cli.tracking import tracking_uri
from ablations.reader import StudyError


def submit(
    study: StudyArgument,
    address: Annotated[str, typer.Option(metavar="http://HOST:8265", help="Dashboard of the cluster's head.")],
    overrides: SetOption = None,
    seeds: SeedsOption = None,
    results: JudgedResultsOption = RESULTS,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the data sets on the cluster; by default in the results.")
    ] = None,
    slots: SlotsOption = None,
    per_gpu: PerGpuOption = "auto",
    device: DeviceOption = "auto",
    tracking: TrackingOption = None,
    track: TrackOption = True,
    commit_seconds: CommitOption = 30.0,
    only: OnlyOption = None,
    budget: BudgetOption = None,
    until_decided: UntilDecidedOption = False,
    most_seeds: MostSeedsOption = MOST_SEEDS,
    follow: Annotated[bool, typer.Option("--follow", help="Print the job's log until it ends.")] = False,
    allow_open: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study as a job on a Ray cluster, with this code; from any machine that reaches its head."""
    from ablations.study import shipped
    from ablations.trials import recorded
    from orchestrator.remote.access import find_token
    from orchestrator.remote.jobs import Head
    from orchestrator.remote.package import pack
    from orchestrator.remote.probe import survey_by_job
    from orchestrator.remote.submit import Submission, next_job, ways, write_out
    from orchestrator.remote.submit import follow as follow_job
    from orchestrator.remote.submit import submit as submit_job

    _see_absolute("--results", results)
    _see_absolute("--data", data or results)
    tracking_uri(tracking, results)  # what is no address here is none there
    head, loaded = Head(address), load_study(study, overrides, seeds)
    if until_decided:
        refuse_undecidable(loaded, only)
    wanted = asked_for(loaded, only)
    trials_per_gpu(per_gpu, "cuda")  # a word that is no number is wrong on any cluster
    file = None if study in shipped() else (f"{loaded.name}.yaml", loaded.text)
    arguments = [file[0] if file else study, *(f"--set={each}" for each in overrides or ())]
    arguments += [f"--only={each}" for each in wanted] + ([] if track else ["--no-track"])
    arguments += ["--until-decided", f"--most-seeds={most_seeds}"] if until_decided else []
    values = {
        "--seeds": seeds,
        "--data": data or results / "sources",
        "--slots": slots,
        "--per-gpu": per_gpu,
        "--device": device,
        "--tracking": tracking,
        "--commit-seconds": commit_seconds,
        "--budget": budget,
    }
    arguments += [f"{name}={value}" for name, value in values.items() if value is not None]
    submission = Submission(study=loaded.name, sha256=recorded(loaded).sha256, results=results, arguments=arguments)
    package = pack(code_root(), file)
    head.admit(find_token(), allow_open=allow_open)
    job = next_job(head, submission)
    said = survey_by_job(head, results)
    nodes = usable(said, results, digest=None, shared_here=bool(said["here"].get("shown")))
    on = choose_device(device, nodes)
    trials_per_gpu(per_gpu, on)
    refuse_without_gpu(loaded, on)
    refuse_what_does_not_fit(trials_of(loaded, on), wanted, nodes)
    submit_job(head, submission, job, package)
    if as_json:
        print_json({"job": job, "address": head.address, "study": loaded.name, "results": str(results)})
    else:
        typer.echo(f"job {job} on {head.address}")
        for what, command in ways(head, submission, job).items():
            typer.echo(f"  {what}: {command}")
    if follow:
        try:
            code = follow_job(head, job, write_out)
        except KeyboardInterrupt:
            fail(f"not followed any more; job {job} goes on", INTERRUPTED)
        if code == INTERRUPTED:
            fail(f"job {job} was stopped; what was committed is kept, and the same command goes on", INTERRUPTED)
        raise typer.Exit(code)


def doctor(
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Cluster too: http://HOST:8265, or HOST:PORT or auto on one of its nodes."
        ),
    ] = None,
    results: JudgedResultsOption = RESULTS,
    tracking: TrackingOption = None,
    allow_open: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with this machine, or with a cluster, and what to do; exit code 4 if something is."""
    from dataclasses import asdict

    from ablations.doctor import machine_findings
    from orchestrator.remote.checkup import (
        cluster_findings,
        exposed,
        results_findings,
        token_findings,
        tracking_findings,
    )
    from orchestrator.remote.findings import bad
    from orchestrator.remote.jobs import Head

    uri = tracking_uri(tracking, results)
    if address is not None:
        _ = Head(address) if "://" in address else refuse_address(address)
    found = [*machine_findings(), *token_findings(), *exposed(), *results_findings(results.resolve())]
    found += tracking_findings(uri)
    if address is not None:
        found += cluster_findings(address, results, allow_open=allow_open, digest=code_digest())
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        from ablations.cli.printing.judgements import print_findings

        print_findings(found, stdout())
    if bad(found):
        raise typer.Exit(UNREACHABLE)


def _see_absolute(option: str, path: Path) -> None:
    if not path.is_absolute():
        raise StudyError(
            f"{option}: on a cluster, the absolute path of a directory that every node has mounted, not {str(path)!r}"
        )
