"""A run that is watched and steered from other terminals: status, logs and cancel, as a user types them."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy
from rich.console import Console

from ablations.cli import main
from ablations.cli.printing.progress import print_cancelled, print_ending, print_status, status_facts
from orchestrator import driver as driving
from orchestrator import logs, steering
from orchestrator.driver import Driver
from orchestrator.ledger import Ledger, Stopped
from orchestrator.queue import Running, Standing
from orchestrator.runs import read_runs
from orchestrator.status import study_status
from orchestrator.steering import Answer, take
from orchestrator.studies import sole_run, write_study
from orchestrator.trial import Trial
from orchestrator.worker import Setting, execute

ABLATE = Path(sys.executable).with_name("ablate")
STUDY = """
name: steered
question: Can it be steered?
data: digits
recipe: {name: digits, iterations: 60000, record_every: 5, evaluate_every: 60000}
matrix:
  shortcut: [none, A]
  depth: [8, 14]
seeds: 2
"""


def ablate(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"}
    return subprocess.run([ABLATE, *arguments], cwd=place, env=env, capture_output=True, text=True, timeout=240)


def begun(place: Path, *arguments: str, **streams: Any) -> "subprocess.Popen[str]":
    env = {name: value for name, value in os.environ.items() if name != "ABLATE_RESULTS"}
    return subprocess.Popen([ABLATE, *arguments], cwd=place, env=env, text=True, **streams)


def until(true: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


def standings(place: Path, name: str) -> dict[str, int]:
    """Of an arm's trials, as `status --json` has them."""
    arms = json.loads(ablate(place, "status", "steered", "--json").stdout)["arms"]
    return next(arm["standings"] for arm in arms if arm["arm"] == name)


LOGS = "results/trials/*/attempts/*.log"


@pytest.mark.timeout(900)
def test_a_run_is_watched_and_cancelled_from_other_terminals(tmp_path: Path) -> None:
    """An arm, a trial, at last the whole: each commits within seconds, the log of one is followed to its end, the run
    ends with 130 and one line that says by whom; the same command would take all of it up again."""
    (tmp_path / "steered.yaml").write_text(STUDY)
    run = begun(tmp_path, "run", "steered.yaml", "--no-track", "--slots", "2", stderr=subprocess.PIPE)
    following = None
    try:
        until(lambda: list(tmp_path.glob("results/studies/steered/driver.json")))
        following = begun(tmp_path, "logs", "digits-plain-14.s0", "-f", stdout=subprocess.PIPE)
        until(lambda: standings(tmp_path, "digits-plain-14") == {"running": 2})
        until(lambda: sum("train_error" in path.read_text() for path in tmp_path.glob(LOGS)) == 2)
        facts = json.loads(ablate(tmp_path, "status", "steered", "--json").stdout)
        assert facts["at_work"]
        assert len(facts["driver"]["running"]) == 2
        waiting = ablate(tmp_path, "cancel", "digits-resnet-8-A.s1")
        assert waiting.returncode == 0, waiting.stderr
        assert waiting.stdout.startswith(
            "1 will not begin (digits-resnet-8-A.s1); what was committed is kept, `ablate run steered`"
        )
        arm = ablate(tmp_path, "cancel", "steered", "digits-plain-14")
        assert arm.returncode == 0, arm.stderr
        assert "2 committed and stopped (digits-plain-14.s0 at iteration " in arm.stdout
        said, _ = following.communicate(timeout=120)
        assert following.returncode == 0
        assert "train_error" in said
        assert said.splitlines()[-1].startswith("digits-plain-14.s0: cancelled by ")
        whole = ablate(tmp_path, "cancel", "steered.yaml")
        assert whole.returncode == 0, whole.stderr
        _, errors = run.communicate(timeout=120)
    finally:
        for process in (run, following):
            if process is not None:
                process.kill()
                process.communicate()
    assert run.returncode == 130
    last = errors.strip().splitlines()
    assert "0 done, 0 failed, 8 cancelled" in last[-3]
    assert last[-1].startswith("error: 8 cancelled by ")
    assert last[-1].endswith("; the same command takes them up again")
    after = ablate(tmp_path, "cancel", "steered")
    assert (after.returncode, after.stdout) == (4, "")
    assert after.stderr == "error: study steered: no run of it is at work, so there is nothing to cancel\n"
    plan = json.loads(ablate(tmp_path, "plan", "steered.yaml", "--json").stdout)["trials"]
    assert {each["state"] for each in plan} == {"partial", "new"}
    assert sum(each["iteration"] > 0 for each in plan if each["arm"] == "digits-plain-14") == 2


# What is refused, and what is said, without a cluster -----------------------------------------------------------------


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["ablate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


class Work:
    """A study that is being run by this process, which tells what it is told to."""

    def __init__(self, results: Path, *trials: Trial, name: str = "toys") -> None:
        write_study(results, toy.study(*trials, name=name))
        self._held = sole_run(results, name)
        self._held.__enter__()
        self._driver = Driver(
            results / "studies" / name, "run-1", "local Ray on this machine", {each.key: 60.0 for each in trials}
        )

    def tell(self, standing: Standing, *, ended: bool = False) -> None:
        toy.told(self._driver, standing, [toy.node("node-7")], ended=ended)

    def end(self) -> None:
        self._held.__exit__(None, None, None)


def running(*trials: Trial) -> dict[str, Running]:
    return {
        each.key: Running(
            key=each.key,
            node="node-7",
            resources=each.resources,
            devices=(),
            started=time.monotonic(),
            expected_end=0.0,
            begun=True,
        )
        for each in trials
    }


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["toys", "toy-9"], 2, "study toys has no arm or trial 'toy-9'; did you mean 'toy-"),
        (["toys", "nothing"], 2, "study toys has no arm or trial 'nothing'; its arms are toy-0, toy-1"),
        (
            ["toyz"],
            2,
            "toyz: no study that was run here, nor part of one that is being run (none); did you mean 'toys'",
        ),
        (
            ["toy-0", "toy-11"],
            2,
            "toy-11: no study that was run here, nor part of one that is being run (none); did you mean 'toy-1'?",
        ),
        (["toys"], 4, "study toys: no run of it is at work, so there is nothing to cancel"),
        (["toy-1.s0"], 4, "study toys: no run of it is at work, so there is nothing to cancel"),
        ([], 2, "Missing argument 'STUDY [ARM|TRIAL]...'"),
    ],
)
def test_nothing_to_cancel_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: list[str], code: int,
    said: str,
) -> None:  # fmt: skip
    """A wrong name is wrong input; a run that is not at work cannot be reached. Nothing is written."""
    write_study(results, toy.study(toy.trial(0), toy.trial(1)))
    before = sorted(results.rglob("*"))
    assert called(monkeypatch, "cancel", *names) == code
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {said}")
    assert errors.count("\n") == 1
    assert sorted(results.rglob("*")) == before


def test_an_arm_of_two_runs_needs_its_study(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both have it; neither is asked."""
    works = [Work(results, toy.trial(0), name=name) for name in ("ones", "twos")]
    for work in works:
        work.tell(Standing(total=1))
    try:
        assert called(monkeypatch, "cancel", "toy-0") == 2
    finally:
        for work in works:
            work.end()
    assert "toy-0: runs of ones, twos have it; name the study before it" in capsys.readouterr().err
    assert take(results, "ones") == take(results, "twos") == []


def test_parts_of_two_runs_are_cancelled_one_by_one(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither name is wrong, and no run has both."""
    for number, name in enumerate(("ones", "twos")):
        write_study(results, toy.study(toy.trial(number), name=name))
    assert called(monkeypatch, "cancel", "toy-0", "toy-1") == 2
    assert "toy-0 toy-1: no one run has all of it; cancel the parts of each run by" in capsys.readouterr().err


def test_a_run_that_starts_is_told_from_none(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It holds its study, and has not yet written what of it can be cancelled."""
    with sole_run(results, "toys"):
        assert called(monkeypatch, "cancel", "toys") == 4
    said = capsys.readouterr().err
    assert said.startswith(f"error: study toys is starting (pid {os.getpid()} on ")
    assert said.count("\n") == 1


def test_a_trial_that_has_not_begun_is_not_shown(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what would help is named."""
    write_study(results, toy.study(toy.trial(0)))
    assert called(monkeypatch, "show", "toy-0.s0") == 2
    assert capsys.readouterr().err == "error: toy-0.s0: has not begun; `ablate logs toy-0.s0 --follow` waits for it\n"


def test_who_follows_a_trial_that_waits_is_told_so(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, on standard error; then it is followed to its end."""
    work = Work(results, toy.trial(0))
    work.tell(Standing(total=1))
    monkeypatch.setattr("orchestrator.logs.LOOK_SECONDS", 0.0)
    real, looks = logs.why_over, iter([False, False, True])

    def why_over(*asked: Any) -> str | None:
        if next(looks):
            work.end()
        return real(*asked)

    monkeypatch.setattr(logs, "why_over", why_over)
    assert called(monkeypatch, "logs", "toy-0.s0", "-f") == 0
    said = capsys.readouterr()
    assert said.err == "toy-0.s0: has not begun; waiting for it (Ctrl-C ends the waiting alone)\n"
    assert said.out.startswith("toy-0.s0: no attempt is at work")


def test_what_is_settled_is_not_asked_for(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It neither runs nor waits, which is what was wanted."""
    work = Work(results, toy.trial(0))
    work.tell(Standing(total=1, done=[toy.trial(0).key]))
    try:
        assert called(monkeypatch, "cancel", "toys") == 0
    finally:
        work.end()
    assert capsys.readouterr().out.startswith("nothing of it runs or waits: ")
    assert not (results / "studies" / "toys" / "asked").exists()


def test_a_driver_that_does_not_listen_is_told(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The word is left for it."""
    monkeypatch.setattr(steering, "TAKE_SECONDS", 0.0)
    work = Work(results, toy.trial(0))
    work.tell(Standing(total=1))
    try:
        assert called(monkeypatch, "cancel", "toy-0.s0") == 4
    finally:
        work.end()
    assert "has not taken it up yet; it will when it looks again" in capsys.readouterr().err
    (word,) = take(results, "toys")
    assert word.keys == [toy.trial(0).key]
    assert " on " in word.by


def lines(print_it: Callable[[Console], None], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_it(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_what_became_of_what_was_cancelled_is_said(tmp_path: Path) -> None:
    """What ran with its commit, what waited, what still stops; or that there was nothing."""
    trials = [toy.trial(n, iterations=5000) for n in range(8)]
    with (
        suppress(Stopped),
        Ledger(tmp_path).attempt(trials[0], provenance={}, commit_seconds=0, run="this run") as attempt,
    ):
        Ledger(tmp_path).ask_to_stop(trials[0].key, "this run")
        attempt.commit(1234, b"")
    keys = [each.key for each in trials]

    def said(told: Answer) -> list[str]:
        return lines(lambda to: print_cancelled(toy.study(*trials), told, {keys[0]}, Ledger(tmp_path), to))

    assert said(Answer(taken=True, cancelled=keys[:7], stopping=keys[7:])) == [
        "1 committed and stopped (toy-0.s0 at iteration 1,234); 6 will not begin (toy-1.s0, toy-2.s0, toy-3.s0,"
        " toy-4.s0, toy-5.s0 and 1 more); 1 still stop (toy-7.s0); what was committed is kept, `ablate run toys` takes"
        " them up again"
    ]
    with Ledger(tmp_path).attempt(trials[0], provenance={}, commit_seconds=0):
        pass  # a second attempt, which commits nothing
    assert said(Answer(taken=True, cancelled=keys[:1]))[0].startswith(
        "1 stopped without a new commit (toy-0.s0 at iteration 1,234); what was committed is kept"
    )
    assert said(Answer(taken=True, others=keys[:2])) == [
        "nothing of it ran or waited any more: 2 are done, failed or no part of the run"
    ]


def test_a_run_ends_with_what_became_of_it() -> None:
    """Failures in a line each; what the budget left out by name; the whole in one line."""
    names = {str(n): f"toy-{n}.s0" for n in range(9)}
    standing = Standing(
        total=9, submitted=4, done=["0"], failed={"1": "RuntimeError: [no]"}, cancelled={"2": "ada"},
        unaffordable=[str(n) for n in range(3, 9)], set_aside={"a": "node-7: 2 trials in a row died there"},
    )  # fmt: skip
    assert lines(lambda to: print_ending(standing, names, to)) == [
        "failed toy-1.s0: RuntimeError: [no]",
        "set aside node-7: 2 trials in a row died there",
        "the budget was too small for toy-3.s0, toy-4.s0, toy-5.s0, toy-6.s0, toy-7.s0 and 1 more; with a larger one"
        " the same command takes them up",
        "4 begun, 1 done, 1 failed, 1 cancelled, 6 left out by the budget",
    ]
    assert lines(lambda to: print_ending(Standing(total=0), names, to)) == ["0 submitted, 0 done, 0 failed"]


def test_status_tells_what_went_wrong_first_then_the_grid_then_the_run(tmp_path: Path) -> None:
    """On 80 columns no line of the table is longer, and every number is whole."""
    trials = [toy.trial(n, iterations=1000, raise_at=3 if n == 0 else None) for n in range(7)]
    execute(trials[0], Setting(results=str(tmp_path), entry="toy:run", site={}, commit_seconds=0.0))
    with Ledger(tmp_path).attempt(trials[1], provenance={}, commit_seconds=0) as attempt:
        attempt.commit(250, b"")
    (tmp_path / "trials" / trials[1].key / "attempts" / "0001.json").write_text("{}")
    work = Work(tmp_path, *trials)
    standing = Standing(
        total=7, running=running(trials[1], trials[2]), failed={trials[0].key: "RuntimeError: [cannot] be done"},
        cancelled={trials[4].key: "ada on login1"}, unaffordable=[trials[5].key], spent_seconds=7200.0,
        set_aside={"x": "node-3: 2 trials in a row died there, toy-1.s0 the last"},
    )  # fmt: skip
    work.tell(standing)
    try:
        printed = lines(lambda to: print_status(study_status(toy.study(*trials), tmp_path), to))
    finally:
        work.end()
    assert printed[:3] == [
        "failed toy-0.s0: RuntimeError: [cannot] be done",
        "interrupted killed 1, resumed 0 from a commit: toy-1.s0",
        "set aside node-3: 2 trials in a row died there, toy-1.s0 the last",
    ]
    assert printed[3].rstrip() == "toys"
    assert max(len(line) for line in printed if line.startswith("  ")) <= 80
    cells = {line.split()[0]: line.split() for line in printed if line.startswith("  toy-")}
    assert cells["toy-1"][1:5] == ["1", "1", "starting", "25%"]
    assert cells["toy-2"][4:6] == ["0%", "1:00"]
    assert cells["toy-3"][2:4] == ["1", "waiting"]
    assert cells["toy-5"][2:6] == ["1", "over", "budget", "0%"]
    rest = printed[printed.index("cancelled by ada on login1: toy-4.s0; `ablate run` takes them up again") :]
    assert rest[1] == "left out by the budget: toy-5.s0; `ablate run` takes them up again"
    assert rest[2] == "starting toy-1.s0 on node-7 for 0:00, 25% committed"
    assert rest[4].startswith("run by ")
    assert rest[4].endswith(", local Ray on this machine")
    assert rest[5].startswith("4% done; ETA ")
    assert rest[5].endswith(" with 2 at a time as now, at the pace so far")
    assert rest[6] == "cost so far: <0.01 core-h; this run spent 2, with what it has not committed"


def test_status_says_what_became_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody, beginning, silent, killed, ended: each in a line."""

    def driver() -> str:
        printed = lines(lambda to: print_status(study_status(toy.study(toy.trial(0)), tmp_path), to), width=200)
        return printed[-2]

    assert driver() == "no run is at work"
    work = Work(tmp_path, toy.trial(0))
    assert driver().startswith(f"a run begins or ends: pid {os.getpid()} on ")
    work.tell(Standing(total=1))
    monkeypatch.setattr(driving, "SILENT_SECONDS", -1.0)
    assert f"(pid {os.getpid()}) has not been heard of for 0:00" in driver()
    work.end()
    assert "ended without a word, 0:00 ago; `ablate run` goes on" in driver()
    work = Work(tmp_path, toy.trial(0))
    work.tell(Standing(total=1), ended=True)
    work.end()
    assert driver() == "no run is at work; the last ended 0:00 ago"


def test_what_should_have_been_done_is_overdue(tmp_path: Path) -> None:
    """Nobody knows its end, nor that of the run; of what has just begun it is known."""
    trials = [toy.trial(n) for n in range(2)]
    work = Work(tmp_path, *trials)
    late, punctual = running(*trials).values()
    since = time.monotonic() - 90.0
    work.tell(Standing(total=2, running={"a": replace(late, started=since), "b": punctual}))
    try:
        found = study_status(toy.study(*trials), tmp_path)
    finally:
        work.end()
    printed = lines(lambda to: print_status(found, to))
    cells = {line.split()[0]: line.split() for line in printed if line.startswith("  toy-")}
    assert (cells["toy-0"][5], cells["toy-1"][5]) == ("overdue", "1:00")
    assert printed[-1] == "0% done; ETA - with 2 at a time as now, at the pace so far, toy-0.s0 overdue"
    assert [each["overdue"] for each in status_facts(found, read_runs(found.study, Ledger(tmp_path)))["trials"]] == [
        True, False
    ]  # fmt: skip


def test_many_that_run_are_not_all_listed(tmp_path: Path) -> None:
    """Eight lines; JSON has all."""
    trials = [toy.trial(n) for n in range(11)]
    work = Work(tmp_path, *trials)
    work.tell(Standing(total=11, running=running(*trials)))
    try:
        printed = lines(lambda to: print_status(study_status(toy.study(*trials), tmp_path), to))
    finally:
        work.end()
    assert sum(line.startswith("starting toy-") for line in printed) == 8
    assert "and 3 more run; --json has all" in printed


def test_status_as_json_has_everything(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each arm and trial, and what the driver told; NaN as text, as the ledger has it."""
    trial = toy.trial(0)
    with Ledger(results).attempt(trial, provenance={}, commit_seconds=0) as attempt:
        attempt.log(10, {"train_error": float("nan")})
        attempt.finish(10, b"", {"outcome": "diverged", "diverged_at": 10})
    work = Work(results, trial, toy.trial(1))
    work.tell(Standing(total=2, running=running(toy.trial(1)), done=[trial.key]))
    try:
        assert called(monkeypatch, "status", "toys", "--json") == 0
    finally:
        work.end()
    facts = json.loads(capsys.readouterr().out)
    assert facts["at_work"]
    assert facts["driver"]["host"]
    assert facts["eta_assumes"] == {"trials_at_once": 1, "pace": "as measured so far"}
    assert [arm["standings"] for arm in facts["arms"]] == [{"diverged": 1}, {"starting": 1}]
    done, starts = facts["trials"]
    assert done["result"]["last_train_error"] == "nan"
    assert done["standing"] == done["outcome"] == "diverged"
    assert starts["place"]["host"] == "node-7"
    assert starts["eta_seconds"] == facts["eta_seconds"] == pytest.approx(60, abs=2)


def test_logs_of_a_trial_are_printed(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name or the beginning of its key, whole or its last lines; followed, with how it ended."""
    execute(toy.trial(3), Setting(results=str(results), entry="toy:run", site={}))
    assert called(monkeypatch, "logs", "toy-3.s0") == 0
    whole = capsys.readouterr().out
    assert "attempt 1 of toy-3.s0" in whole
    assert whole.endswith("ended: done\n")
    assert called(monkeypatch, "logs", toy.trial(3).key, "--lines", "2") == 0
    assert capsys.readouterr().out.splitlines() == whole.splitlines()[-2:]
    assert called(monkeypatch, "logs", "toy-3.s0", "-f", "-n", "1") == 0
    assert capsys.readouterr().out.splitlines() == [whole.splitlines()[-1], "toy-3.s0: finished at iteration 10"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no trial 'nothing'; `ablate status STUDY --json` lists names and keys"),
        (
            ["toy-9.s0"],
            "no trial 'toy-9.s0'; did you mean 'toy-1.s0'?; `ablate status STUDY --json` lists names and keys",
        ),
        (["toy-1.s0"], "toy-1.s0: has not begun; `ablate logs toy-1.s0 --follow` waits for it"),
        (["toy-1"], "toy-1: is an arm of study toys; give one of its trials, as toy-1.s0"),
        (["toy-0.s0", "--attempt", "4"], "attempt 4 of toy-0.s0: there is no log of it; "),
        (["00000000"], "2 trials are called '00000000'; give the key: "),
        (["toy-0.s0", "--lines", "0"], "--lines"),
    ],
)
def test_a_log_that_is_not_there_is_one_line(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: Sequence[str],
    said: str,
) -> None:  # fmt: skip
    """A name that nobody knows, a trial that has not begun, an attempt that there was not."""
    write_study(results, toy.study(toy.trial(0), toy.trial(1)))
    execute(toy.trial(0), Setting(results=str(results), entry="toy:run", site={}))
    assert called(monkeypatch, "logs", *arguments) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digits-plain-21", "study digits-depth has no arm or trial 'digits-plain-21'; did you mean 'digits-plain-"),
        ("digits-plain-20.s99", "has no arm or trial 'digits-plain-20.s99'; did you mean 'digits-plain-20.s"),
        ("zzz", "has no arm or trial 'zzz'; its arms are digits-plain-"),
    ],
)
def test_a_part_that_is_not_there_is_refused(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """Before anything is read or begun."""
    assert called(monkeypatch, "run", "digits-depth", "--only", name, "--device", "cpu") == 2
    assert said in capsys.readouterr().err
    assert list(results.iterdir()) == []
