"""The whole list of the paper, and how much of it stands."""

from dataclasses import replace

import pytest
from ledgers import write_ledger
from synthetic import DIGITS_DEVIATIONS, digits, imagenet_like, make_arm, make_run, make_runs, make_study, paper_like
from test_page import HOSTILE, Page, hostile

from models.spec import Network
from orchestrator.ledger import Ledger
from orchestrator.runs import Outcome
from orchestrator.studies import every_study
from reports.index import Index, index_of, read_studies, together
from reports.page.index import index_page
from reports.published import paper_claims
from reports.verdicts import Answer

ABOUT = {"command": "ablate report --all", "version": "0.1.0"}
RESNETS = tuple(make_arm(Network(depth=depth, shortcut="A"), seeds=2) for depth in (20, 32, 44, 56, 110, 1202))


def page_of(index: Index) -> Page:
    pages = {each.study.name: f"{each.study.name}/report.html" for each in index.studies}
    return Page(index_page(index, about=ABOUT, pages=pages, trial_pages={}))


def item(index: Index, name: str):
    return next(each for each in (*index.tables, *index.figures) if each.id == name)


def claim(index: Index, name: str):
    return next(each for each in index.claims if each.id == name)


@pytest.fixture(scope="module")
def whole() -> Index:
    return index_of([paper_like(), digits(), imagenet_like()])


def test_the_list_is_the_papers() -> None:
    """14 tables, 7 figures and all claims, whatever was run."""
    empty = index_of([])
    assert [each.title for each in empty.tables] == [f"Table {number}" for number in range(1, 15)]
    assert [each.title for each in empty.figures] == [f"Figure {number}" for number in range(1, 8)]
    assert [each.id for each in empty.claims] == list(paper_claims())
    assert {each.state for each in empty.tables} == {"computed", "missing", "published"}
    assert {each.state for each in empty.figures} == {"drawing", "missing"}
    assert not [each for each in empty.claims if each.verdict.n]


def test_what_stands_where_all_was_run(whole: Index) -> None:
    measured = {each.id for each in (*whole.tables, *whole.figures) if each.state == "measured"}
    assert measured == {"table-2", "table-3", "table-4", "table-5", "table-6", "figure-1", "figure-4", "figure-6"}
    table = item(whole, "table-6")
    assert (table.done, table.total, table.studies) == (6, 6, ("cifar10-depth",))
    assert item(whole, "table-3").total == 14
    assert item(whole, "figure-6").total == 11
    assert claim(whole, "DEG-01").study == "cifar10-depth"
    assert claim(whole, "DEG-01").state == "measured"


def test_runs_without_a_probe_are_no_part_of_figure_7(whole: Index) -> None:
    assert (item(whole, "figure-7").state, item(whole, "figure-7").studies) == ("missing", ())


def test_figure_7_is_of_probes() -> None:
    arms = [make_arm(Network(depth=20), seeds=1)]
    study, runs = make_study(arms), [replace(make_run(arms[0], 0, test=9, train=1), probes=({"response": [1.0]},))]
    found = item(index_of([(study, runs)]), "figure-7")
    assert (found.state, found.done, found.total) == ("partial", 1, 5)


@pytest.mark.parametrize(
    ("outcomes", "state", "done"),
    [
        ((Outcome.FINISHED, Outcome.FINISHED), "partial", 1),
        ((Outcome.FINISHED, Outcome.MISSING), "partial", 0),
        ((Outcome.RUNNING, Outcome.MISSING), "partial", 0),
        ((Outcome.MISSING, Outcome.MISSING), "missing", 0),
        ((Outcome.FAILED, Outcome.DIVERGED), "missing", 0),
    ],
)
def test_a_number_stands_when_every_seed_has_finished(outcomes, state: str, done: int) -> None:
    runs = [make_run(RESNETS[0], seed, test=9, train=1, outcome=each) for seed, each in enumerate(outcomes)]
    found = item(index_of([(make_study(RESNETS), runs)]), "table-6")
    assert (found.state, found.done, found.total) == (state, done, 6)


def test_another_recipe_never_stands_for_the_papers() -> None:
    """It is a demonstration in a study that shows the table, and nothing elsewhere."""
    arms = [replace(arm, deviations=DIGITS_DEVIATIONS) for arm in RESNETS]
    runs = [run for arm in arms for run in make_runs(arm, 9, 1)]
    shown = item(index_of([(make_study(arms, tables=("table-6",)), runs)]), "table-6")
    assert (shown.state, shown.done, shown.studies, shown.demonstrations) == ("demonstration", 0, (), ("synthetic",))
    assert item(index_of([(make_study(arms), runs)]), "table-6").state == "missing"
    assert item(index_of([(make_study(arms, tables=("table-6",)), [])]), "table-6").state == "missing"


def test_a_variant_of_the_network_never_stands_for_it() -> None:
    arm = make_arm(Network(depth=20, shortcut="A", padding="split"), seeds=2)
    assert item(index_of([(make_study([arm]), make_runs(arm, 9, 1))]), "table-6").state == "missing"


def test_a_trial_of_two_studies_is_counted_once() -> None:
    study, runs = make_study(RESNETS), [run for arm in RESNETS for run in make_runs(arm, 9, 1)]
    found = index_of([(study, runs), (replace(study, name="again"), runs)])
    assert len(found.runs) == 12
    assert item(found, "table-6").studies == ("synthetic", "again")
    joined, _ = together(found.studies)
    assert [len(arm.trials) for arm in joined.arms] == [2] * 6


def test_arms_of_one_name_under_two_recipes_are_two() -> None:
    other = replace(RESNETS[0], recipe={**RESNETS[0].recipe, "lr": 0.3}, deviations=("lr 0.3 (paper 0.1)",))
    states = index_of([(make_study([RESNETS[0]]), []), (make_study([other], name="other"), [])]).studies
    assert [arm.name for arm in together(states)[0].arms] == ["cifar10-resnet-20-A", "cifar10-resnet-20-A (2)"]


def test_the_papers_recipe_speaks_before_a_demonstration(whole: Index) -> None:
    said = claim(whole, "DEG-01")
    assert [name for name, _ in said.verdicts] == ["cifar10-depth", "digits-demo"]
    assert not said.verdict.measured


def test_a_claim_of_a_demonstration_alone_is_one() -> None:
    said = claim(index_of([digits()]), "DEG-01")
    assert (said.state, said.study, said.verdict.verdict) == ("demonstration", "digits-demo", Answer.HOLDS)


def test_a_claim_that_no_study_names_is_tried_over_all_arms() -> None:
    study, runs = paper_like()
    said = claim(index_of([(replace(study, claims=()), runs)]), "DEG-01")
    assert (said.study, said.verdict.verdict) == ("", Answer.HOLDS)


def test_studies_that_disagree_are_named() -> None:
    study, runs = paper_like()
    turned = [
        replace(run, key=f"x{run.key[1:]}", result={**run.result, "tail_train_error": 50 - 40 * (run.arm[-2:] == "56")})
        for run in runs
    ]
    arms = [replace(arm, trials=tuple((seed, f"x{key[1:]}") for seed, key in arm.trials)) for arm in study.arms]
    index = index_of([(study, runs), (replace(study, name="turned", arms=tuple(arms)), turned)])
    assert claim(index, "DEG-01").disagree
    assert not claim(index, "DEG-02").disagree
    assert "Studies disagree." in page_of(index).text


# The page


def test_structure(whole: Index) -> None:
    page = page_of(whole)
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert len(page.ids) == len(set(page.ids))
    assert not page.open
    assert {f"table-{number}" for number in range(1, 15)} <= set(page.ids)
    assert {f"claim-{each}" for each in paper_claims()} <= set(page.ids)
    for each in page.all("a"):
        href = each["href"] or ""
        assert href[1:] in page.ids if href.startswith("#") else href.partition("#")[0].endswith("/report.html")
    assert "src" not in {name for _, attributes in page.elements for name in attributes}


def test_the_page_says_how_much_stands(whole: Index) -> None:
    text = page_of(whole).text
    decided = sum(each.state in ("measured", "computed") for each in whole.claims)
    said = f"5 of the 5 tables and 3 of the 4 figures that training can rebuild are measured whole; {decided} of 66"
    assert said in text
    assert "130 trials, each counted once" in text
    assert "measured on digits, 150 iterations" in text


def test_damaged_records_are_told_on_the_page() -> None:
    page = page_of(index_of([digits()], ["studies/x/study.json: damaged (<b>)"]))
    assert "studies/x/study.json: damaged (<b>)" in page.text


def test_the_same_runs_give_the_same_bytes(tmp_path) -> None:
    for made in (digits, paper_like):
        write_ledger(tmp_path, *made())
    studies, problems = every_study(tmp_path)
    pages = {each.name: "report.html" for each in studies}
    made = [
        index_page(
            index_of(read_studies(studies, Ledger(tmp_path)), problems), about=ABOUT, pages=pages, trial_pages={}
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert problems == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str) -> None:
    """A study's name is checked before it is read; whatever else a record holds is printed."""
    study, runs = hostile(name)
    page = page_of(index_of([(replace(study, name="hostile"), runs)], [name]))
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not page.all("img")
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)


def test_a_record_in_a_folder_that_no_study_can_have(tmp_path) -> None:
    write_ledger(tmp_path, *digits())
    (tmp_path / "studies" / "digits-demo").rename(tmp_path / "studies" / "<img src=x>")
    studies, problems = every_study(tmp_path)
    assert studies == []
    assert "no study can be called '<img src=x>'; rename the folder" in problems[0]
