"""One trial whole: as facts, and as a page."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledgers import write_ledger
from synthetic import ATTEMPT, digits, make_arm, make_run, make_study
from test_page import HOSTILE, Page

from models.spec import Network
from orchestrator.ledger import Ledger
from orchestrator.logs import tail
from orchestrator.runs import Curve, Outcome, Run, read_run
from orchestrator.studies import RecordedStudy, every_study
from reports.page.trial import trial_page
from reports.trials import TrialFacts, askers, trial_facts, trial_figures

ABOUT = {"command": "ablate show 6a65 --html", "version": "0.1.0"}
PROBE = {
    "iteration": 150, "layers": ["conv1"], "blocks": [], "gradient": [1.0, 2.0], "norm_variance": [0.5],
    "activation_variance": [0.25], "response": [1.5], "residual_over_input": [],
}  # fmt: skip


def recorded(results: Path, study: RecordedStudy, run: Run) -> TrialFacts:
    """Written to a ledger, and read back."""
    write_ledger(results, study, [run])
    return again(results, run)


def again(results: Path, run: Run) -> TrialFacts:
    studies, _ = every_study(results)
    asked_by = askers(studies).get(run.key, ())
    arm = asked_by[0][1] if asked_by else make_arm(Network(depth=20))
    ledger = Ledger(results)
    return trial_facts(read_run(arm, run.seed, run.key, ledger), arm, ledger, asked_by)


@pytest.fixture
def one() -> tuple[RecordedStudy, Run]:
    study, runs = digits()
    return study, replace(runs[0], attempts=(killed(), ATTEMPT), probes=(PROBE,))


def killed() -> dict[str, Any]:
    return {name: value for name, value in ATTEMPT.items() if name not in ("ended", "cause")}


def logged(results: Path, run: Run, text: str, number: int = 1) -> None:
    (results / "trials" / run.key / "attempts" / f"{number:04d}.log").write_text(text)


def page_of(facts: TrialFacts, **links: Any) -> Page:
    return Page(trial_page(facts, about=ABOUT, studies=links.pop("studies", {}), **links))


# Facts


def test_what_departs_from_the_paper_stands_beside_the_papers_value(tmp_path: Path, one) -> None:
    facts = recorded(tmp_path, *one)
    departing = {
        each.name: (each.value, each.paper) for group in facts.groups for each in group.parameters if each.paper
    }
    assert departing == {
        "data": ("digits", "cifar10"),
        "iterations": ("150", "64000"),
        "lr": ("0.03", "0.1"),
    }
    assert facts.paper is False
    assert [group.title for group in facts.groups] == ["network", "data", "trial", "result", "recipe"]


def test_values_are_written_as_a_study_file_has_them(tmp_path: Path, one) -> None:
    values = {each.name: each.value for group in recorded(tmp_path, *one).groups for each in group.parameters}
    assert values["warmup_from_depth"] == "none"
    assert values["weight_decay"] == "0.0001"
    assert values["drops"] == "0.5, 0.75"


def test_a_trial_that_no_study_asks_for_departs_from_nobody_knows_what(tmp_path: Path, one) -> None:
    recorded(tmp_path, *one)
    (tmp_path / "studies" / "digits-demo" / "study.json").unlink()
    facts = again(tmp_path, one[1])
    assert facts.paper is None
    assert "what of it departs from the paper is not known" in page_of(facts).text


def test_every_study_that_asks_for_it_is_named(tmp_path: Path, one) -> None:
    study, run = one
    write_ledger(tmp_path, replace(study, name="again"), [])
    facts = recorded(tmp_path, study, run)
    assert [each.name for each in facts.studies] == ["again", "digits-demo"]


def test_attempts_say_how_they_ended_and_what_they_printed(tmp_path: Path, one) -> None:
    recorded(tmp_path, *one)
    logged(tmp_path, one[1], "old\n\x1b[31mstep 1\x1b[0m\r\x1b[Kstep 2\nlast line\n")
    first, second = again(tmp_path, one[1]).attempts
    assert (first.ended, second.ended) == ("killed", "finished")
    assert first.log == "old\nstep 2\nlast line"
    assert second.log == ""
    assert first.record["versions"] == "python 3.11.2, torch 2.11.0"


def test_a_failure_has_its_reason_and_its_traceback(tmp_path: Path) -> None:
    arm = make_arm(Network(depth=20), seeds=1)
    error = {
        **ATTEMPT,
        "cause": "error",
        "reason": "ValueError: no",
        "traceback": "Traceback\n  line 1\nValueError: no",
    }
    run = make_run(arm, 0, test=9, train=1, outcome=Outcome.FAILED, iteration=400, attempts=(error,))
    facts = recorded(tmp_path, make_study([arm]), run)
    (attempt,) = facts.attempts
    assert (facts.standing, attempt.ended, attempt.reason) == ("failed", "error", "ValueError: no")
    assert "traceback" not in attempt.record
    source = trial_page(facts, about=ABOUT, studies={})
    assert "Traceback\n  line 1\nValueError: no</pre>" in source
    assert "failed at iteration 400 of 64,000, after 6 s of training: ValueError: no" in Page(source).text


def test_files_have_the_checksums_of_the_commit(tmp_path: Path, one) -> None:
    facts = recorded(tmp_path, *one)
    head = Ledger(tmp_path).folder(one[1].key).head()
    assert head is not None
    assert {each.name: (each.size, each.sha256) for each in facts.files if each.name in head.streams} == head.streams
    checkpoint = facts.files[-1]
    assert (checkpoint.name, checkpoint.size, checkpoint.sha256) == (head.checkpoint, None, head.checkpoint_sha256)
    assert "not there" in page_of(facts).text


def test_damage_is_a_note_and_no_number(tmp_path: Path, one) -> None:
    recorded(tmp_path, *one)
    (tmp_path / "trials" / one[1].key / "commit.json").write_text("{")
    page = page_of(again(tmp_path, one[1]))
    assert "commit.json: damaged" in page.text
    assert "missing at iteration 0" in page.text


def test_a_trial_that_was_killed_is_partial_and_one_at_work_is_not(tmp_path: Path) -> None:
    arm = make_arm(Network(depth=20), seeds=1)
    run = make_run(arm, 0, test=9, train=1, outcome=Outcome.RUNNING, iteration=400, attempts=(killed(),))
    facts = recorded(tmp_path, make_study([arm]), run)
    assert (facts.standing, facts.attempts[0].ended) == ("partial", "killed")
    assert "partial at iteration 400 of 64,000" in page_of(facts).text
    assert replace(facts, alive=True).standing == "running"


def test_metrics_and_probes_come_down_to_numbers(tmp_path: Path, one) -> None:
    facts = recorded(tmp_path, *one)
    test = next(each for each in facts.curves if each.metric == "test_error")
    curve = one[1].curves["test_error"]
    assert (test.points, test.unit, test.last) == (10, "%", curve.values[-1])
    assert (test.best, test.best_at) == (min(curve.values), curve.iterations[curve.values.index(min(curve.values))])
    assert facts.probes == (
        {"iteration": 150, "gradient_first_over_last": 0.5, "gradient_max_over_min": 2.0, "norm_variance_min": 0.5,
         "activation_variance_min": 0.25, "response_mean": 1.5},
    )  # fmt: skip


def test_its_curves_are_drawn_alone(tmp_path: Path, one) -> None:
    lines = [line for figure in trial_figures(recorded(tmp_path, *one)) for p in figure.panels for line in p.lines]
    assert {line.metric for line in lines} >= {"train_error", "test_error"}
    assert {line.n for line in lines} == {1}


# Logs


def test_the_end_of_a_log_begins_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "0001.log"
    path.write_text("first\nsecond\nthird\n")
    assert tail(path, 100) == "first\nsecond\nthird\n"
    assert tail(path, 10) == "third\n"
    assert tail(tmp_path / "none.log", 10) == ""


def test_a_log_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    """A folder that was copied from somebody may hold links to files of this machine, or pipes that never end."""
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "0001.log").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "0002.log")
    assert tail(tmp_path / "0001.log", 100) == tail(tmp_path / "0002.log", 100) == ""


# The page


def test_structure_and_links(tmp_path: Path, one) -> None:
    logs = {"studies": {"digits-demo": "../digits-demo/report.html"}, "index": "../index.html"}
    recorded(tmp_path, *one)
    logged(tmp_path, one[1], "last line\n")
    source = trial_page(again(tmp_path, one[1]), about=ABOUT, **logs)
    page = Page(source)
    assert source.startswith("<!doctype html>")
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert len(page.all("h1")) == len(page.all("main")) == 1
    links = {href for each in page.all("a") if (href := each["href"])}
    assert f"../digits-demo/report.html#run-{one[1].key}" in links
    assert "../index.html" in links
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.ids)
    assert "last line" in page.text
    assert "src" not in {name for _, attributes in page.elements for name in attributes}


def test_its_charts_stand_on_the_page(tmp_path: Path, one, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are drawn, with what each shows in words."""
    monkeypatch.setattr("reports.page.trial.draw", lambda figure: [{"svg": "<svg></svg>"} for _ in figure.panels])
    page = page_of(recorded(tmp_path, *one))
    charts = [each for each in page.all("div") if each.get("role") == "img"]
    assert len(charts) == len(page.all("svg")) >= 1
    assert "Final test error" in (charts[0]["aria-label"] or "")
    assert "figures" in page.ids


def test_a_page_that_is_not_there_is_not_linked(tmp_path: Path, one) -> None:
    page = page_of(recorded(tmp_path, *one))
    assert all((each["href"] or "").startswith("#") for each in page.all("a"))
    assert "digits-demo" in page.text


def test_links_cannot_leave_the_folder(tmp_path: Path, one) -> None:
    page = page_of(recorded(tmp_path, *one), studies={"digits-demo": "javascript:alert(1)//../a b.html"})
    links = [each["href"] or "" for each in page.all("a") if not (each["href"] or "").startswith("#")]
    assert links == [f"javascript%3Aalert%281%29//../a%20b.html#run-{one[1].key}"]


def test_the_same_trial_gives_the_same_bytes(tmp_path: Path, one) -> None:
    first = trial_page(recorded(tmp_path, *one), about=ABOUT, studies={})
    assert trial_page(again(tmp_path, one[1]), about=ABOUT, studies={}) == first


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    arm = make_arm(Network(depth=20), seeds=1, name=name, deviations=(name, f"lr {name} (paper {name})"))
    line = Curve(metric=name, iterations=(100, 200), values=(20.0, 9.0))
    attempt = {**ATTEMPT, "host": name, "hardware": {name: name}, "reason": name, "cause": name, "notes": [name]}
    run = replace(make_run(arm, 0, test=9, train=1), curves={name: line, "test_error": line}, reason=name)
    facts = recorded(
        tmp_path, replace(make_study([arm]), question=name, source=name), replace(run, attempts=(attempt,))
    )
    facts = replace(facts, run=replace(facts.run, name=name, mlflow_run=name, reason=name))
    logged(tmp_path, run, name)
    page = page_of(replace(facts, attempts=(replace(facts.attempts[0], log=name),)))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not page.all("img")
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert all((each["href"] or "").startswith("#") for each in page.all("a"))
