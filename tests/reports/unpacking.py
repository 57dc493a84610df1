"""A page's packed data read back, as slowly as the page's script reads them."""

import base64
from collections.abc import Mapping
from typing import Any


def unpacked(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    if "base64" in column:
        text, digits = base64.b64decode(column["base64"]).hex(), column["hex"]
        words = [text[at : at + digits] for at in range(0, len(text), digits)]
        return [None if set(word) == {"0"} else word for word in words]
    if "at" in column:
        return [column["of"][place] for place in column["at"]]
    pairs = zip(column["times"][::2], column["times"][1::2], strict=True)
    return [column["of"][place] for place, count in pairs for _ in range(count)]


def cells_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measurements of a table, each with everything that any of them has."""
    columns = {name: unpacked(column) for name, column in table["cells"].items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
