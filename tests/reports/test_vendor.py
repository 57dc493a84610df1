"""The one library of the page is the one that plotly itself carries, unchanged."""

import hashlib
from importlib.resources import files

from plotly.offline import get_plotlyjs_version

VENDOR = files("reports.page").joinpath("vendor")


def test_the_bundle_is_what_its_digest_says():
    digest, name = VENDOR.joinpath("plotly-basic.min.js.sha256").read_text().split()
    assert hashlib.sha256(VENDOR.joinpath(name).read_bytes()).hexdigest() == digest


def test_the_bundle_has_the_version_of_plotly():
    version = VENDOR.joinpath("VERSION").read_text().strip()
    assert version == get_plotlyjs_version()
    assert f"plotly.js (basic - minified) v{version}" in VENDOR.joinpath("plotly-basic.min.js").read_text()[:300]


def test_its_licence_is_beside_it():
    assert VENDOR.joinpath("LICENSE").read_text().startswith("MIT License")
