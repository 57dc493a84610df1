"""The page in a real browser, opened from disk: drawn, sortable, filterable, and silent."""

import base64
import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import digits, imagenet_like, make_arm, make_runs, make_study, paper_like
from test_page import HOSTILE, hostile, unfinished

from models.spec import Network
from orchestrator.runs import Run
from orchestrator.studies import RecordedStudy
from reports.page import render

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and not os.environ.get("CI"),
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    assert CHROMIUM, "CI is set, but chromium is not installed"
    assert DRIVER, "CI is set, but chromedriver is not installed"
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--window-size=1280,900",
            f"--user-data-dir={profile}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        yield browser
        browser.quit()


@dataclass(frozen=True)
class Opened:
    """A page that has been drawn, and what the browser said meanwhile."""

    driver: webdriver.Chrome
    address: str

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def click(self, selector: str) -> None:
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.driver.execute_script("arguments[0].click()", element)

    def texts(self, selector: str) -> list[str]:
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(each => each.textContent.trim())")

    def wait(self, condition: str) -> None:
        WebDriverWait(self.driver, 30).until(lambda browser: browser.execute_script(f"return {condition}"))

    def reach_for(self, figure: str) -> None:
        """As a reader whose pointer comes to a chart; returns when plotly has drawn the whole figure."""
        self.run(f"document.querySelector('#{figure} .chart').dispatchEvent(new Event('pointerenter'))")
        self.wait(f"[...document.querySelectorAll('#{figure} .chart')].every(each => each.matches('.live'))")

    def saved(self, selector: str) -> tuple[str, str]:
        """Name and text of the file that a button makes."""
        self.run(
            "(() => {window.made = [];"
            "URL.createObjectURL = blob => {made.push(blob); return 'blob:null/0'};"
            "HTMLAnchorElement.prototype.click = function () {made.push(this.download)}})()"
        )
        self.click(selector)
        self.wait("window.made.length === 2")
        text = self.driver.execute_async_script("made[0].text().then(arguments[0])")
        return self.run("made[1]"), text

    def requests(self) -> list[str]:
        """Every address that was asked for since the last look, but for the page itself and its own data."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url.split("#")[0] != self.address and not url.startswith(("data:", "blob:"))]

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def opened(driver: webdriver.Chrome, folder: Path, source: str, width: int = 1280, place: str = "") -> Opened:
    file = folder / "page.html"
    file.write_text(source, encoding="utf-8")
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get_log("browser")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.get(f"{file.as_uri()}{place}")
    return Opened(driver, file.as_uri())


@pytest.fixture
def demo(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[Opened]:
    page = opened(driver, tmp_path, render(*digits(), about={"ablate": "0.1.0"}))
    yield page
    assert page.errors() == []
    assert page.requests() == []


@pytest.fixture
def depth(driver: webdriver.Chrome, tmp_path: Path) -> Iterator[Opened]:
    page = opened(driver, tmp_path, render(*paper_like(), about={"ablate": "0.1.0"}))
    yield page
    assert page.errors() == []
    assert page.requests() == []


def test_drawings_are_there_before_plotly_is(demo: Opened):
    """And nothing moves when a chart takes the place of its drawing."""
    assert demo.run("typeof window.Plotly") == "undefined"
    assert demo.run("[...document.querySelectorAll('.chart > svg')].every(each => each.clientHeight > 100)")
    boxes = "JSON.stringify([...document.querySelectorAll('.chart')].map(each => each.getBoundingClientRect()))"
    before = demo.run(boxes)
    demo.reach_for("curves")
    assert demo.run("window.Plotly.version")
    assert demo.run(boxes) == before
    assert demo.run(
        "[...document.querySelectorAll('.chart > svg')].every(each => getComputedStyle(each).visibility === 'hidden')"
    )


def test_charts_offer_nothing_to_share(demo: Opened):
    demo.reach_for("curves")
    assert demo.run("document.querySelectorAll('.chart svg.main-svg').length") >= 4
    assert "Share" not in demo.run("document.body.innerText")
    assert demo.run("document.querySelectorAll('.modebar-btn').length") == 0


def test_a_chart_stands_where_its_drawing_stood(depth: Opened):
    """Axes to the pixel, so that the eye has nothing to find again."""
    depth.reach_for("figure-6")
    drawn = (
        "document.querySelector('[data-chart=figure-6-panel-2] > svg > path:nth-of-type(2)').getBoundingClientRect()"
    )
    live = "document.querySelector('#figure-6-panel-2 .nsewdrag').getBoundingClientRect()"
    for side in ("left", "right", "top", "bottom"):
        assert abs(depth.run(f"{drawn}.{side}") - depth.run(f"{live}.{side}")) < 1.5, side


def test_a_table_sorts_both_ways(demo: Opened):
    column = "#arms-rows thead tr:last-child th:nth-child(3)"
    values = "#arms-rows tbody td:nth-child(3) a"
    demo.click(f"{column} button")
    rising = [float(each) for each in demo.texts(values)]
    assert rising == sorted(rising)
    assert demo.run(f"document.querySelector('{column}').getAttribute('aria-sort')") == "ascending"
    demo.click(f"{column} button")
    assert [float(each) for each in demo.texts(values)] == sorted(rising, reverse=True)
    assert demo.run("document.querySelectorAll('#arms-rows [aria-sort=descending]').length") == 1


def test_the_empty_sort_last(depth: Opened):
    """Rows that the paper quotes have no measurement and never come first."""
    column = "#table-6-rows thead tr:last-child th:nth-child(6) button"
    for _ in range(2):
        depth.click(column)
        methods = depth.texts("#table-6-rows tbody td:first-child")
        assert set(methods[:6]) == {"ResNet"}


def test_filters(demo: Opened):
    demo.driver.find_element(By.ID, "arms-filter").send_keys("plain")
    assert demo.run("document.querySelectorAll('#arms-rows tbody tr').length") == 4
    demo.driver.find_element(By.ID, "runs-filter").send_keys("resnet-56-C")
    assert demo.run("document.querySelectorAll('#runs-rows tbody tr').length") == 3
    assert demo.texts("#runs-pager [data-place]") == ["1 to 3 of 3"]


def test_runs_are_found_by_the_beginning_of_a_digest(demo: Opened):
    """And not by digits somewhere in it, which are everywhere."""
    key = demo.texts("#runs-rows tbody tr:nth-child(7) td.code:nth-last-child(2)")[0]
    box = demo.driver.find_element(By.ID, "runs-filter")
    box.send_keys(key[:8])
    assert demo.texts("#runs-rows td.code:nth-last-child(2)") == [key]
    box.clear()
    box.send_keys(key[3:11])
    assert demo.texts("#runs-rows td.code:nth-last-child(2)") == []


def test_runs_sort_and_texts_sort_as_people_count(demo: Opened):
    demo.click("#runs-rows thead th:nth-child(4) button")
    values = [float(each) for each in demo.texts("#runs-rows tbody td:nth-child(4)")]
    assert values == sorted(values)
    assert len(values) == 48
    demo.click("#runs-rows thead th:nth-child(1) button")
    assert demo.texts("#runs-rows tbody td:nth-child(1)")[:4] == [
        *[f"digits-plain-20.s{seed}" for seed in range(3)],
        "digits-plain-32.s0",
    ]


def test_a_number_tells_what_is_known_of_it_and_leads_to_its_runs(depth: Opened):
    depth.click("#table-6-rows tbody a.value")
    card = depth.run("document.getElementById('cell-card').innerText")
    assert "cifar10-resnet-20-A" in card
    assert "8.75 ± 0.13 (5)" in card
    assert "8.59 to 8.91" in card
    assert "+0.00\n8.75 against the paper's 8.75" in card
    assert depth.texts("#cell-card li a") == [f"cifar10-resnet-20-A.s{seed}" for seed in range(5)]
    assert depth.texts("#cell-card li b") == ["8.75", "8.67", "8.83", "8.59", "8.91"]
    depth.click("#cell-card [data-show]")
    assert depth.texts("#runs-rows tbody td:first-child") == [f"cifar10-resnet-20-A.s{seed}" for seed in range(5)]
    assert depth.texts("#runs-only [data-count]") == ["5 runs"]
    assert "show=cell-table-6-cifar10-resnet-20-A-last_test_error" in depth.run("location.hash")
    depth.click("#runs-only button")
    assert depth.run("document.querySelectorAll('#runs-rows tbody tr').length") == 55


def test_the_card_closes_by_the_keyboard_and_gives_the_focus_back(depth: Opened):
    link = depth.driver.find_element(By.CSS_SELECTOR, "#table-6-rows tbody a.value")
    link.send_keys(Keys.ENTER)
    assert depth.run("document.getElementById('cell-card').matches(':popover-open')")
    assert depth.run("document.getElementById('cell-card').contains(document.activeElement)")
    depth.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not depth.run("document.getElementById('cell-card').matches(':popover-open')")
    assert depth.run("document.activeElement.className") == "value"


def test_claims_by_verdict(demo: Opened):
    demo.click("[data-verdict=undecided]")
    assert demo.run("[...document.querySelectorAll('.claim')].filter(each => each.offsetHeight).length") == 1
    assert demo.run("location.hash") == "#verdict=undecided"
    demo.click("[data-verdict='']")
    assert demo.run("[...document.querySelectorAll('.claim')].filter(each => each.offsetHeight).length") == 11
    assert demo.run("location.hash") == ""


def test_dark_and_back(demo: Opened):
    """The page, its drawings, and the charts in their place."""
    demo.reach_for("curves")
    ground = "getComputedStyle(document.body).backgroundColor"
    drawing = "getComputedStyle(document.querySelector('.chart > svg path.line')).stroke"
    chart = "document.querySelector('.chart .scatterlayer .lines path.js-line').style.stroke"
    light = [demo.run(each) for each in (ground, drawing, chart)]
    demo.click("#theme")
    demo.wait(f"{chart} !== '{light[2]}'")
    dark = [demo.run(each) for each in (ground, drawing, chart)]
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert demo.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    demo.click("#theme")
    demo.wait(f"{chart} === '{light[2]}'")
    assert [demo.run(each) for each in (ground, drawing, chart)] == light


def test_axes_and_the_papers_curves(depth: Opened):
    """A button that changes a figure brings its chart; what is hidden is hidden in the drawing too."""
    chart = "document.getElementById('figure-6-panel-1')"
    depth.click("[data-view='Free axes']")
    depth.wait(f"{chart}.layout && {chart}.layout.yaxis.range[1] > 20")
    depth.click("[data-view='As in the paper']")
    depth.wait(f"{chart}.layout.yaxis.range[1] === 20")
    depth.click("[data-view='Log']")
    depth.wait(f"{chart}.layout.yaxis.type === 'log'")
    shown = f"{chart}.data.filter(each => each.meta.role === 'paper' && each.visible).length"
    assert depth.run(shown) == 8
    depth.click("[data-role=paper]")
    depth.wait(f"{shown} === 0")
    assert depth.run("getComputedStyle(document.querySelector('#figure-6 .chart > svg .paper')).display") == "none"
    assert depth.run("location.hash") == "#figure-6.y=log&figure-6.hide=paper"


# Places and states in the address


def test_a_link_to_a_number_lights_it(driver: webdriver.Chrome, tmp_path: Path):
    cell = "cell-table-6-cifar10-resnet-110-A-last_test_error"
    page = opened(driver, tmp_path, render(*paper_like(), about={}), place=f"#{cell}")
    assert page.run("[...document.querySelectorAll('.lit')].map(each => each.id)") == [cell]
    assert page.run(f"document.getElementById('{cell}').getBoundingClientRect().top") < 900
    assert page.errors() == []


def test_a_link_to_a_run_finds_it_on_its_page(driver: webdriver.Chrome, tmp_path: Path):
    study, runs = many(250)
    page = opened(driver, tmp_path, render(study, runs, about={}), place=f"#run-{runs[233].key}")
    assert page.texts("#runs-rows tr.lit td:first-child") == [runs[233].name]
    assert page.texts("#runs-pager [data-place]") == ["201 to 250 of 250"]
    page.click("#runs-pager [data-turn=back]")
    assert page.texts("#runs-pager [data-place]") == ["101 to 200 of 250"]
    page.run(f"location.hash = 'run-{runs[3].key}'")
    page.wait(f"document.querySelector('tr.lit') && document.querySelector('tr.lit').id === 'run-{runs[3].key}'")
    assert page.errors() == []


def test_a_state_is_restored(driver: webdriver.Chrome, tmp_path: Path):
    place = "#sort=-test-error-last-iterate&filter=plain&arms.sort=-layers&y=log&verdict=undecided&at=runs"
    page = opened(driver, tmp_path, render(*digits(), about={}), place=place)
    values = [float(each) for each in page.texts("#runs-rows tbody td:nth-child(4)")]
    assert values == sorted(values, reverse=True)
    assert len(values) == 12
    assert page.texts("#arms-rows tbody td:nth-child(2)")[:4] == ["56"] * 4
    assert page.run("[...document.querySelectorAll('.claim')].filter(each => each.offsetHeight).length") == 1
    assert page.run("document.querySelector('[data-view=Log]').getAttribute('aria-pressed')") == "true"
    page.run("document.getElementById('curves').scrollIntoView()")
    page.wait(
        "document.querySelector('.chart.live') && document.getElementById('curves-panel-1').layout.yaxis.type === 'log'"
    )
    page.driver.execute_script("location.hash = ''")
    page.wait("document.querySelectorAll('#runs-rows tbody tr').length === 48")
    assert page.errors() == []


def test_the_runs_of_an_arm_from_a_claim(demo: Opened):
    demo.click("#claim-DEG-01 [data-show]")
    assert demo.texts("#runs-rows tbody td:first-child") == [f"digits-plain-56.s{seed}" for seed in range(3)]
    demo.driver.refresh()
    assert demo.run("document.querySelectorAll('#runs-rows tbody tr').length") == 3


def many(count: int) -> tuple[RecordedStudy, list[Run]]:
    """Runs whose columns are packed, in more arms than one page of a table has rows."""
    arms = [make_arm(Network(depth=20), name=f"variant-{number}", seeds=2) for number in range(count // 2)]
    runs = [run for number, arm in enumerate(arms) for run in make_runs(arm, 8 + number / 100, 1)]
    runs = [replace(run, result={**run.result, "weights_sha256": f"{at:064x}"}) for at, run in enumerate(runs, 1)]
    return make_study(arms), [replace(runs[0], result={**runs[0].result, "weights_sha256": None}), *runs[1:]]


def test_what_the_script_unpacks_and_draws_is_what_was_recorded(driver: webdriver.Chrome, tmp_path: Path):
    study, runs = many(250)
    page = opened(driver, tmp_path, render(study, runs, about={}))
    told = json.loads(page.saved("[data-save='runs.json']")[1])
    assert [each["trial"] for each in told] == [run.name for run in runs]
    assert [each["key"] for each in told] == [run.key for run in runs]
    assert [each["sha256 of the weights"] for each in told] == [run.result["weights_sha256"] for run in runs]
    assert [each["test error, last iterate %"] for each in told] == [
        round(run.result["last_test_error"], 4) for run in runs
    ]
    first, later = "#runs-rows tbody tr:nth-child(2)", "#runs-rows tbody tr:nth-child(1)"
    shape = "document.querySelector({}).outerHTML.replace(/[0-9a-f]+/g, '#').replace(/\\n/g, '')"
    as_served = page.run(shape.format(json.dumps(first)))
    page.click("#runs-pager [data-turn=next]")
    assert page.run(shape.format(json.dumps(later))) == as_served
    row, other = "#arms-rows tbody tr:nth-child(2)", "#arms-rows tbody tr:nth-child(1)"
    as_served = page.run(shape.format(json.dumps(row)))
    page.click("#arms-pager [data-turn=next]")
    assert page.run(shape.format(json.dumps(other))) == as_served
    assert page.texts("#arms-rows tbody td:first-child")[0] == "variant-100"
    assert page.errors() == []


# Files


def test_a_table_as_csv_has_its_numbers_apart(depth: Opened):
    name, text = depth.saved("[data-save='table.csv'][data-of=table-6]")
    assert name == "table-6.csv"
    rows = list(csv.DictReader(io.StringIO(text)))
    (row,) = [each for each in rows if each["The paper: layers"] == "20"]
    measured = "Measured, the paper's recipe: last test error % (n)"
    assert row["The paper: method"] == "ResNet"
    assert float(row[f"{measured}, mean"]) == pytest.approx(8.75)
    assert row[f"{measured}, n"] == "5"
    assert len(row[f"{measured}, runs"].split()) == 5
    assert row["Computed: parameters"] == "269722"


def test_a_table_as_latex_and_json(depth: Opened):
    _, latex = depth.saved("[data-save='table.tex'][data-of=table-6]")
    assert "\\toprule" in latex
    assert "\\multicolumn{4}{c}{The paper}" in latex
    assert "8.75 $\\pm$ 0.13 (5)" in latex
    _, text = depth.saved("[data-save='table.json'][data-of=table-6]")
    table = json.loads(text)
    cells = [each for row in table["rows"] for each in row["entries"] if each.get("metric") == "last_test_error"]
    assert [round(each["value"], 2) for each in cells] == [8.75, 7.51, 7.17, 6.97, 6.61, 7.93]
    assert all(len(each["runs"]) == each["n"] == 5 for each in cells)


def test_a_figure_as_svg_and_csv(depth: Opened):
    """The drawing has its own colours, and what the reader has hidden is not in it."""
    name, text = depth.saved("[data-save='figure.svg']")
    assert name == "figure-6.svg"
    drawing = ElementTree.fromstring(text)
    assert len(drawing.findall("{http://www.w3.org/2000/svg}svg")) == 3
    assert "var(" not in text
    assert 'class="paper"' in text
    depth.click("[data-role=paper]")
    assert 'class="paper"' not in depth.saved("[data-save='figure.svg']")[1]
    rows = list(csv.DictReader(io.StringIO(depth.saved("[data-save='figure.csv']")[1])))
    ends = {row["line"]: row for row in rows if row["panel"] == "figure-6-panel-2" and row["x"] == "64000"}
    assert float(ends["ResNet-20 A, test"]["value"]) == pytest.approx(8.75, abs=0.01)


# Readers of every kind


AXE = Path(sys.prefix) / "npm/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def barriers(page: Opened) -> list[str]:
    """What axe finds, as `rule: where`."""
    page.driver.execute_script(AXE.read_text(encoding="utf-8"))
    run = (
        "axe.run(document, {runOnly: arguments[0]}).then(arguments[1], error => arguments[1]({failed: String(error)}))"
    )
    found = page.driver.execute_async_script(run, RULES)
    assert "failed" not in found, found
    return [
        f"{each['id']}: {node['target']} {node['html'][:120]}" for each in found["violations"] for node in each["nodes"]
    ]


@pytest.mark.skipif(not AXE.exists() and not os.environ.get("CI"), reason="needs axe-core; .ci/setup installs it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like, unfinished])
def test_nobody_meets_a_barrier(driver: webdriver.Chrome, tmp_path: Path, made, scheme: str):
    """In light and in dark, with drawings and with charts, with what is folded unfolded, and with a card open."""
    assert AXE.exists(), "CI is set, but axe-core is not installed; .ci/setup does"
    study, runs = made()
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page = opened(driver, tmp_path, render(study, runs, about={"mlflow": "http://127.0.0.1:5000"}))
    driver.set_script_timeout(120)
    assert barriers(page) == []
    page.run("document.querySelectorAll('details').forEach(each => {each.open = true})")
    page.reach_for(page.run("document.querySelector('figure').id"))
    page.run("(document.querySelector('a.value') || document.body).click()")
    assert barriers(page) == []
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_page_without_scripts_is_read_all_the_same(driver: webdriver.Chrome, tmp_path: Path):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = opened(driver, tmp_path, render(*paper_like(), about={}))
        texts = driver.find_element(By.TAG_NAME, "main").text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for told in ("55 of 55 trials finished", "8.75 ± 0.13 (5)", "cifar10-plain-20.s0", "RES-06"):
        assert told in texts
    assert "Save" not in texts
    assert "LaTeX" not in texts
    assert page.errors() == []


def test_paper_has_the_drawings_not_the_charts(depth: Opened):
    """As vectors, in light colours even of a dark page, with what is folded unfolded and with the names of places."""
    depth.reach_for("figure-6")
    depth.click("#theme")
    depth.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = "getComputedStyle(document.querySelector({})).{}"
    assert depth.run(seen.format("'.chart > svg'", "visibility")) == "visible"
    assert depth.run(seen.format("'.chart .plot'", "display")) == "none"
    assert depth.run(seen.format("'.bar'", "display")) == "none"
    assert depth.run(seen.format("'body'", "backgroundColor")) == "rgb(255, 255, 255)"
    assert depth.run(seen.format("'.chart > svg text'", "fill")) == "rgb(58, 58, 58)"
    assert depth.run("document.querySelector('.claim .rule').getBoundingClientRect().height") > 0
    mark = depth.run("getComputedStyle(document.querySelector('#table-6 .here'), '::after').content")
    assert "attr(href)" in mark or "#table-6" in mark
    paper = depth.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    depth.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    depth.click("#theme")
    assert base64.b64decode(paper).startswith(b"%PDF")


def test_what_moves_stands_still_for_who_asks(driver: webdriver.Chrome, tmp_path: Path):
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    page = opened(driver, tmp_path, render(*digits(), about={}))
    assert page.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_first_tab_skips_to_the_content_and_the_focus_is_seen(demo: Opened):
    demo.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert demo.run("document.activeElement.className") == "skip"
    assert demo.run("document.activeElement.getBoundingClientRect().top") >= 0
    assert demo.run("getComputedStyle(document.activeElement).outlineWidth") == "3px"


@pytest.mark.parametrize("made", [digits, paper_like, imagenet_like])
def test_a_phone_scrolls_in_one_direction(driver: webdriver.Chrome, tmp_path: Path, made):
    page = opened(driver, tmp_path, render(*made(), about={}), width=390)
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("[...document.querySelectorAll('.chart')].every(each => each.offsetWidth <= 390)")
    page.reach_for(page.run("document.querySelector('figure').id"))
    page.run("document.querySelectorAll('details').forEach(each => {each.open = true})")
    page.click("a.value")
    assert page.run("document.documentElement.scrollWidth") <= 390
    card = "document.getElementById('cell-card').getBoundingClientRect()"
    assert page.run(f"{card}.left") >= 0
    assert page.run(f"{card}.right") <= 390
    assert page.errors() == []


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_do_nothing(driver: webdriver.Chrome, tmp_path: Path, name: str):
    """No dialog, no request, no error, no link out of the page: in tables, drawings, charts, cards and files."""
    page = opened(driver, tmp_path, render(*hostile(name), about={"command": name}))
    for figure in page.run("[...document.querySelectorAll('figure')].map(each => each.id)"):
        page.reach_for(figure)
    page.click("#arms-rows a.value")
    page.driver.find_element(By.ID, "runs-filter").send_keys("s0")
    page.click("#runs-rows thead th:nth-child(1) button")
    assert page.run("[...document.links].every(each => each.getAttribute('href').startsWith('#'))")
    assert page.run("document.querySelectorAll('svg a').length") == 0
    assert page.run("document.images.length") == 0
    for kind in ("csv", "tex", "json"):
        _, text = page.saved(f"[data-save='table.{kind}'][data-of=arms]")
        assert not re.search("[\u202a-\u202e\u2028\u2029\x00-\x08]", text)
    cells = [cell for row in csv.reader(io.StringIO(page.saved("[data-save='runs.csv']")[1])) for cell in row]
    cells += [
        cell for row in csv.reader(io.StringIO(page.saved("[data-save='table.csv'][data-of=arms]")[1])) for cell in row
    ]
    cells += [cell for row in csv.reader(io.StringIO(page.saved("[data-save='figure.csv']")[1])) for cell in row]
    assert not [each for each in cells if each[:1] in tuple("=+@\t\r")]
    ElementTree.fromstring(page.saved("[data-save='figure.svg']")[1])
    assert page.errors() == []
    assert page.requests() == []


def test_latex_of_hostile_names_has_no_command_of_theirs(driver: webdriver.Chrome, tmp_path: Path):
    study, runs = hostile("\\input{/etc/passwd} & 100 % of $x_1$ ~ ^ # {")
    page = opened(driver, tmp_path, render(study, runs, about={}))
    _, text = page.saved("[data-save='table.tex'][data-of=arms]")
    assert "\\textbackslash{}input\\{/etc/passwd\\} \\& 100 \\% of \\$x\\_1\\$" in text
    assert "\\input" not in text
