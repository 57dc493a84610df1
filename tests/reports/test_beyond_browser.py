"""The index and the page of a trial in a real browser, opened from disk: drawn without a script, and silent."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import write_ledger
from selenium import webdriver
from selenium.webdriver.common.by import By
from synthetic import digits, imagenet_like, paper_like
from test_browser import AXE, Opened, barriers, driver, pytestmark  # noqa: F401 - a fixture, and when to skip
from test_page import HOSTILE, hostile

from orchestrator.ledger import Ledger
from orchestrator.studies import every_study
from reports.index import index_of, read_studies
from reports.page.index import index_page
from reports.page.trial import trial_page
from reports.trials import askers, trial_facts

ABOUT = {"command": "ablate report --all", "version": "0.1.0"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three studies, and the page of one trial."""
    results, folder = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("site")
    for made in (digits, paper_like, imagenet_like):
        write_ledger(results, *made())
    studies, _ = every_study(results)
    ledger = Ledger(results)
    recorded = read_studies(studies, ledger)
    run = recorded[1][1][0]
    trials = {run.key: f"{run.key}.html"}
    pages = {study.name: f"{study.name}.html" for study in studies}
    index = index_page(index_of(recorded), about=ABOUT, pages=pages, trial_pages=trials)
    (folder / "index.html").write_text(index, encoding="utf-8")
    asked_by = askers(studies)[run.key]
    log = results / "trials" / run.key / "attempts" / "0001.log"
    log.write_text("2026-01-05 10:00:00  iteration 150 of 150, test error 5.13 %, a line as long as they are\n" * 30)
    facts = trial_facts(run, asked_by[0][1], ledger, asked_by)
    (folder / "trial.html").write_text(
        trial_page(facts, about=ABOUT, studies=pages, index="index.html"), encoding="utf-8"
    )
    return folder


def look(driver: webdriver.Chrome, file: Path, width: int = 1280) -> Opened:  # noqa: F811
    driver.get("about:blank")
    driver.get_log("performance")
    driver.get_log("browser")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(file.as_uri())
    return Opened(driver, file.as_uri())


@pytest.fixture(params=["index", "trial"])
def page(driver: webdriver.Chrome, site: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:  # noqa: F811
    found = look(driver, site / f"{request.param}.html")
    yield found
    assert found.errors() == []
    assert found.requests() == []


def test_dark_and_back(page: Opened) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.click("#theme")
    assert page.run(ground) != light
    assert page.run("document.getElementById('theme').getAttribute('aria-pressed')") == "true"
    page.click("#theme")
    assert page.run(ground) == light


@pytest.mark.skipif(not AXE.exists() and not os.environ.get("CI"), reason="needs axe-core, which the set-up installs")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_reader_is_kept_out(page: Opened, scheme: str) -> None:
    """axe finds nothing, with what is folded unfolded."""
    if scheme == "dark":
        page.click("#theme")
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert barriers(page) == []
    if scheme == "dark":
        page.click("#theme")


@pytest.mark.parametrize("name", ["index", "trial"])
def test_a_phone_scrolls_in_one_direction(driver: webdriver.Chrome, site: Path, name: str) -> None:  # noqa: F811
    page = look(driver, site / f"{name}.html", width=390)
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert page.errors() == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_title_does_not_widen_the_page(driver: webdriver.Chrome, site: Path, width: int) -> None:  # noqa: F811
    page = look(driver, site / "trial.html", width=width)
    page.run("document.querySelector('.bar strong').textContent = 'A'.repeat(3000)")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_the_index_leads_to_a_trial_and_back(driver: webdriver.Chrome, site: Path) -> None:  # noqa: F811
    page = look(driver, site / "index.html")
    address = page.driver.find_element(By.CSS_SELECTOR, "dl.seeds a").get_attribute("href") or ""
    assert Path(address).stem in (site / "trial.html").read_text()
    look(driver, site / "trial.html").click(".trail a")
    assert driver.current_url.endswith("/index.html")


def test_a_claim_can_be_linked_to(driver: webdriver.Chrome, site: Path) -> None:  # noqa: F811
    driver.get(f"{(site / 'index.html').as_uri()}#claim-DEG-01")
    ground = driver.execute_script(
        "return getComputedStyle(document.querySelector('#claim-DEG-01 td')).backgroundColor"
    )
    other = driver.execute_script("return getComputedStyle(document.querySelector('#claim-DEG-02 td')).backgroundColor")
    assert ground != other


def test_hostile_names_do_nothing(driver: webdriver.Chrome, tmp_path: Path) -> None:  # noqa: F811
    for name in HOSTILE:
        study, runs = hostile(name)
        index = index_of([(study, runs)], [name])
        file = tmp_path / "index.html"
        file.write_text(index_page(index, about={"command": name}, pages={name: name}, trial_pages={}), "utf-8")
        page = look(driver, file)
        assert page.run("document.images.length") == 0
        assert page.run("[...document.links].every(each => new URL(each.href).protocol === 'file:')")
        assert page.errors() == []
        assert page.requests() == []
