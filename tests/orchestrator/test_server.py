"""MLflow's server as one command: what is refused before it starts, and a team's server on a real PostgreSQL."""

import base64
import errno
import importlib.util
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import toy
from tracked import Postgres, Served, ask, postgres_programs, until

from orchestrator.ledger import Ledger
from orchestrator.tracking import server as module
from orchestrator.tracking.addresses import with_driver, without_password
from orchestrator.tracking.publisher import Publisher, TrackingError, publish, summarise
from orchestrator.tracking.server import SECRET, Server, ServerError, Unavailable
from orchestrator.tracking.summaries import Summary
from orchestrator.tracking.view import DOUBLE

pytest.importorskip("mlflow")
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

INI = """[mlflow]
default_permission = EDIT
database_uri = {database}
admin_username = chief
"""
TEAM: Mapping[str, Any] = {"uri": "postgresql://mlflow@db.example.org/runs", "artifacts": Path("files")}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"uri": "http://me:word@tracking.example.org"}, "is a server already; open it in a browser"),
        ({"uri": "sqlite:////nowhere/mlflow.db"}, "there is none yet; run a study, or `ablate publish` one"),
        ({"uri": "mysql://me:word@db/runs"}, "is sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ({"host": "0.0.0.0"}, "say by which names they call it, as --allowed-hosts tracking.example.org"),
        ({"host": "10.0.0.7"}, "say by which names they call it"),
        ({"host": "nohost.invalid"}, "--host 'nohost.invalid': is no address, nor a name that is known here"),
        ({"host": ""}, "--host '': is no address"),
        ({"names": ["10.*"]}, "no patterns, for 10.* fits 10.evil.com too"),
        ({"names": ["*"]}, "no patterns"),
        ({"names": ["http://tracking.example.org"]}, "names or addresses, as tracking.example.org"),
        ({"auth": Path("/nowhere.ini")}, "--auth /nowhere.ini: there is no such file"),
        ({"auth": Path("/")}, "--auth /: is a directory; name a file as docs/tracking.md shows it"),
    ],
    ids=str,
)
def test_what_is_refused(given: dict[str, Any], says: str) -> None:
    """In one line, and without anybody's password."""
    with pytest.raises(ServerError) as caught:
        Server(**{**TEAM, **given})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "word@" not in str(caught.value)


def test_a_configuration_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it holds a password; and a secret must be set, and be no empty text."""
    file = tmp_path / "auth.ini"
    file.write_text(INI.format(database="sqlite:////tmp/auth.db") + "admin_password = 0123456789ab%\n")
    file.chmod(0o644)
    with pytest.raises(ServerError, match=r"open to other users: chmod 600 .*auth\.ini"):
        Server(**TEAM, auth=file)
    file.chmod(0o600)
    monkeypatch.setenv(SECRET, "")
    with pytest.raises(ServerError, match=f"set {SECRET} to a long random text"):
        Server(**TEAM, auth=file)
    monkeypatch.setenv(SECRET, "long and random")
    assert "basic-auth" in Server(**TEAM, auth=file).command
    file.write_text(INI.format(database="postgresql://mlflow@db/users"))
    with pytest.raises(ServerError, match=r"database_uri begins with postgresql\+psycopg2://"):
        Server(**TEAM, auth=file)
    file.write_text("[mlflow\n")
    with pytest.raises(ServerError, match="has no default_permission"):
        Server(**TEAM, auth=file)


@pytest.mark.parametrize(("package", "given"), [("psycopg2", {}), ("flask_wtf", {"auth": Path("auth.ini")})])
def test_a_missing_package_is_named(package: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what installs it."""
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(Unavailable, match=r"is not installed: pip install 'ablate\[server\]'"):
        Server(**TEAM, **given)


def test_a_port_that_cannot_be_had_is_told_before_mlflow_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken, or it is not this user's, or the address is another machine's."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"--port {port}: something listens on 127.0.0.1:{port} already"):
            Server(**TEAM, port=port).probe()
    with pytest.raises(Unavailable, match=r"--host 192\.0\.2\.1: this machine cannot listen there \("):
        Server(**TEAM, host="192.0.2.1", names=["a.example.org"]).probe()

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.socket.socket, "bind", refused)
    with pytest.raises(Unavailable, match="--port 80: this user may not listen there; choose one of 1024 or more"):
        Server(**TEAM, port=80).probe()


def option(server: Server, name: str) -> list[str]:
    command = server.command
    return command[command.index(name) + 1].split(",")


def test_the_command_has_no_password_and_always_a_list_of_hosts() -> None:
    """The address of the database is in the environment, which other users cannot read."""
    server = Server(**{**TEAM, "uri": "postgresql://mlflow:word@db/runs"}, host="0.0.0.0", names=["a.example.org"])
    assert "word" not in " ".join(server.command)
    assert server.environment["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow:word@db/runs"
    assert option(server, "--allowed-hosts") == [
        "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "a.example.org", "a.example.org:5000",
    ]  # fmt: skip
    assert {"http://a.example.org:5000", "https://a.example.org"} <= set(option(server, "--cors-allowed-origins"))
    assert server.address == "http://a.example.org:5000"
    assert Server(**TEAM, names=["a.example.org:80"], port=5001).address == "http://a.example.org:80"
    assert Server(**TEAM, host="::1").address == "http://[::1]:5000"
    assert "*" not in " ".join(Server(**TEAM).command)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://host/db"),
        ("(x) postgresql://me:pa/s@s@host/db: away", "(x) postgresql://host/db: away"),
        ("postgresql://host/db?user=me&password=s3cret&sslmode=require", "postgresql://host/db?user=me&password=***&sslmode=require"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////runs/me@here/mlflow.db", "sqlite:////runs/me@here/mlflow.db"),
    ],
)  # fmt: skip
def test_no_password_is_shown(text: str, shown: str) -> None:
    """In an address or in a message that names one."""
    assert without_password(text) == shown


PROGRAMS = postgres_programs()
WORD = "the-chiefs-own-word"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    with Postgres(PROGRAMS) as started:
        yield started


@pytest.fixture(scope="module")
def team(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As docs/tracking.md says: PostgreSQL, files through the server, a password for everybody."""
    folder = tmp_path_factory.mktemp("team")
    ini = folder / "auth.ini"
    ini.write_text(INI.format(database=with_driver(database.uri)))
    options = ["--tracking", database.uri, "--artifacts", "files", "--host", "0.0.0.0", "--auth", str(ini)]
    options += ["--allowed-hosts", "tracking.example.org"]
    secrets = {SECRET: "signs-sessions", "MLFLOW_AUTH_ADMIN_PASSWORD": WORD, "PGPASSWORD": Postgres.PASSWORD}
    with Served(folder, *options, **secrets) as served:
        yield served


@pytest.fixture
def chief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients take their names and passwords from the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "chief")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WORD)


def attempted(ledger: Ledger, number: int, *, until: int | None = None) -> None:
    trial = toy.trial(number)
    try:
        with ledger.attempt(trial, provenance={}, commit_seconds=0.0) as attempt:
            toy.run({**trial.params, "raise_at": until}, attempt)
    except RuntimeError:
        assert until is not None


def everything(client: MlflowClient) -> list[MlflowRun]:
    """All runs, deleted or not."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments, run_view_type=ViewType.ALL))


def histories(url: str, *numbers: int) -> dict[str, list[tuple[int, float]]]:
    """The curve of every run that there is of these trials, deleted or not, by the name of its arm."""
    client = MlflowClient(tracking_uri=url)
    keys = {toy.trial(number).key for number in numbers}
    found = [run for run in everything(client) if run.data.tags["key"] in keys]
    assert len({run.data.tags["key"] for run in found}) == len(found)
    return {
        run.data.tags["arm"]: [
            (each.step, each.value) for each in client.get_metric_history(run.info.run_id, "train_error_percent")
        ]
        for run in found
    }


def committed(ledger: Ledger, number: int) -> list[tuple[int, float]]:
    folder = ledger.folder(toy.trial(number).key)
    head = folder.head()
    assert head is not None
    return [(each["iteration"], each["train_error"]) for each in folder.records("curves.jsonl", head)]


def test_nobody_is_let_in_without_a_password(team: Served) -> None:
    """But for the question whether it is alive; a publisher without one says so in one line."""
    search = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=toy"
    assert ask(team.port, "/health")[0] == 200
    for path in (search, "/", "/graphql", "/metrics"):
        assert ask(team.port, path)[0] == 401, path
    assert ask(team.port, search, headers=basic("chief", "password1234"))[0] == 401


def test_a_publisher_without_a_password_says_so(team: Served, tmp_path: Path) -> None:
    """In one line."""
    ledger = Ledger(tmp_path)
    attempted(ledger, 0)
    with pytest.raises(TrackingError, match="not authenticated") as caught:
        publish(ledger, toy.study(toy.trial()), team.url)
    assert "\n" not in str(caught.value)


def test_it_answers_to_its_names_alone(team: Served) -> None:
    """By its own name from a page of its own, as a browser asks; not by another's, and not for another's page."""
    search, body = "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}'
    right = basic("chief", WORD) | {"Content-Type": "application/json"}
    names = ["tracking.example.org", f"tracking.example.org:{team.port}", f"127.0.0.1:{team.port}"]
    for name in names:
        headers = right | {"Host": name, "Origin": f"http://{name}"}
        assert ask(team.port, search, method="POST", body=body, headers=headers)[0] == 200, name
    for name in ("10.evil.com", "evil.example.org", "tracking.example.org.evil.com", "192.168.1.1"):
        assert ask(team.port, search, method="POST", body=body, headers=right | {"Host": name})[0] == 403, name
        headers = right | {"Host": names[0], "Origin": f"http://{name}"}
        assert ask(team.port, search, method="POST", body=body, headers=headers)[0] == 403, name


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("chief")
def test_a_study_on_postgresql_through_a_crash_of_both(team: Served, database: Postgres, tmp_path: Path) -> None:
    """Published, caught up after the database and after the server were gone, published again by a new publisher that
    remembers nothing: a run for each trial, and every committed point once. Files go through the server."""
    ledger, of = Ledger(tmp_path), toy.study(toy.trial(), toy.trial(1))
    publisher = Publisher(ledger, team.url)

    def caught_up() -> bool:
        try:
            return publisher.publish(of) == 0
        except TrackingError:
            return False

    attempted(ledger, 0, until=4)
    attempted(ledger, 1, until=2)
    until(caught_up)
    database.stop()
    attempted(ledger, 0, until=7)
    with pytest.raises(TrackingError):
        publisher.publish(of)
    database.start()
    until(caught_up)
    team.kill()
    attempted(ledger, 0)
    with pytest.raises(TrackingError):
        publisher.publish(of)
    team.start()
    attempted(ledger, 1)
    until(caught_up)
    expected = {f"toy-{number}": committed(ledger, number) for number in (0, 1)}
    assert histories(team.url, 0, 1) == expected
    for mark in (ledger.root / "published").glob("*.json"):
        mark.unlink()
    assert publish(ledger, of, team.url) == 2
    assert publish(ledger, of, team.url) == 0
    assert histories(team.url, 0, 1) == expected

    client = MlflowClient(tracking_uri=team.url)
    run, *_ = client.search_runs([each.experiment_id for each in client.search_experiments()])
    client.log_text(run.info.run_id, "text", "note.txt")
    assert run.info.artifact_uri is not None
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert [path.read_text() for path in (team.folder / "files").rglob("note.txt")] == ["text"]


def basic(name: str, word: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()}


@pytest.mark.usefixtures("chief")
def test_a_user_of_the_team_publishes_beside_others(
    team: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into an experiment that another one made. A double, which this user may not delete, is marked, once."""
    first, second = Ledger(tmp_path / "first"), Ledger(tmp_path / "second")
    attempted(first, 5)
    publish(first, toy.study(toy.trial(5)), team.url)
    user = json.dumps({"username": "bob", "password": "bobs-own-long-word"}).encode()
    path, headers = "/api/2.0/mlflow/users/create", basic("chief", WORD) | {"Content-Type": "application/json"}
    assert ask(team.port, path, method="POST", body=user, headers=headers)[0] == 200
    client = MlflowClient(tracking_uri=team.url)
    (made,) = [run for run in everything(client) if run.data.tags["arm"] == "toy-5"]
    older = client.create_run(made.info.experiment_id, start_time=1000, tags={"key": toy.trial(6).key, "arm": "toy-6"})
    younger = client.create_run(made.info.experiment_id, start_time=2000, tags={"key": toy.trial(6).key, "arm": "x"})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "bobs-own-long-word")
    attempted(second, 6)
    for _ in range(2):
        publish(second, toy.study(toy.trial(6)), team.url)
        found = {run.info.run_id: run for run in everything(client) if run.data.tags["key"] == toy.trial(6).key}
        assert {run.info.lifecycle_stage for run in found.values()} == {"active"}
        assert found[younger.info.run_id].data.tags[DOUBLE] == older.info.run_id
        assert DOUBLE not in found[older.info.run_id].data.tags
        assert found[older.info.run_id].data.metrics["train_error_percent"] == committed(second, 6)[-1][1]
        (second.root / "published" / f"{toy.trial(6).key}.json").unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "chief")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", WORD)
    client.delete_run(younger.info.run_id)


@pytest.mark.timeout(900)
def test_the_database_alone_will_do(database: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher may speak to it directly; a server that is started later serves its runs and their files."""
    monkeypatch.setenv("PGPASSWORD", Postgres.PASSWORD)
    ledger, of = Ledger(tmp_path / "results"), toy.study(toy.trial(2))
    attempted(ledger, 2, until=5)
    publisher = Publisher(ledger, database.uri)
    assert publisher.publish(of) == 1
    database.stop()
    database.start()
    attempted(ledger, 2)
    assert publisher.publish(of) == 1
    assert publish(ledger, of, database.uri) == 0
    summary = Summary(study=of, metrics={"trials_finished": 1}, files={"report.html": "<p>"})
    assert summarise(ledger, summary, database.uri)  # without its files, which are the server's to receive
    assert not summarise(ledger, summary, database.uri)
    assert histories(with_driver(database.uri), 2)["toy-2"] == committed(ledger, 2)


def test_no_password_is_written_anywhere(team: Served) -> None:
    """Not into the server's log, nor where other users see what runs."""
    command = Path(f"/proc/{team.process.pid}/cmdline").read_bytes().decode()
    assert "mlflow" in command
    for word in (WORD, Postgres.PASSWORD, "signs-sessions"):
        assert word not in team.log.read_text()
        assert word not in command


def test_a_database_that_does_not_let_us_in_is_one_line(database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds, and without the password; the right one is taken from the environment too."""
    wrong = Server(uri=database.uri.replace("mlflow@", "mlflow:wr0ng-word@"), artifacts=Path("files"))
    with pytest.raises(Unavailable, match="password authentication failed") as caught:
        wrong.probe()
    assert "wr0ng-word" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(Unavailable, match="refused"):
        Server(uri="postgresql+psycopg2://mlflow@127.0.0.1:9/runs", artifacts=Path("files")).probe()
    monkeypatch.setenv("PGPASSWORD", Postgres.PASSWORD)
    Server(uri=database.uri, artifacts=Path("files")).probe()
