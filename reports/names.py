"""Names made safe to print and to link to; whoever can name a run can write anything there."""

import hashlib
import re
import unicodedata

LONGEST = 200
"""Characters of a name."""
PROSE = 4000
"""Characters of a sentence."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def clean(name: str, longest: int = LONGEST) -> str:
    """Without control characters, text direction marks and line separators, and not longer than `longest`."""
    kept = "".join(
        " " if character in "\t\n\r\u2028\u2029" else character
        for character in name[: 4 * longest]
        if character in "\t\n\r" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def prose(text: str) -> str:
    """A sentence, as clean as a name and longer."""
    return clean(text, PROSE)


def verbatim(text: str) -> str:
    """A file's text, line by line, without what could be hidden in it."""
    return "\n".join(prose(line) for line in text.split("\n"))


def anchor(*parts: str) -> str:
    """An id for a place on the page: readable, and unique even where names differ in unsafe characters only."""
    name = "-".join(parts)
    safe = _UNSAFE.sub("-", name)[:120]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
