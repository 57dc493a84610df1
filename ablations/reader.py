"""A strict reader of study files: YAML 1.2's core values and nothing else, each with the line where it stands.

PyYAML parses; what a scalar means is decided here. By its own rules (YAML 1.1) `1e-4` is a text, `no` is False, `020`
is 16 and `1:30` is 90, and of two equal keys the last one wins in silence.
"""

import codecs
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

MOST_BYTES = 1_000_000
MOST_NESTING = 20
MOST_VALUES = 100_000

Path = tuple[str | int, ...]
"""Keys and positions from the top of the file: `("include", 0, "depth")`."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_DIGITS = 18
_WIDE = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class StudyError(Exception):
    """What is wrong with a study, in one line: where it stands, what was given, what is allowed, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else _escaped(letter) for letter in message))


@dataclass(frozen=True, kw_only=True)
class Document:
    """A study file as it was read: plain values, and the line of each."""

    file: str
    text: str
    """To the letter, a byte order mark included."""
    sha256: str
    value: Mapping[str, Any]
    lines: Mapping[str, int]
    """Line of each value, by its place as `dotted` writes it."""

    def line(self, path: Path) -> int:
        """Where a value stands; of one that is not in the file, where what should hold it stands."""
        inner = (path[:length] for length in range(len(path), -1, -1))
        return next((self.lines[dotted(each)] for each in inner if dotted(each) in self.lines), 1)

    def where(self, path: Path) -> str:
        """`study.yaml:7: include[0].depth`, the beginning of every error about that value."""
        place = f"{self.file}:{self.line(path)}"
        return f"{place}: {dotted(path)}" if path else place


def read(path: str | os.PathLike[str], *, called: str | None = None) -> Document:
    """Read a study file. `called` is its name in errors, if not its path."""
    file = called or os.fspath(path)
    return document(_bytes(path, file), file)


def document(data: bytes, file: str) -> Document:
    """The study file that these bytes hold; a StudyError names `file` and the line."""
    try:
        text = _decoded(data)
        tree = _Tree(text)
        if tree.value is None:
            raise _Problem(1, (), "the file is empty; `ablate init NAME` writes a study to start from")
        if not isinstance(tree.value, dict):
            raise _Problem(tree.lines[""], (), "the file holds no keys; a study begins with `name:` and `question:`")
    except _Problem as problem:
        raise StudyError(problem.at(f"{file}:{problem.line}")) from None
    return Document(file=file, text=text, sha256=sha256(data).hexdigest(), value=tree.value, lines=tree.lines)


def value(text: str, where: str) -> Any:
    """One value by the rules of study files, as `--set` takes it; `where` begins its errors."""
    try:
        _refuse_unprintable(text)
        return _Tree(text).value
    except _Problem as problem:
        raise StudyError(problem.at(where)) from None


def dotted(path: Path) -> str:
    """`include[0].recipe.lr`. A key `recipe.lr` and a key `lr` under `recipe` are one place."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in path).removeprefix(".")


def shown(given: object) -> str:
    """A value as an error quotes it, cut where it is long."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, str):
        return f"'{given if len(given) <= 60 else given[:57] + '...'}'"
    if isinstance(given, Mapping):
        return "keys and values"
    if isinstance(given, Sequence):
        return "a list"
    return str(given)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii") if letter != "\n" else " "


class _Problem(Exception):
    """What is wrong with a text, before the name of its file is known."""

    def __init__(self, line: int, path: Path, message: str) -> None:
        super().__init__(message)
        self.line, self.path, self.message = line, path, message

    def at(self, where: str) -> str:
        return f"{where}: {dotted(self.path)}: {self.message}" if self.path else f"{where}: {self.message}"


def _bytes(path: str | os.PathLike[str], file: str) -> bytes:
    try:
        # Not blocking: a pipe without a writer must not hold us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                kind = "a directory" if stat.S_ISDIR(mode) else "no regular file"
                raise StudyError(f"{file}: this is {kind}; give the path of a study file")
            data = opened.read(MOST_BYTES + 1)
    except IsADirectoryError:  # fdopen refuses a directory before we can
        raise StudyError(f"{file}: this is a directory; give the path of a study file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StudyError(f"{file}: cannot be read: {reason}; give the path of a study file") from None
    if len(data) > MOST_BYTES:
        raise StudyError(f"{file}: larger than {MOST_BYTES:,} bytes; a study file is a page, give the path of one")
    return data


def _decoded(data: bytes) -> str:
    for mark, encoding in _WIDE.items():
        if data.startswith(mark):
            raise _Problem(1, (), f"the file is {encoding}; save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02X} at offset {error.start}"
        raise _Problem(line, (), f"{found} is not UTF-8; save the file as UTF-8") from None
    _refuse_unprintable(text)
    return text


def _refuse_unprintable(text: str) -> None:
    found = _UNPRINTABLE.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise _Problem(line, (), f"character U+{ord(found[0]):04X} is not allowed in YAML; remove it")


class _Tree:
    """The value of a YAML text, built from the parser's events so that depth is known before anything recurses."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._values = 0
        try:
            self._events: Iterator[Any] = yaml.parse(text.removeprefix("\ufeff"), Loader=_LOADER)
            self.value = self._document()
        except yaml.MarkedYAMLError as error:
            raise _syntax(error, text) from None
        except yaml.YAMLError as error:
            raise _Problem(
                1, (), f"this is not YAML: {error}; `ablate init NAME` writes a study to start from"
            ) from None

    def _document(self) -> Any:
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        found = self._node(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Problem(_line(after), (), "a second document begins here; a study file holds one")
        return found

    def _node(self, event: Any, path: Path) -> Any:
        line = _line(event)
        self.lines.setdefault(dotted(path), line)
        self._values += 1
        if self._values > MOST_VALUES:
            raise _Problem(line, (), f"more than {MOST_VALUES:,} values; split the study, or write the grid as axes")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Problem(line, path, "anchors (&) and aliases (*) are not allowed; write the value out")
        if event.tag is not None:
            raise _Problem(line, path, f"YAML tags are not allowed, not even {shown(event.tag)}; remove it")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value, line, path) if event.implicit[0] else event.value
        if len(path) >= MOST_NESTING:
            raise _Problem(line, (), f"nested deeper than {MOST_NESTING} levels; a study needs five")
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: Path) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._node(event, (*path, len(found))))
        return found

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, line = self._key(event, path), _line(event)
            if key in found:
                message = f"given twice, first at line {lines[key]}, again at line {line}; keep one"
                raise _Problem(line, (*path, key), message)
            lines[key] = line
            self.lines.setdefault(dotted((*path, key)), line)
            found[key] = self._node(next(self._events), (*path, key))
        return found

    def _key(self, event: Any, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _Problem(_line(event), path, "a key must be a word; give the list or mapping as a value")
        if event.tag is not None or event.anchor is not None:
            raise _Problem(_line(event), path, "a key takes no YAML tag and no anchor; remove it")
        if event.value == "<<" and event.implicit[0]:
            raise _Problem(_line(event), path, "merge keys (<<) are not allowed; write the keys out")
        key = _scalar(event.value, _line(event), path) if event.implicit[0] else event.value
        if not isinstance(key, str):
            raise _Problem(_line(event), path, f"a key must be a word, not {shown(key)}; quote it or rename it")
        return key


def _scalar(text: str, line: int, path: Path) -> Any:
    """What a plain scalar means in YAML 1.2's core schema; leading zeros and what is not finite are refused."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _LEADING_ZERO.fullmatch(text):
        raise _Problem(line, path, f"{text} has a leading zero; write {int(text[:_MOST_DIGITS])}, or quote a text")
    if _DECIMAL.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        return _integer(text, line, path)
    if _NOT_FINITE.fullmatch(text):
        raise _Problem(line, path, f"{text} is not allowed; give a finite number")
    if _FLOAT.fullmatch(text):
        return _float(text, line, path)
    return text


def _integer(text: str, line: int, path: Path) -> int:
    if len(text) > _MOST_DIGITS:
        raise _Problem(line, path, f"a number of {len(text)} digits is not allowed; give at most {_MOST_DIGITS}")
    return int(text, 0)


def _float(text: str, line: int, path: Path) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _Problem(line, path, f"{shown(text)} is too large; give a finite number")
    return number


def _line(event: Any) -> int:
    return event.start_mark.line + 1


def _syntax(error: yaml.MarkedYAMLError, text: str) -> _Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return _Problem(line, (), "a tab indents this line; indent with spaces")
    began = f" (line {error.context_mark.line + 1})" if error.context and error.context_mark else ""
    reason = " ".join(part for part in (f"{error.context}{began}" if error.context else "", error.problem) if part)
    return _Problem(line, (), f"this is not YAML: {reason}; look for a missing colon, quote or bracket here or above")
