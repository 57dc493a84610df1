"""How a study stands, from the ledger and from what the driver of its run tells: numbers, before they are printed."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from orchestrator import driver as driving
from orchestrator.driver import Driver, presence, read_driver
from orchestrator.ledger import Ledger
from orchestrator.queue import Running, Standing
from orchestrator.status import StudyStatus, cost_hours, ends_in, share, study_status
from orchestrator.studies import RecordedStudy, StudyInUse, holder, sole_run, write_study
from orchestrator.trial import Resources, Trial


def committed(root: Path, trial: Trial, iteration: int, seconds: float, *, attempts: int = 1, ago: float = 0.0) -> None:
    """A trial with this commit, as if it had been trained for so long, and killed in every attempt but the last."""
    for _ in range(attempts):
        with Ledger(root).attempt(trial, provenance={}, commit_seconds=0) as attempt:
            attempt.log(iteration, {"train_error": 50.0})
            attempt.commit(iteration, b"1,1")
    folder = Ledger(root).folder(trial.key).path
    data = json.loads((folder / "commit.json").read_text())
    data["commits"][0] |= {"seconds": seconds, "time": time.time() - ago}
    (folder / "commit.json").write_text(json.dumps(data))
    for path in sorted((folder / "attempts").glob("*.json"))[:-1]:
        record = json.loads(path.read_text())
        path.write_text(json.dumps({name: record[name] for name in record if name not in ("ended", "cause")}))


@contextmanager
def at_work(root: Path, study: RecordedStudy, standing: Standing, expected: dict[str, float]) -> Iterator[None]:
    """A run of the study, whose driver has just told this."""
    write_study(root, study)
    with sole_run(root, study.name):
        driver = Driver(root / "studies" / study.name, "run-1", "a cluster", expected)
        toy.told(driver, standing, [toy.node("one")])
        yield


def running(trial: Trial, since: float) -> Running:
    return Running(
        key=trial.key,
        node="one",
        resources=trial.resources,
        devices=(),
        started=since,
        expected_end=since + 10,
        begun=True,
    )


def words(status: StudyStatus) -> dict[str, str]:
    return {each.run.name: each.standing for each in status.trials}


def test_without_a_run_the_ledger_alone_speaks(tmp_path: Path) -> None:
    """A study that was never run here is missing whole; nobody is at work on it."""
    trials = [toy.trial(n, iterations=100) for n in range(3)]
    committed(tmp_path, trials[1], 40, 20.0)
    with Ledger(tmp_path).attempt(trials[2], provenance={}, commit_seconds=0) as attempt:
        toy.run(trials[2].params, attempt)
    found = study_status(toy.study(*trials), tmp_path)
    assert words(found) == {"toy-0.s0": "missing", "toy-1.s0": "partial", "toy-2.s0": "finished"}
    assert not found.presence.at_work
    assert not found.presence.beginning
    assert share(found.trials) == pytest.approx((0 + 40 + 100) / 300)
    assert ends_in(found.trials) is None


def test_the_end_is_reckoned_from_the_pace_and_the_places(tmp_path: Path) -> None:
    """Two places. toy-0 has 60 iterations of 0.5 s before it, less 10 s since its commit: 20 s. toy-1, new, as the plan
    expected: 40 s. The waiting toy-2 takes the place that is free first, at its own pace; toy-3 the next."""
    trials = [toy.trial(n, iterations=100) for n in range(4)]
    committed(tmp_path, trials[0], 40, 20.0, ago=10.0)
    committed(tmp_path, trials[2], 50, 50.0)
    now = time.monotonic()
    standing = Standing(total=4, running={"a": running(trials[0], now - 30), "b": running(trials[1], now)})
    expected = {trials[0].key: 99.0, trials[1].key: 40.0, trials[2].key: 99.0, trials[3].key: 7.0}
    with at_work(tmp_path, toy.study(*trials), standing, expected):
        found = study_status(toy.study(*trials), tmp_path)
    assert words(found) == {
        "toy-0.s0": "starting", "toy-1.s0": "starting", "toy-2.s0": "waiting", "toy-3.s0": "waiting"
    }  # fmt: skip
    assert [each.ends_in for each in found.trials] == pytest.approx([20, 40, 20 + 50, 40 + 7], abs=2)
    assert ends_in(found.trials) == pytest.approx(70, abs=2)
    assert found.at_once == 2


def test_an_end_that_cannot_be_known_is_not_told(tmp_path: Path) -> None:
    """Nothing runs yet, so how many will run at a time is unknown; and nothing was to run."""
    trials = [toy.trial(0), toy.trial(1)]
    with at_work(tmp_path, toy.study(*trials), Standing(total=2), {each.key: 5.0 for each in trials}):
        found = study_status(toy.study(*trials), tmp_path)
    assert words(found) == {"toy-0.s0": "waiting", "toy-1.s0": "waiting"}
    assert ends_in(found.trials) is None
    assert ends_in([]) is None


def test_what_the_driver_knows_is_told(tmp_path: Path) -> None:
    """Failed without a commit, cancelled, left out by the budget; and still after the run, until another attempt."""
    trials = [toy.trial(n) for n in range(4)]
    keys = [each.key for each in trials]
    standing = Standing(
        total=4, failed={keys[0]: "its process died 3 times"}, cancelled={keys[1]: "ada on login1"},
        unaffordable=[keys[2]], spent_seconds=7200.0, set_aside={"one": "one: 2 trials in a row died there"},
    )  # fmt: skip
    with at_work(tmp_path, toy.study(*trials), standing, dict.fromkeys(keys, 5.0)):
        pass
    found = study_status(toy.study(*trials), tmp_path)
    assert words(found) == {
        "toy-0.s0": "failed", "toy-1.s0": "cancelled", "toy-2.s0": "over budget", "toy-3.s0": "missing"
    }  # fmt: skip
    assert [each.reason for each in found.trials] == ["its process died 3 times", "ada on login1", None, None]
    assert found.presence.record is not None
    assert found.presence.record.spent_seconds == 7200.0
    time.sleep(0.01)
    committed(tmp_path, trials[0], 4, 1.0)
    assert words(study_status(toy.study(*trials), tmp_path))["toy-0.s0"] == "partial"


def test_a_trial_that_is_begun_again_after_an_error_is_no_failure_yet(tmp_path: Path) -> None:
    """The run at work tries it once more; without one it has failed."""
    trial = toy.trial(0)
    with pytest.raises(RuntimeError), Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=9) as attempt:
        toy.run({**trial.params, "raise_at": 3}, attempt)
    with at_work(tmp_path, toy.study(trial), Standing(total=1), {trial.key: 5.0}):
        (each,) = study_status(toy.study(trial), tmp_path).trials
        assert (each.standing, each.reason) == ("waiting", "RuntimeError: iteration 3 cannot be done")
    (each,) = study_status(toy.study(trial), tmp_path).trials
    assert (each.standing, each.reason) == ("failed", "RuntimeError: iteration 3 cannot be done")


def test_interruptions_and_costs_are_counted(tmp_path: Path) -> None:
    """Three attempts, two of them killed, two from a commit; half a GPU for two hours is one GPU-hour."""
    half, core = toy.trial(0, iterations=100, gpus=0.5), toy.trial(1, iterations=100)
    core = replace(core, resources=Resources(cpus=2))
    committed(tmp_path, half, 50, 7200.0, attempts=3)
    committed(tmp_path, core, 50, 1800.0)
    found = study_status(toy.study(half, core), tmp_path)
    assert [(each.killed, each.resumed) for each in found.trials] == [(2, 2), (0, 0)]
    assert cost_hours(found.trials) == {"GPU": 1.0, "core": 1.0}
    assert cost_hours([]) == {}


def test_an_attempt_that_lives_is_running_and_not_killed(tmp_path: Path) -> None:
    """Whoever made it: here no run of the study is at work."""
    trial = toy.trial(0, iterations=100)
    committed(tmp_path, trial, 50, 50.0)
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=9):
        (each,) = study_status(toy.study(trial), tmp_path).trials
    assert (each.standing, each.killed, each.place) == ("running", 0, None)
    assert each.ends_in == pytest.approx(50, abs=2)


def test_damage_is_said_and_is_no_number(tmp_path: Path) -> None:
    """Of a done trial the records are checked, though they are not read."""
    trial = toy.trial(0)
    with Ledger(tmp_path).attempt(trial, provenance={}, commit_seconds=9) as attempt:
        toy.run(trial.params, attempt)
    (Ledger(tmp_path).folder(trial.key).path / "curves.jsonl").write_text("{}\n")
    (each,) = study_status(toy.study(trial), tmp_path).trials
    assert "checksum differs" in each.run.notes[0]
    assert each.standing == "missing"


# Whether a driver is at work ------------------------------------------------------------------------------------------


def test_a_driver_is_at_work_from_its_first_word_to_its_last(tmp_path: Path) -> None:
    """Before, the run begins; after the last word it ends, and then nobody holds the study."""
    assert not presence(tmp_path, "toys").at_work
    with sole_run(tmp_path, "toys"):
        assert presence(tmp_path, "toys").beginning
        driver = Driver(tmp_path / "studies" / "toys", "run-1", "a cluster", {})
        toy.told(driver, Standing(total=0), [])
        seen = presence(tmp_path, "toys")
        assert seen.at_work
        assert not seen.beginning
        assert not seen.silent
        toy.told(driver, Standing(total=0), [], ended=True)
        assert presence(tmp_path, "toys").beginning
    seen = presence(tmp_path, "toys")
    assert (seen.at_work, seen.beginning, seen.holder) == (False, False, None)


def test_a_driver_that_was_killed_is_not_at_work(tmp_path: Path) -> None:
    """Its last word is no end, but on its own machine the lock shows that it is gone."""
    with at_work(tmp_path, toy.study(), Standing(total=0), {}):
        pass
    record = read_driver(tmp_path, "toys")
    assert record is not None
    assert record.ended is None
    assert not presence(tmp_path, "toys").at_work


def test_on_another_machine_a_fresh_word_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every shared file system shows a lock elsewhere; a driver that has fallen silent is taken for gone then."""
    with at_work(tmp_path, toy.study(), Standing(total=0), {}):
        pass
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert presence(tmp_path, "toys").at_work
    monkeypatch.setattr(driving, "SILENT_SECONDS", 0.0)
    time.sleep(0.01)
    assert not presence(tmp_path, "toys").at_work


def test_a_driver_that_holds_the_study_and_says_nothing_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At work, as far as can be told; for how long it has not been heard of is told with it."""
    monkeypatch.setattr(driving, "SILENT_SECONDS", 0.0)
    with at_work(tmp_path, toy.study(), Standing(total=0), {}):
        time.sleep(0.02)
        seen = presence(tmp_path, "toys")
    assert seen.at_work
    assert seen.silent
    assert seen.silence > 0.01


def test_who_only_looks_does_not_keep_a_run_from_beginning(tmp_path: Path) -> None:
    """The lock is held by a looker for an instant; a run waits for that, and for no other run."""
    import fcntl
    import threading

    with sole_run(tmp_path, "toys"):
        assert "pid" in (holder(tmp_path, "toys") or "")
    with (tmp_path / "studies" / "toys" / "lock").open() as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        threading.Timer(0.03, lambda: fcntl.flock(looker, fcntl.LOCK_UN)).start()
        with sole_run(tmp_path, "toys"), pytest.raises(StudyInUse), sole_run(tmp_path, "toys"):
            pass
