"""The page is one file, the same for the same runs, and whatever a name holds stays text."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from synthetic import DEPTH_CLAIMS, digits, imagenet_like, make_arm, make_run, make_runs, make_study, paper_like
from unpacking import cells_of

from models.spec import Network
from orchestrator.runs import Curve, Outcome, Run
from orchestrator.studies import RecordedStudy
from reports.claims import PAPER_CLAIMS, judge
from reports.names import anchor, clean
from reports.page import render
from reports.page.claims import families
from reports.page.runs import web_address

ABOUT = {"ablate": "0.1.0", "command": "ablate report digits-demo"}
VOID = {"meta", "link", "br", "input", "line", "path", "hr", "img"}


class Page(HTMLParser):
    """Elements with their attributes, ids, text outside scripts, and scripts."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.elements[-1][1], data))
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [found for _, attributes in self.elements if (found := attributes.get("id"))]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def charts(self):
        packed = next(text for attributes, text in self.scripts if attributes.get("id") == "charts-packed")
        return json.loads(gzip.decompress(base64.b64decode(packed)))

    def data(self, name: str):
        return json.loads(next(text for attributes, text in self.scripts if attributes.get("id") == name))


def page_of(made: tuple[RecordedStudy, list[Run]]) -> Page:
    return Page(render(*made, about=ABOUT))


@pytest.fixture(scope="module")
def demo() -> Page:
    return page_of(digits())


@pytest.fixture(scope="module")
def depth() -> Page:
    return page_of(paper_like())


def unfinished() -> tuple[RecordedStudy, list[Run]]:
    """One arm of each kind of trouble."""
    arms = [make_arm(Network(depth=d, shortcut="A"), seeds=2) for d in (20, 32, 44, 56, 110)]
    arms.append(make_arm(Network(depth=8), seeds=1, blocked="no loader for it"))
    runs = [
        *make_runs(arms[0], 8.7, 0.6),
        make_run(arms[1], 0, test=7.5, train=0.3),
        make_run(arms[1], 1, test=1, train=1, outcome=Outcome.FAILED, reason="CUDA out of memory"),
        make_run(arms[2], 0, test=1, train=1, outcome=Outcome.DIVERGED, result={"diverged_at": 1200}),
        make_run(arms[3], 0, test=1, train=1, outcome=Outcome.RUNNING, iteration=400),
    ]
    return make_study(
        arms, claims=["RES-06", "SC-06"], tables=("table-6", "table"), figures=("figure-6", "curves")
    ), runs


def test_the_same_runs_give_the_same_bytes():
    assert render(*digits(), about=ABOUT) == render(*digits(), about=ABOUT)


def test_the_order_of_the_runs_does_not_matter():
    study, runs = paper_like()
    assert render(study, runs, about=ABOUT) == render(study, runs[::-1], about=ABOUT)


@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like, unfinished])
def test_structure(made):
    source = render(*made(), about=ABOUT)
    page = Page(source)
    assert source.startswith("<!doctype html>")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert len(page.ids) == len(set(page.ids))
    assert not page.open
    targets = {href[1:] for each in page.all("a") if (href := each.get("href"))}
    assert targets <= set(page.ids)
    assert {anchor("run", run.key) for run in made()[1]} <= set(page.ids)


@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like, unfinished])
def test_nothing_is_fetched(made):
    """No address anywhere but in the bundle's own comments: every link leads to a place on the page."""
    page = page_of(made())
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        href = attributes.get("href")
        assert href is None or href.startswith("#") or href == "data:,"
    assert "http" not in page.text


def test_only_our_scripts_may_run(demo: Page):
    policy = next(each["content"] or "" for each in demo.all("meta") if "http-equiv" in each)
    run = [text for attributes, text in demo.scripts if "type" not in attributes]
    packed = next(text for attributes, text in demo.scripts if attributes.get("id") == "plotly-packed")
    run.append(gzip.decompress(base64.b64decode(packed)).decode())
    assert len(run) == 3
    assert "plotly.js (basic - minified)" in run[2][:300]
    for text in run:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert policy.count("sha256-") == 3
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy
    assert not any(name.startswith("on") for _, attributes in demo.elements for name in attributes)


def test_the_first_screen(demo: Page, depth: Page):
    assert (
        "48 of 48 trials finished. Of 11 claims, 10 hold and 1 is undecided; 8 were tested on other arms" in demo.text
    )
    assert "A demonstration: measured on digits, 150 iterations; not the paper's recipe." in demo.text
    assert "augmentation none (paper pad-crop-flip)" in demo.text
    assert "55 of 55 trials finished." in depth.text
    assert "A demonstration" not in depth.text


def test_what_is_missing_is_said_with_reasons():
    page = page_of(unfinished())
    assert "3 of 11 trials finished" in page.text
    for reason in (
        "failed: CUDA out of memory",
        "diverged at iteration 1,200",
        "running: 400 of 64,000 iterations",
        "blocked: no loader for it",
        "not run",
    ):
        assert reason in page.text
    assert "8 without a final number, and why" in page.text


def test_a_measurement_tells_its_runs_by_stretches_and_its_gaps_once():
    """Of seven seeds the third and the sixth gave nothing; why stands in the measurement, not again in its row."""
    arm = make_arm(Network(depth=20), seeds=7)
    runs = [run if run.seed not in (2, 5) else replace(run, outcome=Outcome.FAILED) for run in make_runs(arm, 9, 1)]
    table = page_of((make_study([arm]), runs)).data("tables-data")["tables"][-1]
    for cell in cells_of(table):
        assert cell["runs"] == [0, 2, 3, 2, 6, 1]
        assert cell["absent"] == [f"s{seed}: failed: no reason was recorded" for seed in (2, 5)]
    assert [field[3] for field in table["rows"][0] if field and field[0] == "m"] == [0] * len(cells_of(table))


def test_every_number_leads_to_its_runs(depth: Page):
    """Without a script to the first of them; with one to what is known of it, and to exactly its runs."""
    data = depth.data("tables-data")
    cells = {cell["id"]: cell for table in data["tables"] for cell in cells_of(table)}
    links = [each for each in depth.all("a") if each.get("class") == "value"]
    drawn = [each["id"] for each in depth.all("td") if (each.get("id") or "").startswith("cell-")]
    assert len(cells) > 40
    assert drawn == list(cells)
    _, runs = paper_like()
    rows = {run.key: run for run in runs}
    keys = [run.key for run in runs]
    for link, cell in zip(links, cells.values(), strict=True):
        first, count = cell["runs"]
        mine = [rows[key] for key in keys[first : first + count]]
        assert link["href"] == f"#run-{mine[0].key}"
        assert {run.arm for run in mine} == {cell["arm"]}
        assert cell["n"] == len(mine) == 5


def test_the_difference_to_the_paper_is_told_with_a_number(depth: Page):
    table = next(each for each in depth.data("tables-data")["tables"] if each["id"] == "table-6")
    told = {cell["arm"]: cell["gap"] for cell in cells_of(table) if cell["metric"] == "last_test_error"}
    assert told["cifar10-resnet-20-A"] == "+0.00 (8.75 against the paper's 8.75)"
    assert all(cell["gap"] is None for cell in cells_of(table) if cell["metric"] == "best_test_error")


def test_what_a_table_measures_is_told_of_every_run():
    """Also what it costs; and a number of one seed has a place of its own."""
    study, runs = digits()
    runs = [replace(run, costs={"images_per_second": 1000.0 + place}) for place, run in enumerate(runs)]
    asked = ("depth x seed x images_per_second", "depth x shortcut x test_error")
    arms = [arm for arm in study.arms if arm.network["shortcut"] == "none"]
    page = page_of((replace(study, tables=asked, arms=arms), runs))
    data = page.data("tables-data")
    (column,) = [each for each in data["runs"]["columns"] if each["title"] == "training images per second"]
    assert column["values"] == [1000.0 + place for place in range(12)]
    places = [cell["id"] for table in data["tables"] for cell in cells_of(table)]
    assert len(places) == len(set(places)) == 12 + 4
    assert cells_of(data["tables"][0])[4]["runs"] == [4, 1]


def test_every_arm_says_how_it_departs_from_the_paper():
    arms = [make_arm(Network(depth=20)), make_arm(Network(depth=32), name="other", deviations=("lr 0.03 (paper 0.1)",))]
    arms.append(make_arm(Network(depth=44), name="third", deviations=("lr 0.03 (paper 0.1)", "batch 64 (paper 128)")))
    page = page_of((make_study(arms), []))
    assert "The paper's network, data and recipe 1 arm: cifar10-plain-20" in page.text
    assert "lr 0.03 (paper 0.1) 1 arm: other" in page.text
    assert "lr 0.03 (paper 0.1)batch 64 (paper 128) 1 arm: third" in page.text


def test_many_claims_are_marks_by_family_and_a_few_are_sentences():
    study, runs = paper_like()
    many = page_of((replace(study, claims=[{"id": each} for each in PAPER_CLAIMS]), runs))
    marks = [each for each in many.all("a") if (each.get("class") or "").startswith("mark ")]
    assert len(marks) == len(PAPER_CLAIMS) == 66
    assert len([each for each in many.all("article") if each.get("class") == "claim"]) == 66
    assert "Layer responses" in many.text
    few = page_of((replace(study, claims=study.claims[:3]), runs))
    assert not [each for each in few.all("a") if (each.get("class") or "").startswith("mark ")]


def test_claims_say_how_sure_they_are_and_what_would_decide_them(demo: Page):
    assert "corrected for 8 claims that were tested, p < 0.0001" in demo.text
    study, runs = digits()
    arms = [replace(arm, trials=arm.trials[:1]) for arm in study.arms]
    page = page_of((replace(study, arms=arms, claims=[{"id": "DEG-01"}]), runs))
    assert "Further seeds without which nothing can be said: 1 more of digits-plain-56." in page.text


def test_a_gap_within_the_noise_says_how_many_seeds_would_settle_it():
    arms = [make_arm(Network(depth=depth), seeds=3) for depth in (20, 56)]
    runs = [*make_runs(arms[0], 9.0, 1.0, scale=1.5), *make_runs(arms[1], 11.0, 3.0, scale=1.5)]
    (told,) = families(judge(make_study(arms, claims=["DEG-02"]), runs), {})[0].claims
    assert told.verdict.verdict == "undecided"
    assert re.fullmatch(
        r"further seeds that would decide it, were means and spreads the same: \d+ more of each of "
        "cifar10-plain-56 and cifar10-plain-20",
        told.further,
    )
    assert told.evidence.startswith("p = 0.")


def test_charts_say_that_nothing_is_shared(demo: Page):
    config = demo.charts()["config"]
    assert config["showSendToCloud"] is False
    assert config["plotlyServerURL"] == ""


def test_provenance():
    study, runs = digits()
    dirty = {**runs[0].attempts[0], "dirty": True, "hardware": "NVIDIA H200", "ended": "2026-01-05T12:00:00Z"}
    runs[0] = replace(runs[0], attempts=(dirty, *runs[0].attempts), notes=("checkpoint 2 was damaged",))
    page = page_of((replace(study, overrides=("recipe.iterations=150",)), runs))
    assert study.sha256 in page.text
    assert "ablate report digits-demo" in page.text
    assert "49 attempts for 48 trials; 1 needed more than one" in page.text
    assert "2.0 h on NVIDIA H200" in page.text
    assert "with uncommitted changes (1 attempt)" in page.text
    assert "recipe.iterations=150" in page.text
    assert "checkpoint 2 was damaged" in page.data("tables-data")["runs"]["notes"].values()


def test_the_tables_and_the_figure_of_imagenet_are_there():
    """None is missing, and each number leads to its runs."""
    page = page_of(imagenet_like())
    assert {f"table-{number}" for number in range(1, 6)} <= set(page.ids)
    assert "which this version does not have" not in page.text
    assert "22.85 ± 0.10 (3)" in page.text
    assert "Measured, the paper's recipe: 12 trials, top-5 error % of each: imagenet-resnet-34-B.s0 (" in page.text
    assert "compare differences between curves, not levels" in page.text
    assert [each["id"] for each in page.charts()["charts"]] == ["figure-4-panel-1", "figure-4-panel-2"]


def test_an_unknown_table_is_told():
    study, runs = digits()
    page = page_of((replace(study, tables=("table-99",), figures=("figure-77",)), runs))
    assert "The study asks for table table-99, which this version does not have." in page.text
    assert "figure-77" in page.text


def test_a_figure_without_a_curve_is_told():
    arm = make_arm(Network(depth=20), seeds=2)
    page = page_of((make_study([arm], figures=("curves",)), []))
    assert "Error against iterations is not drawn: none of its arms has a curve yet." in page.text


def test_a_study_with_both_recipes_says_how_many():
    arms = [make_arm(Network(depth=20)), make_arm(Network(depth=32), name="other", deviations=("lr 0.03 (paper 0.1)",))]
    page = page_of((make_study(arms), []))
    assert "1 of 2 arms are a demonstration: measured on cifar10, 64,000 iterations, lr 0.03" in page.text


def test_an_empty_study_is_a_page():
    page = page_of((make_study([], tables=("table-6", "table"), figures=("figure-6", "curves")), []))
    assert "0 of 0 trials finished. The study makes no claim." in page.text


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    '=HYPERLINK("http://evil.example","x")',
    "\u202egnp.exe\u202c\x00\x07\u2028",
    "<a href='http://evil.example'>$\\alpha$</a>",
    "long" * 2500,
)


def hostile(name: str) -> tuple[RecordedStudy, list[Run]]:
    """The name wherever someone could write one."""
    arm = make_arm(Network(depth=20), seeds=2, name=name, deviations=(name,), blocked=None)
    shown = make_arm(Network(depth=56), seeds=2, name=f"{name}2", deviations=(name,), blocked=name)
    line = Curve(metric="test_error", iterations=(100, 200), values=(20.0, 9.0))
    runs = [
        replace(
            run,
            curves={"test_error": line},
            name=name,
            mlflow_run=name,
            notes=(name,),
            attempts=({"host": name, "hardware": {name: name}},),
        )
        for run in make_runs(arm, 9, 1)
    ]
    own = {"id": name, "say": name, "text": name}
    study = make_study([arm, shown], claims=[own, name], name=name, question=name, tables=(name, "table", "table-6"))
    return replace(study, source=name, text=name, overrides=(name,)), runs


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text(name: str):
    source = render(*hostile(name), about={name: name, "command": name})
    page = Page(source)
    assert [tag for tag, _ in page.elements].count("script") == 5
    assert not page.all("img")
    assert not any(attribute.startswith("on") for _, attributes in page.elements for attribute in attributes)
    assert all((each.get("href") or "#").startswith("#") for each in page.all("a"))
    runs = page.data("tables-data")["runs"]
    assert {runs["names"][row] for row in "01"} == {clean(name)}
    assert runs["arms"][0] == clean(name)
    assert clean(name).strip() in [" ".join(each.split()) for each in page.words] or clean(name) in page.words
    assert "{{" not in name or "{{ 7 * 7 }}" in page.text
    assert not re.search("[\u202a-\u202e\u2028\u2029\x00-\x08]", page.text)


def test_a_hostile_name_in_a_note_stays_text():
    """Notes under tables name recipes and trials too."""
    arm = make_arm(Network(depth=20, shortcut="A"), seeds=1, deviations=(HOSTILE[6],))
    page = page_of((make_study([arm], tables=("table-6",)), make_runs(arm, 9, 1)))
    assert "departs from the paper" in page.text
    assert not re.search("[\u202a-\u202e\u2028\u2029\x00-\x08]", page.text)


def test_links_leave_the_page_only_for_known_places():
    study, runs = digits()
    runs = [
        replace(run, result={**run.result, "weights_sha256": f"{number:064x}"}) for number, run in enumerate(runs, 1)
    ]
    pages = {runs[0].key: f"../_trials/{runs[0].key}.html", runs[1].key: "javascript:alert(1)"}
    page = Page(render(study, runs, about={**ABOUT, "mlflow": "http://mlflow.example:5000/"}, run_pages=pages))
    outward = {href: each for each in page.all("a") if not (href := each.get("href") or "").startswith("#")}
    paths = [f"../_trials/{runs[0].key}.html"]
    assert set(outward) == {*paths, *[f"http://mlflow.example:5000/#/runs/{run.mlflow_run}" for run in runs]}
    assert all(each["rel"] == "noopener noreferrer" for href, each in outward.items() if href not in paths)
    weights = page.data("tables-data")["runs"]["columns"][-1]
    assert weights["title"] == "sha256 of the weights"
    assert weights["values"][0] == f"{1:064x}"


@pytest.mark.parametrize(
    "address",
    ["sqlite:///mlflow.db", "javascript:alert(1)", "http://user:word@host", "http://", 'http://a"b', "http://[", ""],
)
def test_what_is_no_address_of_a_server_is_no_link(address: str):
    assert web_address(address) == ""
    page = Page(render(*digits(), about={"mlflow": address}))
    assert all((each.get("href") or "").startswith("#") for each in page.all("a"))


@pytest.mark.parametrize(("count", "seeds", "most"), [(20, 5, 1.0), (40, 25, 1.5), (200, 50, 3.0)])
def test_pages_stay_small(count: int, seeds: int, most: float):
    """Megabytes of 100, 1,000 and 10,000 runs, with digests and curves."""
    networks = [Network(depth=6 * (number % 18) + 8, shortcut="A") for number in range(count)]
    arms = [make_arm(each, name=f"cifar10-variant-{number}", seeds=seeds) for number, each in enumerate(networks)]
    line = tuple(range(1000, 64_001, 1000))
    runs = []
    for arm in arms:
        for seed, key in arm.trials:
            at = tuple(30 / (1 + place / 9) + len(runs) % 7 / 10 for place in range(len(line)))
            curves = {name: Curve(metric=name, iterations=line, values=at) for name in ("train_error", "test_error")}
            run = make_run(arm, seed, test=7 + len(runs) % 997 / 1000, train=0.3, curves=curves if seed < 5 else {})
            digest = hashlib.sha256(key.encode()).hexdigest()
            runs.append(replace(run, result={**run.result, "weights_sha256": digest}, mlflow_run=digest[:32]))
    page = render(make_study(arms, claims=DEPTH_CLAIMS), runs, about=ABOUT)
    assert len(page.encode()) < most * 1e6


def test_long_names_are_cut():
    assert len(clean("long" * 2500)) == 200
    assert clean("a\tb\u200b\ud800c") == "a bc"


def test_anchors_are_safe_and_differ():
    assert anchor("run", "0a1b") == "run-0a1b"
    assert anchor("a<b") != anchor("a>b")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", anchor("cell", "</script>", "\u202e"))
