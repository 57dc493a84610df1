"""The reader takes YAML 1.2's core values and nothing else, and says in one line what it refuses, and where."""

import os
import socket
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import reader
from ablations.reader import StudyError, document, read, value

PLAIN = [
    ("1e-4", 1e-4),
    ("1e-1", 0.1),
    (".5", 0.5),
    ("5.", 5.0),
    ("1E3", 1000.0),
    ("-2.5e+2", -250.0),
    ("20", 20),
    ("-3", -3),
    ("+4", 4),
    ("0", 0),
    ("0x1F", 31),
    ("0o17", 15),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("none", "none"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("2015-12-10", "2015-12-10"),
    ('"20"', "20"),
    ("'no'", "no"),
    ("'020'", "020"),
    ("1x1", "1x1"),
    ("é", "é"),
    ("[1, 1e-4, no]", [1, 1e-4, "no"]),
    ("{a: 1, b: {c: [2]}}", {"a": 1, "b": {"c": [2]}}),
]


@pytest.mark.parametrize(("text", "expected"), PLAIN)
def test_scalars_mean_what_yaml_1_2_says(text: str, expected: object) -> None:
    found = value(text, "--set x")
    assert found == expected
    assert type(found) is type(expected)
    assert document(f"key: {text}\n".encode(), "s.yaml").value == {"key": expected}


REFUSED = [
    (b"", 1, "the file is empty; `ablate init NAME`"),
    (b"# only a comment\n\n", 1, "the file is empty"),
    (b"null\n", 1, "the file is empty"),
    (b"---\n...\n", 1, "the file is empty"),
    (b"- a\n- b\n", 1, "holds no keys; a study begins with `name:`"),
    (b"\n\nword\n", 3, "holds no keys"),
    (b"a: 1\nb: 020\n", 2, "b: 020 has a leading zero; write 20"),
    (b"a: -007\n", 1, "leading zero; write -7"),
    (b"a: [1, 2, 00]\n", 1, "a[2]: 00 has a leading zero"),
    (b"a: 1\nb: 2\n\na: 3\n", 4, "a: given twice, first at line 1, again at line 4; keep one"),
    (b"m:\n  d: 1\n  e: 2\n  d: 3\n", 4, "m.d: given twice, first at line 2, again at line 4"),
    (b"a: &x 1\n", 1, "anchors (&) and aliases (*) are not allowed; write the value out"),
    (b"a: 1\nb: [*x]\n", 2, "anchors (&) and aliases (*)"),
    (b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", 1, "anchors (&) and aliases (*)"),
    (b"a: !!python/object/apply:os.system [x]\n", 1, "YAML tags are not allowed"),
    (b"a: 1\nb: !!str 1\n", 2, "b: YAML tags are not allowed"),
    (b"a: ! 1\n", 1, "YAML tags are not allowed"),
    (b"!mine\na: 1\n", 1, "YAML tags are not allowed"),
    (b"!!str a: 1\n", 1, "a key takes no YAML tag and no anchor"),
    (b"&k a: 1\n", 1, "a key takes no YAML tag and no anchor"),
    (b"a: 1\n<<: {b: 2}\n", 2, "merge keys (<<) are not allowed; write the keys out"),
    (b"a: 1\n---\nb: 2\n", 2, "a second document begins here; a study file holds one"),
    (b"20: 1\n", 1, "a key must be a word, not 20; quote it"),
    (b"a: {true: 1}\n", 1, "a: a key must be a word, not true"),
    (b"? [a, b]\n: 1\n", 1, "a key must be a word; give the list or mapping as a value"),
    (b"a:\n\t- 1\n", 2, "a tab indents this line; indent with spaces"),
    (b"a: 1\n\tb: 2\n", 2, "tab"),
    (b"a: [1, 2\nb: 3\n", 2, "this is not YAML"),
    (b"a: 'open\n", 2, "this is not YAML: while scanning a quoted scalar (line 1)"),
    (b"a: b: c\n", 1, "look for a missing colon, quote or bracket here or above"),
    (b"%FOO\n---\na: 1\n", 1, "this is not YAML"),
    (b"a: .nan\n", 1, "a: .nan is not allowed; give a finite number"),
    (b"a: -.inf\n", 1, "-.inf is not allowed; give a finite number"),
    (b"a: 1e999\n", 1, "'1e999' is too large; give a finite number"),
    (b"a: " + b"9" * 5000, 1, "a number of 5000 digits is not allowed; give at most 18"),
    (b"a: 1\nb: caf\xe9\n", 2, "byte 0xE9 at offset 11 is not UTF-8; save the file as UTF-8"),
    ("a: 1\n".encode("utf-16"), 1, "the file is UTF-16; save it as UTF-8"),
    ("a: 1\n".encode("utf-16-le"), 1, "character U+0000 is not allowed"),
    (b"a: 1\nb: \x00\n", 2, "character U+0000 is not allowed in YAML; remove it"),
    (b"a: \x1b[31m\n", 1, "character U+001B is not allowed"),
    (b"a: " + b"[" * 25 + b"]" * 25, 1, "nested deeper than 20 levels"),
    (b"[" * 3000, 1, "nested deeper than 20 levels"),
    (b"- " * 3000, 1, "nested deeper than 20 levels"),
    (b"{a: " * 3000, 1, "nested deeper than 20 levels"),
    (b"a: [" + b"1," * 400_000 + b"1]", 1, "more than 100,000 values; split the study"),
]


@pytest.mark.parametrize(("data", "line", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_is_named_with_its_line(data: bytes, line: int, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(StudyError) as caught:
        document(data, "s.yaml")
    message = str(caught.value)
    assert message.startswith(f"s.yaml:{line}: ")
    assert words in message
    assert message.isprintable()
    assert time.monotonic() - started < 5


def test_a_byte_order_mark_and_carriage_returns_are_accepted() -> None:
    found = document(b"\xef\xbb\xbfname: x\r\ndepth: 20\r\n", "s.yaml")
    assert found.value == {"name": "x", "depth": 20}
    assert found.lines["depth"] == 2
    assert found.sha256 == sha256(found.text.encode()).hexdigest()
    assert found.text.encode() == b"\xef\xbb\xbfname: x\r\ndepth: 20\r\n"


def test_every_value_has_a_line_and_what_is_missing_has_that_of_its_holder() -> None:
    found = document(b"a: 1\nm:\n  d: [20,\n    32]\n  e:\n    - {x: 1}\n    - {recipe.lr: 2}\n", "s.yaml")
    places = {("a",): 1, ("m", "d"): 3, ("m", "d", 1): 4, ("m", "e", 0, "x"): 6, ("m", "e", 1, "recipe", "lr"): 7}
    assert {path: found.line(path) for path in places} == places
    assert found.line(("m", "e", 1, "missing", "deep")) == 7
    assert found.where(("m", "d", 1)) == "s.yaml:4: m.d[1]"
    assert found.where(()) == "s.yaml:1"


def test_what_is_no_file_is_refused_and_never_blocks(tmp_path: Path) -> None:
    pipe, large, link, sock = (tmp_path / name for name in ("pipe", "large.yaml", "link", "socket"))
    os.mkfifo(pipe)
    large.write_bytes(b"# " + b"x" * 1_000_000)
    link.symlink_to(link)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sock))
        cases = {
            pipe: "no regular file",
            Path("/dev/zero"): "no regular file",
            tmp_path: "a directory",
            large: "larger than 1,000,000 bytes",
            link: "cannot be read",
            sock: "cannot be read",
            tmp_path / "none.yaml": "No such file or directory",
            tmp_path / ("x" * 300): "cannot be read",
            tmp_path / "a\0b": "null byte",
            tmp_path / "two\nlines": "two lines: cannot be read",
        }
        started = time.monotonic()
        for path, words in cases.items():
            with pytest.raises(StudyError) as caught:
                read(str(path))
            assert words in str(caught.value)
            assert str(caught.value).isprintable()
        assert time.monotonic() - started < 2


def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: x")
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may read everything, nobody may not
    try:
        with pytest.raises(StudyError, match="Permission denied"):
            read(path)
    finally:
        os.seteuid(me)


def test_a_value_from_the_command_line_names_its_place() -> None:
    for text, words in {
        "[1": "not YAML",
        "007": "leading zero",
        "\udce9": "U+DCE9",
        "{a: 1, a: 2}": "given twice",
    }.items():
        with pytest.raises(StudyError) as caught:
            value(text, "--set x")
        assert str(caught.value).startswith("--set x: ")
        assert words in str(caught.value)


def test_what_the_parser_itself_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML has errors without a mark; they are said too."""

    def refuse(*_: object, **__: object) -> object:
        raise reader.yaml.YAMLError("some\nreason")

    monkeypatch.setattr(reader.yaml, "parse", refuse)
    with pytest.raises(StudyError, match=r"s\.yaml:1: this is not YAML: some reason; `ablate init NAME`"):
        document(b"a: 1", "s.yaml")


def test_long_values_are_cut_in_errors() -> None:
    assert len(reader.shown("x" * 1000)) == 62
    kinds = {None: "nothing", True: "true", 3: "3", "a": "'a'", (1,): "a list"}
    assert {given: reader.shown(given) for given in kinds} == kinds
    assert reader.shown({"a": 1}) == "keys and values"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text("ab:-[]{}&*!|>'\"%@` \n\t#,?0.", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes) -> None:
    try:
        found = document(data, "s.yaml")
    except StudyError as error:
        assert str(error).isprintable()  # noqa: PT017  (either outcome is fine)
    else:
        assert isinstance(found.value, dict)
