"""What a value may be, as its annotation says it: type, bounds, number of entries. Standard library alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a number may be; None: no bound of that kind."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def admits(self, number: float) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    @property
    def words(self) -> str:
        """`1 to 1,000`, `above 0 and below 1`, `at least 0`."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:,} to {self.at_most:,}"
        low = f"above {self.above}" if self.above is not None else f"at least {self.at_least}"
        return f"{low} and below {self.below}" if self.below is not None else low


@dataclass(frozen=True, kw_only=True)
class Entries:
    """How many entries a list may have."""

    most: int


Check = Callable[[Any], Any]
"""Returns the value as its type has it (a whole number as a float, a list as a tuple), or raises ValueError with what
follows its name in an error: `must be above 0, not -1`."""


def check(hint: Any) -> Check:
    """The check of an annotation: bool, int, float, Literal, Annotated with Bounds or Entries, `tuple[X, ...]`, or one
    of them `| None`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _within(check(arguments[0]), arguments[1:])
    if origin in (Union, UnionType):
        return _or_none(check(next(each for each in arguments if each is not NoneType)))
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return _each(check(arguments[0]))
    return {bool: _truth, int: _whole, float: _number}[hint]


def _within(inner: Check, limits: Sequence[Bounds | Entries]) -> Check:
    def of(value: Any) -> Any:
        checked = inner(value)
        for limit in limits:
            if isinstance(limit, Entries):
                if len(checked) > limit.most:
                    raise ValueError(f"has {len(checked):,} entries; at most {limit.most:,}")
            elif not limit.admits(checked):
                raise ValueError(f"must be {limit.words}, not {_shown(value)}")
        return checked

    return of


def _or_none(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def _one_of(allowed: Sequence[str]) -> Check:
    def of(value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {_shown(value)}")
        return value

    return of


def _each(inner: Check) -> Check:
    def of(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, not {_shown(value)}")
        return tuple(inner(each) for each in value)

    return of


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be a whole number, not {_shown(value)}")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not _finite(value):
        raise ValueError(f"must be a finite number, not {_shown(value)}")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _shown(value: Any) -> str:
    """A value as an error quotes it, on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
