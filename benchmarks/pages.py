"""A page in a real browser: what it weighs, when it shows its first chart, how long it is deaf, how fast it sorts."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHART = ".chart > svg path, .js-plotly-plot .main-svg .scatterlayer path"
"""The first line of a chart: drawn in the page, or by plotly."""
WATCH = f"""
(function () {{
  window.bench = {{}};
  new PerformanceObserver(function (list) {{
    list.getEntries().forEach(function (each) {{ window.bench.lcp = each.startTime; }});
  }}).observe({{type: "largest-contentful-paint", buffered: true}});
  window.bench.blocked = 0;
  new PerformanceObserver(function (list) {{
    list.getEntries().forEach(function (each) {{ window.bench.blocked += Math.max(0, each.duration - 50); }});
  }}).observe({{type: "longtask", buffered: true}});
  var look = function () {{
    if (document.querySelector({json.dumps(CHART)})) {{
      requestAnimationFrame(function () {{ setTimeout(function () {{ window.bench.chart = performance.now(); }}); }});
    }} else requestAnimationFrame(look);
  }};
  requestAnimationFrame(look);
}})();
"""
SORT = """
var done = arguments[arguments.length - 1];
var buttons = document.querySelectorAll("#runs thead button");
if (!buttons.length) return done(null);
var began = performance.now();
buttons[Math.min(3, buttons.length - 1)].click();
requestAnimationFrame(function () { setTimeout(function () { done(performance.now() - began); }); });
"""


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A fresh one, without a profile: nothing is cached."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--window-size=1280,900", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        made = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            made.set_script_timeout(120)
            made.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
            made.get("about:blank")
            yield made
        finally:
            made.quit()


def opened(page: Path) -> dict[str, Any]:
    """Milliseconds from the beginning of the navigation, for one opening in a fresh browser."""
    with browser() as driver:
        driver.get(page.resolve().as_uri())
        driver.execute_async_script(
            "var done = arguments[0]; var wait = function () {"
            " if (window.bench.chart) setTimeout(done, 500); else setTimeout(wait, 20); }; wait();"
        )
        seen = driver.execute_script("return window.bench")
        return {
            "LCP": seen.get("lcp"),
            "first chart": seen["chart"],
            "blocked": seen["blocked"],
            "nodes": driver.execute_script("return document.getElementsByTagName('*').length"),
            "sort": driver.execute_async_script(SORT),
        }
