"""What every page shares: parts read from this folder, templates that escape, and a policy that lets nothing in."""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from reports.names import anchor, clean, prose, verbatim
from reports.provenance import hours

JSON: Mapping[str, Any] = {"allow_nan": False, "separators": (",", ":"), "sort_keys": True}


@cache
def part(name: str) -> str:
    """The text of a file of this folder."""
    return files("reports.page").joinpath(name).read_text(encoding="utf-8")


@cache
def script(name: str) -> str:
    """A script to be written into a page; it may not contain what would end its element."""
    text = part(name)
    assert "</script" not in text.lower()
    return text


@cache
def bundle(names: tuple[str, ...]) -> str:
    """Several scripts as one, whose names are no one else's."""
    return "\n".join(["(() => {", '"use strict";', *[script(name) for name in names], "})();"])


def packed(text: str) -> str:
    """What few readers need, as base64 of gzip; equal texts give equal bytes."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()


@cache
def packed_script(name: str) -> str:
    """A script that is run only when it is wanted."""
    return packed(script(name))


def json_text(data: Any) -> str:
    """As the pages write it: short, in one order, without what JSON does not know."""
    return json.dumps(data, **JSON)


def policy(scripts: Iterable[str]) -> str:
    """Content security policy: these very scripts, and nothing from anywhere."""
    digests = [hashlib.sha256(text.encode()).digest() for text in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def environment() -> Environment:
    """Templates of this folder. Whatever they print is escaped, and a name that is not there is an error."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(part), trim_blocks=True, lstrip_blocks=True
    )
    made.policies["json.dumps_kwargs"] = JSON
    made.filters.update(clean=clean, prose=prose, verbatim=verbatim, hours=hours)
    made.globals.update(anchor=anchor)
    return made
