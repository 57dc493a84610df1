"""Which of the allowed words somebody may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'depth'?`, or nothing where no allowed word is near."""
    by_lower = {each.lower(): each for each in allowed}
    found = get_close_matches(word.lower()[:100], by_lower, n=1)
    return f"; did you mean '{by_lower[found[0]]}'?" if found else ""
