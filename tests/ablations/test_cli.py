"""The command line as a user meets it: a tiny study from its file to its page, and every way to be told no."""

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ablations.cli import main
from orchestrator import provenance
from orchestrator.ledger import Ledger
from orchestrator.trial import Trial

ABLATE = Path(sys.executable).with_name("ablate")
STUDY = """
name: tiny
question: Does the command line work?
data: digits
recipe: {name: digits, iterations: 20, record_every: 5, evaluate_every: 10}
matrix:
  shortcut: [none, A]
  depth: [8, 14]
seeds: 2
claims:
  - {id: easy, say: "train_error(A, 8) < 200"}
  - {id: absurd, say: "train_error(A, 8) > train_error(A, 8) + 99"}
"""

Ablate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study was run once."""
    folder = tmp_path_factory.mktemp("a user's place")
    (folder / "tiny.yaml").write_text(STUDY)
    done = call(folder, "run", "tiny.yaml", program=_through_a_blank(folder))
    assert done.returncode == 0, done.stderr
    assert "8 trials: 8 new; 8 to run" in done.stderr
    assert "8 begun, 8 done, 0 failed" in done.stderr
    return folder


@pytest.fixture
def ablate(place: Path) -> Ablate:
    return lambda *arguments: call(place, *arguments)


def call(
    folder: Path, *arguments: str, program: Sequence[Path | str] = (ABLATE,), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"} | dict(env or {})
    return subprocess.run([*program, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=240)


def _through_a_blank(folder: Path) -> Sequence[Path | str]:
    """The program from a path with a blank and an apostrophe, which a shell would have to quote."""
    (folder / "it's mine").symlink_to(sys.prefix)
    return [folder / "it's mine" / "bin" / "python", "-m", "ablations.cli"]


def facts(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_a_second_run_submits_nothing(ablate: Ablate) -> None:
    """Idempotent: what the ledger holds is not run again, and Ray is not even started."""
    started = time.monotonic()
    done = ablate("run", "tiny.yaml")
    assert done.returncode == 0
    assert "0 submitted, 0 done, 0 failed" in done.stderr
    assert "local Ray" not in done.stderr
    assert time.monotonic() - started < 60


def test_more_seeds_are_a_set_difference(ablate: Ablate) -> None:
    """With one seed more, exactly the new trials are planned: here one for each of the four arms."""
    states = [each["state"] for each in facts(ablate("plan", "tiny.yaml", "--seeds", "3", "--json"))["trials"]]
    assert sorted(states) == ["done"] * 8 + ["new"] * 4


def test_plan_prints_what_the_contract_names(ablate: Ablate) -> None:
    """An object with `study` and `trials`, each with the facts that a script needs."""
    plan = facts(ablate("plan", "tiny.yaml", "--json"))
    assert plan["study"] == "tiny"
    names = {
        "name",
        "key",
        "arm",
        "seed",
        "state",
        "parameters",
        "multiply_adds",
        "expected_seconds",
        "resources",
        "after",
    }
    assert all(names <= set(each) for each in plan["trials"])
    assert {each["state"] for each in plan["trials"]} == {"done"}


def test_plan_for_people(ablate: Ablate) -> None:
    """Arms with their size and price, and the sum."""
    text = ablate("plan", "full-grid").stdout
    assert "cifar10-resnet-1202-C" in text
    assert "blocked: imagenet is not prepared in data/ (ablate data prepare imagenet)" in text
    assert "44 trials, 24 to run" in text


def test_status_show_and_mlflow_agree(ablate: Ablate, place: Path) -> None:
    """One MLflow run per trial, and `show` names it."""
    trials = facts(ablate("status", "tiny.yaml", "--json"))["trials"]
    assert [each["outcome"] for each in trials] == ["finished"] * 8
    assert len({each["mlflow_run"] for each in trials} - {None}) == 8
    one = facts(ablate("show", trials[0]["key"], "--json"))
    assert one["name"] == trials[0]["name"]
    assert one["attempts"][0]["versions"]["torch"]
    assert "8 finished" not in ablate("status", "tiny").stdout  # by arm: two each
    assert "2 finished" in ablate("status", "tiny").stdout
    assert "MLflow run" in ablate("show", trials[0]["name"]).stdout


def test_show_tells_what_it_cost_and_how_each_attempt_computed(ablate: Ablate) -> None:
    """For people and, with `status`, as JSON; a trial that nobody looked into has no probes."""
    trials = facts(ablate("status", "tiny.yaml", "--json"))["trials"]
    one = facts(ablate("show", trials[0]["key"], "--json"))
    assert one["costs"] == trials[0]["costs"]
    assert one["costs"]["images_per_second"] > 0
    assert one["costs"]["peak_memory_mib"] > 0
    assert (one["probes"], one["attempts"][0]["activations"]) == ([], "kept")
    text = ablate("show", trials[0]["key"]).stdout
    assert f"{one['costs']['images_per_second']:,.1f} images/s, peak memory " in text
    assert "probes" not in text


def _looked_into(root: Path) -> None:
    """A trial in a ledger, without a network: two attempts on unlike machines, three probes, one of a dead network."""
    trial = Trial(key="0123456789abcdef", name="digits-resnet-8-A.s0", arm="digits-resnet-8-A", seed=0, parameters=1,
                  params={"network": {"data": "digits", "depth": 8}, "recipe": {"iterations": 2000}, "data": {}},
                  multiply_adds=1, iterations=2000, work=1.0, launches=1.0)  # fmt: skip
    seen = {"layers": ["conv1", "conv2"], "gradient": [3.0, 2.0], "norm_variance": [1.0, 0.5], "blocks": ["s1.b1"],
            "activation_variance": [0.25, 0.75], "response": [], "residual_over_input": []}  # fmt: skip
    later = seen | {"response": [0.5, 0.25], "residual_over_input": [0.125]}
    dead = later | {"gradient": [float("nan"), 0.0], "response": [float("inf"), 1.0]}
    for kernels, iteration, probes in (("our own", 1000, [(0, seen), (1000, later)]), ("[/b]", 2000, [(2000, dead)])):
        with Ledger(root).attempt(trial, provenance={"hardware": {"cpu": "Xeon"}}, commit_seconds=0) as attempt:
            attempt.about({"kernels": kernels, "activations": "recomputed"})
            for at, record in probes:
                attempt.probe({"iteration": at, **record})
            attempt.log(iteration, {"train_error": 90.0}, {"images_per_second": 1234.5, "device_energy_joules": 2000.0})
            attempt.commit(iteration, b"")


def test_show_tells_what_each_probe_comes_down_to(tmp_path: Path) -> None:
    """A row for each, empty where there is nothing to see; what is no number is shown as what it is."""
    _looked_into(tmp_path)
    done = call(tmp_path, "show", "digits-resnet-8-A.s0", "--results", ".", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["0", "1.5", "1.5", "0.5", "0.25"] in rows
    assert ["1,000", "1.5", "1.5", "0.5", "0.25", "0.375", "0.125"] in rows
    assert ["2,000", "nan", "nan", "0.5", "0.25", "inf", "0.125"] in rows
    assert "1,234.5 images/s, 4,000.0 J used by the device" in done.stdout
    assert [row[-3:] for row in rows if row[-1:] == ["recomputed"]] == [["our", "own", "recomputed"],
                                                                       ["unknown", "[/b]", "recomputed"]]  # fmt: skip
    assert "attempts computed on unlike machines, so that bits may differ" in done.stdout


def test_show_tells_of_damage_to_what_was_kept(tmp_path: Path) -> None:
    """The trial stays done, and the file is named with what to do."""
    _looked_into(tmp_path)
    (key,) = Ledger(tmp_path).trials()
    folder, trial = Ledger(tmp_path).folder(key).path, Trial(**_described(tmp_path, key))
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=0) as attempt:
        attempt.keep("predictions-test.npz", b"whole")
        attempt.finish(2000, b"", {"outcome": "finished"})
    whole = call(tmp_path, "show", "0123", "--results", ".", env={"COLUMNS": "200"})
    assert "predictions-test.npz" in whole.stdout
    assert "not what was committed" not in whole.stdout
    (folder / "predictions-test.npz").write_bytes(b"other")
    done = call(tmp_path, "show", "0123", "--results", ".", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout.splitlines()[0]
    assert "predictions-test.npz: not what was committed (checksum differs); remove the folder" in done.stdout


def _described(root: Path, key: str) -> dict[str, Any]:
    about = Ledger(root).folder(key).about()
    assert about is not None
    return {name: about[name] for name in ("key", "name", "arm", "seed", "params", "parameters", "multiply_adds",
                                           "iterations", "work", "launches")}  # fmt: skip


def test_show_as_json_has_the_whole_probes(tmp_path: Path) -> None:
    """As the ledger has them: JSON knows no NaN, so it is a text."""
    _looked_into(tmp_path)
    done = call(tmp_path, "show", "0123", "--results", ".", "--json")
    assert done.returncode == 0, done.stderr
    first, second, third = facts(done)["probes"]
    assert [each["iteration"] for each in (first, second, third)] == [0, 1000, 2000]
    assert (first["layers"], first["gradient"], first["response"]) == (["conv1", "conv2"], [3.0, 2.0], [])
    assert (third["gradient"], third["response"]) == (["nan", 0.0], ["inf", 1.0])
    assert facts(done)["costs"] == {"images_per_second": 1234.5, "device_energy_joules": 4000.0}
    assert [each["kernels"] for each in facts(done)["attempts"]] == ["our own", "[/b]"]


def test_the_report_is_one_page_and_the_same_twice(ablate: Ablate, place: Path) -> None:
    """Its path and the way to MLflow are printed."""
    done = ablate("report", "tiny.yaml")
    page = place / "results" / "studies" / "tiny" / "report.html"
    assert f"page: {page}" in done.stdout
    assert f"{shlex.quote(str(ABLATE))} ui" in done.stdout
    first = page.read_bytes()
    ablate("report", "tiny.yaml", "--to", "again.html")
    assert (place / "again.html").read_bytes() == first
    assert b"Does the command line work?" in first


def test_a_report_needs_only_the_results(place: Path, tmp_path: Path) -> None:
    """In a copied folder, without the study file, by the study's name."""
    (tmp_path / "results").symlink_to(place / "results")
    done = call(tmp_path, "report", "tiny", "--to", "copy.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.html").exists()


def test_check_exits_3_when_a_claim_is_contradicted(ablate: Ablate) -> None:
    """And prints each with its numbers."""
    done = ablate("check", "tiny.yaml", "--json")
    assert done.returncode == 3
    verdicts = {each["id"]: each for each in facts(done)}
    assert verdicts["easy"]["verdict"] == "holds"
    assert verdicts["absurd"]["verdict"] == "fails"
    assert {"id", "verdict", "statistic", "n", "text", "source"} <= set(verdicts["easy"])
    assert "absurd" in ablate("check", "tiny.yaml").stdout


def test_ui_serves_the_runs_to_this_machine_alone(place: Path) -> None:
    """MLflow's own server over the study's database; a page of another name cannot read it through the browser."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([ABLATE, "ui", "--port", str(port)], cwd=place, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        _until(lambda: _get(port, "/health") == (200, b"OK"))
        status, answer = _get(port, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits")
        assert status == 200
        assert json.loads(answer)["experiment"]["name"] == "digits"
        assert _get(port, "/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits", "evil.example")[0] == 403
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def test_ui_says_when_the_database_is_away(ablate: Ablate) -> None:
    """One line, exit 4, and no password."""
    done = ablate("ui", "--tracking", "postgresql://me:word@127.0.0.1:9/runs")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --tracking postgresql://127.0.0.1:9/runs: ")
    assert "word" not in done.stderr


def test_a_report_names_the_server_without_its_password(ablate: Ablate) -> None:
    """It is printed with the page."""
    done = ablate("report", "tiny.yaml", "--tracking", "http://me:word@tracking.example.org:5000")
    assert done.stdout.endswith("MLflow: http://tracking.example.org:5000\n")


def test_publish_finds_nothing_left(ablate: Ablate) -> None:
    """The forwarder has shown everything already."""
    assert ablate("publish", "tiny.yaml").stdout == "0 runs brought up to date\n"


def test_publish_says_when_the_server_is_away(ablate: Ablate) -> None:
    """One line, exit 4; the cause, and not the words of the libraries that wrap it."""
    done = ablate("publish", "tiny.yaml", "--tracking", "http://127.0.0.1:9")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9: connection refused; the ledger has it all")


def test_studies_and_schema(ablate: Ablate) -> None:
    """What ships, and the schema for editors."""
    names = {each["name"]: each["trials"] for each in facts(ablate("studies", "--json"))}
    assert names["digits-depth"] == 48
    assert names["cifar10-depth"] == 51
    assert "digits-depth" in ablate("studies").stdout
    assert facts(ablate("schema"))["$schema"]


def test_init_writes_a_study_that_plans(tmp_path: Path) -> None:
    """And never writes over one that is there."""
    assert call(tmp_path, "init", "mine").returncode == 0
    assert call(tmp_path, "plan", "mine.yaml").returncode == 0
    again = call(tmp_path, "init", "mine")
    assert again.returncode == 2
    assert "mine.yaml: exists already" in again.stderr


WRONG = {
    ("plan", "digits-dept"): "did you mean 'digits-depth'?",
    ("plan", "missing.yaml"): "missing.yaml",
    ("plan",): "Missing argument 'STUDY'",
    ("frobnicate",): "No such command 'frobnicate'",
    ("plan", "digits-depth", "--seedz", "3"): "No such option: --seedz",
    ("plan", "digits-depth", "--seeds", "0"): "greater than or equal to 1",
    ("plan", "digits-depth", "--set", "recipe.lrr=1"): "recipe.lr",
    ("plan", "digits-depth", "--set", "recipe.lr=-1"): "lr",
    ("plan", "digits-depth", "--gpus", "8x"): "as 8, or nodes and GPUs of each, as 4x8, 4,096 in all at most, not '8x'",
    ("plan", "digits-depth", "--gpus", "0"): "--gpus: is the number of GPUs of one node",
    ("plan", "digits-depth", "--gpus", "4097"): "4,096 in all at most, not '4097'",
    ("plan", "digits-depth", "--per-gpu", "65"): "--per-gpu: is auto or a whole number from 1 to 64, not '65'",
    ("plan", "digits-depth", "--html", ""): "--html: is the file to write, as plan.html, not the folder '.'",
    ("plan", "digits-depth", "--html", "/"): "--html: is the file to write, as plan.html, not the folder '/'",
    ("plan", "digits-depth", "--html", "/dev/null/plan.html"): "; give a file in a folder that you may write",
    ("run", "digits-depth", "--per-gpu", "some"): "--per-gpu: is auto or a whole number from 1 to 64, not 'some'",
    ("run", "digits-depth", "--device", "tpu"): "auto, cpu or cuda, not 'tpu'",
    ("show", "nothing"): "no trial 'nothing'",
    ("show", "tiny"): "no trial 'tiny'",
    ("init", "Bad Name"): "Bad Name",
    ("status", "nothing"): "nothing",
    ("ui", "--results", "empty"): "there is none yet",
    ("ui", "--tracking", "http://me:word@tracking.example.org"): "--tracking http://tracking.example.org: is a server",
    ("ui", "--tracking", "postgresql://db/runs", "--host", "0.0.0.0"): "say by which names they call it",
    ("ui", "--tracking", "postgresql://db/runs", "--allowed-hosts", "10.*"): "no patterns",
    ("ui", "--tracking", "postgresql://db/runs", "--auth", "no.ini"): "--auth no.ini: there is no such file",
    ("ui", "--workers", "0"): "greater than or equal to 1",
    ("run", "digits-depth", "--address", "nonsense"): "--address: is HOST:PORT of a Ray head, as 10.0.0.1:6379, or",
    ("run", "digits-depth", "--address", ""): "not ''; PORT is 1 to 65535",
    ("run", "digits-depth", "--address", "localhost:99999"): "not 'localhost:99999'; PORT is 1 to 65535",
    ("doctor", "--address", "localhost:0"): "--address: is HOST:PORT of a Ray head",
    ("doctor", "--address", "http://h:x"): "as http://HOST:8265",
    ("plan", "digits-depth", "--gpus", ""): "--gpus: is the number of GPUs of one node",
    ("plan", "digits-depth", "--results", "/dev/null"): "--results /dev/null: is a file, not a directory; name another",
    ("run", "digits-depth", "--results", "/dev/null/x"): "--results /dev/null/x: /dev/null is a file, not a directory",
    ("status", "digits-depth", "--results", "x" * 300): "File name too long; name another with --results or ABLATE_",
    ("publish", "digits-depth", "--results", "none"): "none: nothing of study digits-depth is there to publish; run it",
    ("publish", "digits-depth", "--tracking", "nonsense://x"): "--tracking 'nonsense://x': is no address of MLflow; a",
    ("run", "digits-depth", "--tracking", "ftp://me:word@x"): "--tracking 'ftp://x': is no address of MLflow; a server",
    ("run", "digits-depth", "--tracking", "http://"): "--tracking 'http://': is no address of MLflow",
    ("ui", "--port", "0"): "--port: must be greater than or equal to 1, not '0'; see `ablate ui --help`",
    ("run", "digits-depth", "--slots", "0"): "--slots: must be greater than or equal to 1, not '0'; see `ablate run",
    ("run", "digits-depth", "--budget", "nan"): "--budget: must be greater than or equal to 0, not 'nan'; see",
    ("plan", "digits-depth", "--seeds", "x"): "--seeds: must be a valid integer",
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.items(), ids=[" ".join(each) for each in WRONG])
def test_wrong_input_is_one_line_and_nothing_is_written(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """Exit code 2, no traceback, no file."""
    done = call(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_verb_the_help_is_printed(tmp_path: Path) -> None:
    """As --help prints it, and exit code 2: a script that forgot its verb did nothing."""
    bare, asked = call(tmp_path), call(tmp_path, "--help")
    assert (bare.returncode, asked.returncode) == (2, 0)
    assert bare.stdout == asked.stdout
    assert len(bare.stdout.splitlines()) > 20
    assert not bare.stderr


def test_the_version_is_told(tmp_path: Path) -> None:
    done = call(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"ablate {provenance.version('ablate')}\n")


def test_an_interrupt_while_it_loads_is_one_line(tmp_path: Path) -> None:
    """Before the first command is even looked at."""
    load = "import sys; sys.modules['typer'] = None; import signal, builtins; real = builtins.__import__\n"
    load += "def slow(name, *rest, **how):\n    if name == 'ablations.cli.app': signal.raise_signal(signal.SIGINT)\n"
    load += "    return real(name, *rest, **how)\nbuiltins.__import__ = slow\nfrom ablations.cli import main; main()"
    done = call(tmp_path, program=[sys.executable, "-c", load])
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "error: interrupted; what was committed is kept, and the same command goes on from there\n"


@pytest.mark.parametrize("verb", ["run", "publish"])
def test_a_directory_that_cannot_be_written_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Before anything begins; who only reads it is let."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("ABLATE_RESULTS", raising=False)
    monkeypatch.setattr("ablations.cli.directories.os.access", lambda _, mode, **__: not mode & os.W_OK)
    assert with_gpus(monkeypatch, [], verb, "tiny.yaml") == 2
    said = capsys.readouterr().err
    assert "cannot be written by this user; make it yours with chown or chmod, or name another with --results" in said
    assert said.count("\n") == 1
    assert with_gpus(monkeypatch, [], "status", "tiny.yaml") == 0


def test_a_file_that_this_user_may_not_open_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path, why, and what to do; any other fault of the system is its path and why."""
    monkeypatch.chdir(place)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", ".page.html.part")

    monkeypatch.setattr("orchestrator.ledger.write_text", refused)
    assert with_gpus(monkeypatch, [], "report", "tiny.yaml", "--results", "results", "--to", "page.html") == 2
    said = capsys.readouterr().err
    assert said == "error: page.html: Permission denied; make it yours with chown or chmod, or name another\n"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", ".page.html.part")

    monkeypatch.setattr("orchestrator.ledger.write_text", full)
    assert with_gpus(monkeypatch, [], "report", "tiny.yaml", "--results", "results", "--to", "page.html") == 2
    assert capsys.readouterr().err == "error: page.html: No space left on device\n"
    assert with_gpus(monkeypatch, [], "report", "tiny.yaml", "--results", "results", "--to", "/dev/null/x/y") == 2
    assert capsys.readouterr().err.startswith("error: --to /dev/null/x/y: /dev/null is a file, not a directory")


def test_a_wrong_claim_is_told_before_anything_runs(tmp_path: Path) -> None:
    """The study's own claims are parsed, and the paper's must exist."""
    (tmp_path / "bad.yaml").write_text(STUDY.replace("train_error(A, 8) < 200", "train_error(A 8) < 200"))
    done = call(tmp_path, "run", "bad.yaml")
    assert done.returncode == 2
    assert "bad.yaml:" in done.stderr
    assert not (tmp_path / "results").exists()


def test_missing_data_end_before_the_first_trial(tmp_path: Path) -> None:
    """Exit 4: what is missing, where it was looked for, how to say where it is."""
    done = call(tmp_path, "run", "cifar10-jpeg-depth", "--data", "nowhere")
    assert done.returncode == 4
    assert "neither a folder cifar10-jpeg/train nor cifar10-jpeg.tar.xz in nowhere" in done.stderr
    assert not (tmp_path / "results" / "trials").exists()


def test_no_gpu_where_one_is_asked_for(tmp_path: Path) -> None:
    """Exit 4 in a moment, not a wait without end."""
    if Path("/proc/driver/nvidia/gpus").exists():
        pytest.skip("this machine has a GPU")
    done = call(tmp_path, "run", "digits-depth", "--device", "cuda")
    assert done.returncode == 4
    assert "no NVIDIA GPU; use --device cpu" in done.stderr


def test_a_damaged_ledger_is_exit_5(place: Path, tmp_path: Path) -> None:
    """Named, never read as numbers, never run over."""
    (tmp_path / "tiny.yaml").write_text(STUDY)
    key = facts(call(place, "plan", "tiny.yaml", "--json"))["trials"][0]["key"]
    folder = tmp_path / "results" / "trials" / key
    folder.mkdir(parents=True)
    (folder / "commit.json").write_text("{")
    done = call(tmp_path, "plan", "tiny.yaml", "--json")
    assert done.returncode == 5
    assert "1 damaged: " in done.stderr
    assert "commit.json: damaged" in done.stderr
    assert sorted(each["state"] for each in facts(done)["trials"]) == ["blocked"] + ["new"] * 7


@pytest.mark.parametrize("arguments", [("--set", "recipe.lrr=3"), ("--seeds", "2", "--set", "nonsense")])
def test_what_is_wrong_is_never_ignored(ablate: Ablate, arguments: tuple[str, ...]) -> None:
    """Not even where a record of the study could answer without it."""
    assert ablate("check", "tiny", *arguments).returncode == 2


def test_one_trial_by_hand_does_not_rewrite_the_study(ablate: Ablate, place: Path) -> None:
    """What was run last stays what reports are about."""
    record = (place / "results" / "studies" / "tiny" / "study.json").read_bytes()
    command = [sys.executable, "-m", "ablations.trial", "tiny.yaml", "--arm", "digits-plain-8", "--seed", "0"]
    subprocess.run([*command, "--set", "recipe.iterations=5", "--results", "results"], cwd=place, check=True)
    assert (place / "results" / "studies" / "tiny" / "study.json").read_bytes() == record


def test_brackets_in_a_text_are_text(ablate: Ablate, place: Path) -> None:
    """Neither markup nor an error: `[/0, 1]` is printed as it stands."""
    (place / "brackets.yaml").write_text(STUDY.replace("name: tiny", "name: brackets").replace(
        '"train_error(A, 8) < 200"}', '"train_error(A, 8) < 200", text: "errors in [/0, 1] [red]"}'))  # fmt: skip
    done = ablate("check", "brackets.yaml")
    assert done.returncode == 3
    assert "errors in [/0, 1] [red]" in done.stdout


def test_nobody_listens(ablate: Ablate, place: Path) -> None:
    """`| head -1` ends no command early and changes no exit code."""
    done = subprocess.run(f"'{ABLATE}' plan cifar10-depth | head -1; exit ${{PIPESTATUS[0]}}", shell=True, cwd=place,
                          executable="/bin/bash", capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("precision=tf32", "precision tf32 needs a GPU; on the CPU use fp32 or bf16"),
        ("compiled=true", "compiled true needs a GPU; on the CPU leave it out"),
    ],
)
def test_what_needs_a_gpu_is_refused_on_a_cpu(tmp_path: Path, value: str, said: str) -> None:
    """It would be fp32, or not compiled, under the key of another."""
    done = call(tmp_path, "run", "digits-depth", "--device", "cpu", "--set", f"recipe.{value}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: digits-plain-20: {said}\n"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_system_ends_a_run_cleanly(tmp_path: Path, ending: signal.Signals) -> None:
    """As Ctrl-C does: one line, 130, and the same command goes on."""
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("iterations: 20", "iterations: 4000"))
    run = subprocess.Popen([ABLATE, "run", "tiny.yaml", "--no-track", "--commit-seconds", "0.1"], cwd=tmp_path,
                           stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        _until(lambda: list(tmp_path.glob("results/trials/*/commit.json")))
        run.send_signal(ending)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, errors
    assert errors.strip().splitlines()[-1].startswith("error: interrupted; what was committed is kept")


def test_a_study_being_run_is_refused_by_name_of_its_holder(tmp_path: Path) -> None:
    """Two runs of one study at once: one works, the other is told who does, and an interrupt ends the first cleanly;
    what it had committed is kept, and the same command goes on."""
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("iterations: 20", "iterations: 4000"))
    first = subprocess.Popen([ABLATE, "run", "tiny.yaml", "--no-track", "--commit-seconds", "0.1"], cwd=tmp_path,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        _until(lambda: list(tmp_path.glob("results/trials/*/commit.json")))
        second = call(tmp_path, "run", "tiny.yaml", "--no-track")
        assert second.returncode == 4
        assert f"study tiny is being run by pid {first.pid} on " in second.stderr
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 130
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("error: interrupted; what was committed is kept")
    states = {each["state"] for each in facts(call(tmp_path, "plan", "tiny.yaml", "--json"))["trials"]}
    assert states == {"new", "partial"}


def _get(port: int, path: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and body, or (0, b"") while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def _until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def with_gpus(monkeypatch: pytest.MonkeyPatch, names: list[str], *arguments: str) -> object:
    """`ablate` in this process, as if the machine had these GPUs; returns the exit code."""
    monkeypatch.setattr(provenance, "gpus", lambda: names)
    monkeypatch.setattr(sys, "argv", ["ablate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_several_trials_share_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--per-gpu 4` on two GPUs: eight trials at a time, each a quarter of one."""
    assert with_gpus(monkeypatch, ["one", "two"], "plan", "digits-depth", "--per-gpu", "4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["resources"]["gpus"] for each in found["trials"]} == {0.25}
    assert (found["hardware"], found["nodes"][0]["gpus"]) == ("one", 2)
    begun = [each for each in found["spans"] if each["start"] == 0]
    assert sorted(each["devices"][0] for each in begun) == [0] * 4 + [1] * 4


def test_a_cluster_that_need_not_be_there(ablate: Ablate, tmp_path: Path) -> None:
    """`--gpus 2x8`: blocked arms are priced, gangs chosen, and it says how close to the bound that comes."""
    plan = facts(ablate("plan", "imagenet-depth", "--gpus", "2x8", "--json"))
    assert [(node["name"], node["gpus"]) for node in plan["nodes"]] == [("node-1", 8), ("node-2", 8)]
    assert {each["state"] for each in plan["trials"]} == {"blocked"}
    assert max(each["resources"]["replicas"] for each in plan["trials"]) > 1
    assert {each["expected_from"] for each in plan["trials"]} == {"guessed"}
    assert len(plan["spans"]) == 9
    assert 0 < plan["bound_seconds"] <= plan["expected_seconds"] < plan["written_order"]["expected_seconds"]
    assert plan["levers"][0]["expected_seconds"] < plan["expected_seconds"]
    assert plan["occupied_hours"] < 16 * plan["expected_seconds"] / 3600


def test_a_plan_is_drawn(ablate: Ablate, tmp_path: Path) -> None:
    """A row for each GPU in 80 columns, and one HTML file."""
    file = tmp_path / "new" / "plan.html"
    said = ablate("plan", "imagenet-depth", "--gpus", "4", "--html", str(file)).stdout
    lines = said.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("chart: ", "biggest lever"))) <= 80
    assert sum(line.startswith("GPU ") for line in lines) == 4
    for words in ("GPU-hours on 4 GPUs of 1 node", "times the lower bound of", "9 ? guessed", "in written order: "):
        assert words in said
    assert "biggest lever: " in said
    assert f"chart: {file}" in said
    assert "imagenet-resnet-152-B.s0" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", ["40", "10", "0"])
def test_a_narrow_terminal_hides_nothing(ablate: Ablate, place: Path, columns: str) -> None:
    """Where columns have no room, a row is lines; a terminal without a width is taken for one of 80 columns."""
    for verb, words in (("plan", ("state", "2 done", "mult-adds")), ("status", ("outcome", "2 finished", "cost"))):
        said = call(place, verb, "tiny.yaml", env={"COLUMNS": columns}).stdout
        for word in ("digits-plain-14", "digits-resnet-8-A", *words):
            assert word in said
        assert ("  trials: 2" in said) is (columns != "0")


def test_printed_commands_can_be_typed(place: Path, tmp_path: Path) -> None:
    """Though a path has blanks."""
    (tmp_path / "b l a").symlink_to(place / "results")
    (tmp_path / "my study.yaml").write_text(STUDY)
    done = call(tmp_path, "run", "my study.yaml", "--results", "b l a", "--no-track")
    assert done.returncode == 0, done.stderr
    assert f"report 'my study.yaml' --results {shlex.quote(str((tmp_path / 'b l a').resolve()))}\n" in done.stderr
    said = call(tmp_path, "report", "my study.yaml", "--results", "b l a", "--to", "page.html").stdout
    assert said.endswith(f"MLflow: {shlex.quote(str(ABLATE))} ui --results 'b l a'\n")
    export = call(tmp_path, "export", "my study.yaml", "--to", "my study.json").stdout
    assert "python -m ablations.trial 'my study.json' --arm " in export


def test_a_plan_on_this_machine_is_in_cores(ablate: Ablate) -> None:
    """Trials without a GPU have a core each; what was measured here is said."""
    cores = len(os.sched_getaffinity(0))
    said = ablate("plan", "tiny.yaml", "--seeds", "3", "--slots", "1").stdout
    assert f"core-hours on {cores} core{'s' * (cores > 1)} of 1 node" in said
    assert "in written order: " in said
    assert "expected times: 4 measured here, on " in said


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_more_slots_than_cores_speed_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], results: Path, verb: str
) -> None:
    """Refused where trials run on the CPU; with GPUs, or a cluster that is assumed, it is a cap."""
    cores = len(os.sched_getaffinity(0))
    assert with_gpus(monkeypatch, [], verb, "digits-depth", "--slots", "100000") == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: --slots 100000: trials on the CPU have a core each, and this machine has ")
    assert said.err.endswith(f"; give at most {cores}, or leave it out\n")
    assert not said.out
    assert not results.exists() or not list(results.iterdir())
    if verb == "plan":
        assert with_gpus(monkeypatch, ["one"], "plan", "digits-depth", "--slots", "100000") == 0
        assert with_gpus(monkeypatch, [], "plan", "digits-depth", "--gpus", "1", "--slots", "100000") == 0


def test_a_gpu_cannot_be_shared_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and nothing is planned."""
    assert with_gpus(monkeypatch, [], "plan", "digits-depth", "--per-gpu", "4") == 2
    said = capsys.readouterr()
    assert said.err == "error: --per-gpu 4: these trials run on the CPU, one per core; leave it out\n"
    assert not said.out
