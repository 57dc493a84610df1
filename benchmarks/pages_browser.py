"""What a reader waits for, measured in Chromium: a new browser for each page, so that nothing is there already."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

WATCH = """
window.watched = { lcp: null, tasks: [], chart: null };
new PerformanceObserver((list) => list.getEntries().forEach((each) => { watched.lcp = each.startTime; }))
  .observe({ type: "largest-contentful-paint", buffered: true });
new PerformanceObserver((list) => list.getEntries().forEach((each) => watched.tasks.push(each)))
  .observe({ type: "longtask", buffered: true });
window.painted = (then) => requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => then(performance.now());
  channel.port2.postMessage(null);
});
const look = () => {
  if (document.querySelector("figure .chart svg path, .js-plotly-plot .scatterlayer path")) {
    painted((at) => { watched.chart = at; });
  } else {
    requestAnimationFrame(look);
  }
};
look();
"""
"""Runs before the page does. A chart is there after the frame in which one of its lines is."""

BLOCKED = "return watched.tasks.reduce((sum, each) => sum + Math.max(0, each.duration - 50), 0)"
"""Total blocking time: what tasks take beyond 50 ms each, from the start of the navigation on."""

CLICKED = """
const [selector, done] = arguments;
const began = performance.now();
document.querySelector(selector).click();
painted((at) => done(at - began));
"""

FILTERED = """
const [selector, words, done] = arguments;
const input = document.querySelector(selector);
const began = performance.now();
input.value = words;
input.dispatchEvent(new Event("input", { bubbles: true }));
painted((at) => done(at - began));
"""

REACHED = """
const done = arguments[0];
const chart = document.querySelector("figure .chart");
chart.scrollIntoView({ block: "center" });
painted((began) => {
  const wait = () => chart.matches(".live") ? painted((at) => done(at - began)) : requestAnimationFrame(wait);
  chart.dispatchEvent(new Event("pointerenter"));
  wait();
});
"""
"""From a pointer that comes to the first drawing to the live chart in its place."""

SORTED = ("#runs-rows thead th:nth-child({}) button", (1, 4, 5, 6, 8))
FILTER = ("#runs-filter", ("110", "resnet", "s1", ""))


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A new Chromium without a window, 1280 by 900."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--window-size=1280,900", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def loaded(driver: webdriver.Chrome, page: Path) -> dict[str, float]:
    """Milliseconds from the start of the navigation, and what stands in the document once it rests."""
    driver.set_script_timeout(120)
    driver.set_page_load_timeout(300)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    driver.get(page.as_uri())
    WebDriverWait(driver, 300, 0.2).until(lambda each: each.execute_script("return watched.chart !== null"))
    driver.execute_async_script("setTimeout(arguments[0], 1000)")
    return {
        "LCP ms": driver.execute_script("return watched.lcp"),
        "first chart ms": driver.execute_script("return watched.chart"),
        "blocked ms": driver.execute_script(BLOCKED),
        "DOM elements": driver.execute_script("return document.querySelectorAll('*').length"),
    }


def used(driver: webdriver.Chrome) -> dict[str, float]:
    """Milliseconds from a reader's act to the next paint, on one of our pages that is loaded."""
    head, columns = SORTED
    sorts = [driver.execute_async_script(CLICKED, head.format(column)) for column in columns for _ in range(2)]
    field, words = FILTER
    filters = [driver.execute_async_script(FILTERED, field, each) for each in words]
    return {
        "sort ms": median(sorts),
        "slowest sort ms": max(sorts),
        "filter ms": median(filters),
        "live chart ms": driver.execute_async_script(REACHED),
    }


def version() -> str:
    with browser() as driver:
        return f"Chromium {driver.capabilities['browserVersion']}"
