"""Columns that were packed are the same when they are unpacked, and shorter."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unpacking import unpacked

from reports.page.packing import FEW, packed

words = st.sampled_from(["a", "b", "0a", "ff", "", "long" * 9])
values = st.one_of(st.none(), st.integers(-9, 9), st.floats(0, 9).map(lambda each: round(each, 2)), words)
digests = st.one_of(st.none(), st.binary(min_size=8, max_size=8).map(bytes.hex))


@given(st.one_of(st.lists(values, max_size=300), st.lists(digests, max_size=200), st.lists(words, max_size=300)))
def test_nothing_is_lost(column: list[Any]):
    kept = unpacked(json.loads(json.dumps(packed(column))))
    assert [(type(each), each) for each in kept] == [(type(each), each) for each in column]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["a"] * FEW, "list"),
        (["a"] * 1000, "times"),
        (["a", "b"] * 500, "at"),
        ([f"{number:016x}" for number in range(1, 1000)], "base64"),
        ([f"{number:016x}" for number in range(1000)], "list"),
        ([f"trial {number}" for number in range(1000)], "list"),
    ],
)
def test_what_repeats_is_told_once(column: list[str], kind: str):
    """A digest of nothing but zeros would be taken for none, so such a column stays as it is."""
    found = packed(column)
    assert isinstance(found, list) if kind == "list" else kind in found
    assert len(json.dumps(found)) <= len(json.dumps(column))
