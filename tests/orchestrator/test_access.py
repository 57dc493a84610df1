"""The token: where it is looked for, in which order, and what is no token. Addresses that only this machine reaches."""

from pathlib import Path

import pytest

from orchestrator.remote.access import TokenError, environment, find_token, is_loopback


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a token, and an environment that says nothing of one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_is_found_where_ray_finds_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable before the file that is named, that before the one in the home folder."""
    assert find_token() is None
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("at-home\n")
    assert find_token() == find_token()
    found = find_token()
    assert found is not None
    assert (found.value, found.where) == ("at-home", str(home / ".ray" / "auth_token"))
    (home / "named").write_text("named")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "named"))
    found = find_token()
    assert found is not None
    assert (found.value, found.where) == ("named", f"{home / 'named'} (RAY_AUTH_TOKEN_PATH)")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    found = find_token()
    assert found is not None
    assert (found.value, found.where) == ("said", "RAY_AUTH_TOKEN")


def test_it_is_printed_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hunter2")
    assert "hunter2" not in repr(find_token())


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), ("", "empty"), ("two words", "without spaces"), ("schlüssel", "ASCII")],
)
def test_what_is_no_token_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, why: str
) -> None:
    """A file that is named must hold one: another token is not taken in its place."""
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("at-home")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "named"))
    if content is not None:
        (home / "named").write_text(content)
    with pytest.raises(TokenError, match=why):
        find_token()


def test_a_process_gets_the_token_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or none at all, whatever this process has."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    known = environment(find_token())
    assert (known["RAY_AUTH_MODE"], known["RAY_AUTH_TOKEN"]) == ("token", "said")
    assert "RAY_AUTH_TOKEN_PATH" not in known
    unknown = environment(None)
    assert unknown["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in unknown
    assert "PATH" in unknown


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_only_this_machine_reaches_it(host: str, loopback: bool) -> None:
    """A name that merely begins like loopback is another machine."""
    assert is_loopback(host) is loopback
