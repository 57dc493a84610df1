"""MLflow killed, frozen, answering 500, losing replies: the ledger's view comes late, whole, and every point once.

Against a real `mlflow server`, through a proxy that misbehaves, and against the server's own processes being stopped.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import toy
from tracked import Proxy, Served, until

from orchestrator.ledger import Ledger
from orchestrator.studies import RecordedStudy, write_study
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.publisher import Publisher, TrackingError, summarise
from orchestrator.tracking.summaries import Summary
from orchestrator.tracking.view import DOUBLE

pytest.importorskip("mlflow")
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

PATIENCE = "4"
"""Seconds that a publisher of these tests waits for an answer; less than it takes a person to wonder."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all: it takes long to start."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "results").mkdir()
    MlflowClient(tracking_uri=default_uri(folder / "results")).search_experiments()
    with Served(folder, MLFLOW_TRACKING_URI="") as served:
        yield served


@pytest.fixture
def proxy(server: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", PATIENCE)
    with Proxy(server.port) as between:
        yield between


_numbers = iter(range(1, 1000))


@pytest.fixture
def number() -> int:
    """Of a trial that no other test has published."""
    return next(_numbers)


def attempted(ledger: Ledger, number: int, *, until: int | None = None, iterations: int = 10) -> None:
    """Run the toy, whole or up to an iteration, committing after every record."""
    trial = toy.trial(number, iterations=iterations)
    try:
        with ledger.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
            toy.run({**trial.params, "raise_at": until}, attempt)
    except RuntimeError:
        assert until is not None


def study(*numbers: int) -> RecordedStudy:
    return toy.study(*(toy.trial(each) for each in numbers))


def runs(server: Served, number: int, view: int = ViewType.ACTIVE_ONLY) -> list[MlflowRun]:
    """MLflow's runs of one trial."""
    client = MlflowClient(tracking_uri=server.url)
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.key = '{toy.trial(number).key}'", view))


def is_whole(server: Served, ledger: Ledger, number: int, status: str = "FINISHED") -> None:
    """MLflow holds one run of the trial, and every committed point of it once."""
    (run,) = runs(server, number)
    assert run.info.status == status
    folder = ledger.folder(toy.trial(number).key)
    head = folder.head()
    assert head is not None
    committed = [(each["iteration"], each["train_error"]) for each in folder.records("curves.jsonl", head)]
    client = MlflowClient(tracking_uri=server.url)
    for metric, expected in (
        ("train_error_percent", committed),
        ("system/images_per_second", [(at, float(at)) for at, _ in committed]),
    ):
        history = client.get_metric_history(run.info.run_id, metric)
        assert [(each.step, each.value) for each in history] == expected


def caught_up(publisher: Publisher, of: RecordedStudy) -> None:
    """Publish again and again, as the forwarder does, until nothing is left."""

    def done() -> bool:
        try:
            return publisher.publish(of) == 0
        except TrackingError:
            return False

    until(done, 120)


SUMMARY_PATHS = ["runs/create", "runs/search", "runs/log-batch", "mlflow-artifacts", "runs/update"]


@pytest.mark.parametrize("mode", ["error", "drop"])
@pytest.mark.parametrize("request_path", SUMMARY_PATHS, ids=[path.split("/")[-1] for path in SUMMARY_PATHS])
def test_a_summary_is_one_whatever_is_lost_and_costs_few_requests(
    request_path: str, mode: str, proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """The next time nothing is doubled and nothing is missing; a time after that, nothing is sent."""
    ledger, of = Ledger(tmp_path / "results"), replace(study(number), name=f"summed-{number}")
    summary = Summary(study=of, metrics={"trials_finished": 1.0}, files={"report.html": "<p>", "report.csv": "a"})
    proxy.behave(mode, only=request_path, times=1)
    with pytest.raises(TrackingError, match="the ledger has it all"):
        summarise(ledger, summary, proxy.url)
    summarise(ledger, summary, proxy.url)
    client = MlflowClient(tracking_uri=server.url)
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.key = '{summary.key}'", ViewType.ALL)
    assert run.data.metrics == {"trials_finished": 1.0}
    assert run.info.status == "FINISHED"
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"report.html", "report.csv"}
    proxy.seen.clear()
    assert not summarise(ledger, summary, proxy.url)
    assert not [each for each in proxy.seen if "search" not in each and "get-by-name" not in each]
    assert len(proxy.seen) <= 4


@pytest.mark.parametrize("mode", ["refuse", "freeze", "error", "drop"])
def test_an_outage_in_mid_trial_costs_a_late_view(
    mode: str, proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """Each look ends within two answers' time, and says why in one line; when MLflow is back, nothing is missing."""
    ledger, of = Ledger(tmp_path), study(number)
    publisher = Publisher(ledger, proxy.url)
    attempted(ledger, number, until=4)
    caught_up(publisher, of)
    proxy.refuse() if mode == "refuse" else proxy.behave(mode)
    for stop in (6, 8, None):
        attempted(ledger, number, until=stop)
        started = time.monotonic()
        with pytest.raises(TrackingError, match="the ledger has it all") as caught:
            publisher.publish(of)
        assert "\n" not in str(caught.value)
        assert time.monotonic() - started < 60
    proxy.open() if mode == "refuse" else proxy.thaw()
    caught_up(publisher, of)
    is_whole(server, ledger, number)


@pytest.mark.parametrize(
    "request_path", ["experiments/create", "runs/create", "runs/log-batch", "runs/update", "runs/search"]
)
def test_a_reply_that_is_lost_after_the_server_did_it_doubles_nothing(
    request_path: str, proxy: Proxy, server: Served, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever reply; also where MLflow's client was told to ask again by itself."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    ledger, of = Ledger(tmp_path), study(number)
    if request_path == "experiments/create":
        of = _of_data(of, f"toy-{number}")
    attempted(ledger, number)
    proxy.behave("drop", only=request_path, times=1)
    publisher = Publisher(ledger, proxy.url)
    caught_up(publisher, of)
    assert any(request_path in each for each in proxy.seen)
    is_whole(server, ledger, number)
    assert len(runs(server, number, ViewType.ALL)) == 1


@pytest.mark.parametrize("mode", ["error", "drop"])
@pytest.mark.parametrize("request_path", ["runs/search", "runs/log-batch", "runs/update"])
@pytest.mark.parametrize("nth", [1, 2])
def test_one_request_that_fails_in_mid_trial_loses_nothing(
    nth: int, request_path: str, mode: str, proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """The publisher looks afresh in the same breath, and sends again what may not have arrived."""
    ledger, of = Ledger(tmp_path), study(number)
    publisher = Publisher(ledger, proxy.url)
    attempted(ledger, number, until=4)
    caught_up(publisher, of)
    proxy.behave(mode, only=request_path, times=nth)
    for stop in (6, 8, None):
        attempted(ledger, number, until=stop)
        caught_up(publisher, of)
    is_whole(server, ledger, number)


def _of_data(of: RecordedStudy, data: str) -> RecordedStudy:
    """The same study over another data set, and so in another experiment."""
    return replace(of, arms=[replace(arm, network={**arm.network, "data": data}) for arm in of.arms])


def test_a_run_that_a_frozen_server_makes_late_is_deleted(
    proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """Its sender gave up and made another; the same publisher notices, and one of the two stays, with every point."""
    ledger, of = Ledger(tmp_path), study(number)
    publisher = Publisher(ledger, proxy.url)
    attempted(ledger, number)
    proxy.behave("late", only="runs/create", times=1)
    caught_up(publisher, of)
    is_whole(server, ledger, number)
    proxy.thaw()
    until(lambda: proxy.late == [200], 60)
    assert len(runs(server, number)) == 2
    caught_up(publisher, of)
    is_whole(server, ledger, number)
    first, second = sorted(runs(server, number, ViewType.ALL), key=lambda run: run.info.lifecycle_stage)
    assert (first.info.lifecycle_stage, second.info.lifecycle_stage) == ("active", "deleted")
    assert second.data.tags[DOUBLE] == first.info.run_id


def test_a_new_publisher_finds_the_double_that_an_old_one_left(
    proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """The old one ended, with its mark, before the server woke up."""
    ledger, of = Ledger(tmp_path), study(number)
    attempted(ledger, number, until=5)
    proxy.behave("late", only="runs/create", times=1)
    caught_up(Publisher(ledger, proxy.url), of)
    proxy.thaw()
    until(lambda: proxy.late == [200], 60)
    attempted(ledger, number)
    caught_up(Publisher(ledger, proxy.url), of)
    is_whole(server, ledger, number)


def test_two_publishers_that_share_no_lock_keep_the_same_run(
    proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """Of two copies of the results, at the same time."""
    first = Ledger(tmp_path / "first")
    attempted(first, number)
    write_study(first.root, study(number))
    shutil.copytree(first.root, tmp_path / "second")
    second = Ledger(tmp_path / "second")
    with _forwarder(first.root, proxy.url, "30") as one, _forwarder(second.root, proxy.url, "30") as other:
        for each in (one, other):
            assert each.stdin is not None
            each.stdin.close()
        assert [each.wait(240) for each in (one, other)] == [0, 0]
    for ledger in (first, second):
        caught_up(Publisher(ledger, proxy.url), study(number))
    is_whole(server, first, number)


def test_doubles_of_an_older_version_are_found_beside_a_mark(
    proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """Both carry the study's tag and points; the oldest stays, and gets what it lacks."""
    ledger, of = Ledger(tmp_path), study(number)
    attempted(ledger, number, until=5)
    caught_up(Publisher(ledger, proxy.url), of)
    client = MlflowClient(tracking_uri=server.url)
    (run,) = runs(server, number)
    older = client.create_run(run.info.experiment_id, start_time=1000, tags=run.data.tags)
    client.log_metric(older.info.run_id, "train_error_percent", 0.0, timestamp=1, step=0)
    client.set_terminated(older.info.run_id, "FAILED")
    attempted(ledger, number)
    caught_up(Publisher(ledger, proxy.url), of)
    (left,) = runs(server, number)
    assert left.info.run_id == older.info.run_id
    history = client.get_metric_history(older.info.run_id, "train_error_percent")
    assert [each.step for each in history] == list(range(11))


def _forwarder(results: Path, uri: str, patience: str = PATIENCE) -> "subprocess.Popen[str]":
    """As a run starts it: it ends when its standard input is closed."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.tracking", str(results), "toys"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": patience},
    )


@pytest.mark.timeout(900)
def test_the_server_is_frozen_and_killed_while_the_forwarder_is_at_work(
    server: Served, tmp_path: Path, number: int
) -> None:
    """SIGSTOP, SIGCONT, kill -9 of all its processes and a new start: the forwarder lives, and catches up."""
    ledger, trials = Ledger(tmp_path), (number, number + 500)
    write_study(tmp_path, study(*trials))
    attempted(ledger, number, until=3)
    forwarder = _forwarder(tmp_path, server.url)
    try:
        until(lambda: [run.info.status for run in runs(server, number)] == ["FAILED"])
        server.freeze()
        attempted(ledger, number, until=6)
        attempted(ledger, number + 500, until=2)
        time.sleep(12)
        assert forwarder.poll() is None
        server.thaw()
        until(lambda: _answered(server, number + 500))
        server.kill()
        attempted(ledger, number, until=8)
        time.sleep(8)
        assert forwarder.poll() is None
        server.start()
        for each in trials:
            attempted(ledger, each)
    finally:
        _, errors = forwarder.communicate(timeout=240)
    assert forwarder.returncode == 0, errors
    for each in trials:
        is_whole(server, ledger, each)


def _answered(server: Served, number: int) -> bool:
    """Whether the trial has its run; a connection of ours that the frozen server forgot is no answer."""
    with suppress(MlflowException):
        return len(runs(server, number)) == 1
    return False


def peak_mib(results: Path, uri: str) -> float:
    """The most memory that a forwarder held, which published once and ended."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from orchestrator.tracking.forwarder import follow\n"
        f"code = follow(Path({str(results)!r}), 'toys', {uri!r})\n"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "sys.exit(code)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout) / 1024


def long_trial(ledger: Ledger, number: int, iterations: int, metrics: int) -> None:
    """A finished trial with a record after every iteration."""
    trial = toy.trial(number, iterations=iterations)
    with ledger.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
        for iteration in range(1, iterations + 1):
            attempt.log(iteration, {f"metric_{each}": iteration / (each + 1) for each in range(metrics)})
        attempt.finish(iterations, b"", {"outcome": "finished"})


def copied(ledger: Ledger, number: int, to: int) -> None:
    """The same trial under another key."""
    source, key = ledger.folder(toy.trial(number).key).path, toy.trial(to).key
    target = shutil.copytree(source, source.with_name(key))
    for name in ("commit.json", "trial.json"):
        (target / name).write_text((target / name).read_text().replace(source.name, key))


@pytest.mark.timeout(900)
def test_long_curves_are_thinned_and_take_no_more_memory_than_short_ones(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """64,000 iterations of 10 metrics, twice: the forwarder holds a batch at a time."""
    numbers = list(range(2000, 2002))
    short, long = Ledger(tmp_path / "short"), Ledger(tmp_path / "long")
    long_trial(short, 1999, 100, 10)
    write_study(short.root, toy.study(toy.trial(1999, iterations=100)))
    long_trial(long, numbers[0], 64_000, 10)
    for each in numbers[1:]:
        copied(long, numbers[0], each)
    write_study(long.root, toy.study(*(toy.trial(each, iterations=64_000) for each in numbers)))
    few, many = peak_mib(short.root, server.url), peak_mib(long.root, server.url)
    size = (long.folder(toy.trial(numbers[0]).key).path / "curves.jsonl").stat().st_size / 2**20
    with capsys.disabled():
        print(json.dumps({"MiB for 1 x 100 records": few, "MiB for 2 x 64,000": many, "MiB of one curve": size}))  # noqa: T201
    assert many - few < 20
    (run,) = runs(server, numbers[-1])
    assert run.data.tags["thinned"].startswith("every 65th of 64,000 points: metric_0, metric_1")
    history = MlflowClient(tracking_uri=server.url).get_metric_history(run.info.run_id, "metric_3")
    steps = [each.step for each in history]
    assert max(Counter(steps).values()) == 1
    assert steps == [*range(1, 64_000, 65), 64_000]
    assert all(each.value == each.step / 4 for each in history)


def test_a_thinned_curve_is_the_same_however_often_it_was_published(
    proxy: Proxy, server: Served, tmp_path: Path, number: int
) -> None:
    """At each commit, through an outage, and by a new publisher: the same points as all at once, and the last."""
    ledger, trial = Ledger(tmp_path), toy.trial(number, iterations=3000)
    of, publisher = toy.study(trial), Publisher(ledger, proxy.url)
    with ledger.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
        for iteration in range(1, 3000):
            attempt.log(iteration, {"loss": float(iteration)})
            if iteration in (1, 2, 500, 501, 1700, 2999):
                attempt.commit(iteration, b"x")
                if iteration == 500:
                    proxy.behave("error", only="log-batch", times=2)
                if iteration == 1700:
                    publisher = Publisher(ledger, proxy.url)
                caught_up(publisher, of)
        attempt.finish(2999, b"x", {"outcome": "finished"})
    caught_up(publisher, of)
    (run,) = runs(server, number)
    history = MlflowClient(tracking_uri=server.url).get_metric_history(run.info.run_id, "loss")
    assert [each.step for each in history] == [*range(1, 3000, 4), 2999]
    assert run.data.tags["thinned"] == "every 4th of 3,000 points: loss"
