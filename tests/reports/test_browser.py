"""The page in a real browser, opened from disk: drawn, sortable, filterable, and silent."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import digits, paper_like
from test_page import HOSTILE, hostile

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

    def requests(self) -> list[str]:
        """Every address that was asked for since the last look, but for the page itself and its own data."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url.split("#")[0] != self.address and not url.startswith(("data:", "blob:"))]

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def opened(driver: webdriver.Chrome, folder: Path, source: str, width: int = 1280) -> Opened:
    file = folder / "page.html"
    file.write_text(source, encoding="utf-8")
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get_log("browser")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.get(file.as_uri())
    drawn = (
        "return [...document.querySelectorAll('.chart')].every(each => each.querySelector('svg .scatterlayer path'))"
    )
    WebDriverWait(driver, 30).until(lambda browser: browser.execute_script(drawn))
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


def test_charts_are_drawn_and_offer_nothing_to_share(demo: Opened):
    assert demo.run("document.querySelectorAll('.chart svg.main-svg').length") >= 4
    assert "Share" not in demo.run("document.body.innerText")
    assert demo.run("document.querySelectorAll('.modebar-btn').length") == 0


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
    demo.driver.find_element(By.CSS_SELECTOR, "[data-filter=arms-rows]").send_keys("plain")
    assert len(demo.run("[...document.querySelectorAll('#arms-rows tbody tr')].filter(each => !each.hidden)")) == 4
    demo.driver.find_element(By.ID, "runs-filter").send_keys("resnet-56-C")
    assert demo.run("document.querySelectorAll('#runs-rows tbody tr').length") == 3
    assert demo.texts("#runs-place") == ["1 to 3 of 3"]


def test_runs_sort(demo: Opened):
    demo.click("#runs-rows thead th:nth-child(4) button")
    values = [float(each) for each in demo.texts("#runs-rows tbody td:nth-child(4)")]
    assert values == sorted(values)
    assert len(values) == 48


def test_a_number_leads_to_its_runs(demo: Opened):
    demo.click("#depth-by-shortcut-rows tbody a.value")
    lit = demo.texts("#runs-rows tr.lit td:first-child")
    assert lit == ["digits-plain-20.s0", "digits-plain-20.s1", "digits-plain-20.s2"]
    assert demo.run("location.hash").startswith("#run-")


def test_dark_and_back(demo: Opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    line = "document.querySelector('.chart .scatterlayer .lines path.js-line').style.stroke"
    light = (demo.run(ground), demo.run(line))
    demo.click("#theme")
    dark = (demo.run(ground), demo.run(line))
    assert dark[0] != light[0]
    assert demo.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    demo.click("#theme")
    assert demo.run(ground) == light[0]


def test_axes_and_the_papers_curves(depth: Opened):
    chart = "document.getElementById('figure-6-panel-1')"
    assert depth.run(f"{chart}.layout.yaxis.range") == [0, 20]
    depth.click("[data-view='Free axes']")
    assert depth.run(f"{chart}.layout.yaxis.range")[1] > 20
    depth.click("[data-view='Log']")
    assert depth.run(f"{chart}.layout.yaxis.type") == "log"
    shown = f"{chart}.data.filter(each => each.meta.role === 'paper' && each.visible).length"
    assert depth.run(shown) == 8
    depth.click("[data-role=paper]")
    assert depth.run(shown) == 0


@pytest.mark.parametrize("made", [digits, paper_like])
def test_a_phone_scrolls_in_one_direction(driver: webdriver.Chrome, tmp_path: Path, made):
    page = opened(driver, tmp_path, render(*made(), about={}), width=390)
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.run("[...document.querySelectorAll('.chart')].every(each => each.offsetWidth <= 390)")
    assert page.errors() == []


def test_hostile_names_do_nothing(driver: webdriver.Chrome, tmp_path: Path):
    """No dialog, no request, no error, no link out of the page; and what a spreadsheet would run is disarmed."""
    for name in HOSTILE:
        page = opened(driver, tmp_path, render(*hostile(name), about={"command": name}))
        assert page.run("[...document.links].every(each => each.getAttribute('href').startsWith('#'))")
        assert page.run("document.images.length") == 0
        assert page.errors() == []
        assert page.requests() == []
