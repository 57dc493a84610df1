"""Columns of a long table made small: what repeats is told once, digits are told in as few letters as they need."""

import base64
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

FEW = 64
"""A shorter column is written as it is: it is read more easily, and nothing is won."""
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def packed(values: Sequence[Any]) -> Any:
    """A list as it is, or as JSON that the page's script unpacks.

    `{"of": [...], "times": [place, count, ...]}` for values that repeat in a row, `{"of": [...], "at": [place, ...]}`
    for others that repeat, `{"hex": digits, "base64": text}` for digests of one length, where None is all zeros.
    """
    if len(values) <= FEW:
        return list(values)
    if found := _digests(values):
        return found
    places = {each: place for place, each in enumerate(dict.fromkeys(values))}
    if 4 * len(places) > len(values):
        return list(values)
    at = [places[each] for each in values]
    times = [part for place, same in groupby(at) for part in (place, len(list(same)))]
    return {"of": list(places)} | ({"times": times} if len(times) < len(at) else {"at": at})


def _digests(values: Sequence[Any]) -> dict[str, Any] | None:
    known = [each for each in values if each is not None]
    lengths = {len(each) if isinstance(each, str) and _HEX.fullmatch(each) else 0 for each in known}
    if len(lengths) != 1 or 0 in lengths:
        return None
    (digits,) = lengths
    nothing = "0" * digits
    if nothing in known:
        return None
    data = bytes.fromhex("".join(nothing if each is None else each for each in values))
    return {"hex": digits, "base64": base64.b64encode(data).decode()}
