"""A head is asked over HTTP, and every way in which it cannot be used is one line, in time."""

import socket
import time
from collections.abc import Iterator

import pytest
from heads import Dashboard, serving

from orchestrator.remote import jobs, request
from orchestrator.remote.access import Token
from orchestrator.remote.jobs import Head, HeadError, TakenError
from orchestrator.remote.request import AddressError, Server

SECRET = Token("s3cret", "RAY_AUTH_TOKEN")


@pytest.fixture
def closed() -> Iterator[Dashboard]:
    with serving(Dashboard("s3cret")) as dashboard:
        yield dashboard


def elsewhere(head: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """The same head, as if it were not on this machine."""
    monkeypatch.setattr(jobs, "is_loopback", lambda _: False)
    return head


def test_a_head_takes_its_token(closed: Dashboard) -> None:
    """It is asked without a token first, so that no open head is told one."""
    head = Head(closed.address)
    assert head.admit(SECRET, allow_open=False) == {"ray": "2.60.0", "session": "session_1"}
    assert not head.open
    assert head.jobs() == []


def test_a_token_that_is_wrong_or_missing(closed: Dashboard) -> None:
    """The line says where the token was found, or where it may be put; it never says the token."""
    with pytest.raises(HeadError, match="does not take the token in RAY_AUTH_TOKEN") as wrong:
        Head(closed.address).admit(Token("0ther", "RAY_AUTH_TOKEN"), allow_open=True)
    assert "0ther" not in str(wrong.value)
    with pytest.raises(HeadError, match=r"needs a token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"):
        Head(closed.address).admit(None, allow_open=True)


def test_an_open_head_is_for_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is used by who says so."""
    with serving(Dashboard()) as dashboard:
        assert Head(dashboard.address).admit(SECRET, allow_open=False)["ray"] == "2.60.0"
        head = elsewhere(Head(dashboard.address), monkeypatch)
        with pytest.raises(HeadError, match="--allow-open-cluster"):
            head.admit(SECRET, allow_open=False)
        head.admit(SECRET, allow_open=True)
        assert head.open


def test_a_head_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its system takes the connection, and nothing comes."""
    monkeypatch.setattr(request.Server.ask, "__defaults__", (None, 0.3))
    monkeypatch.setattr(jobs, "SECONDS", 0.3)
    monkeypatch.setattr(Head._ask, "__defaults__", (None, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(HeadError, match=r"does not answer within 0.3 s"):
            Head(f"http://127.0.0.1:{listener.getsockname()[1]}").admit(None, allow_open=False)
    assert time.monotonic() - began < 5


def test_a_head_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HeadError, match="cannot be reached: Connection refused; see that the head runs"):
        Head(f"http://127.0.0.1:{port}").admit(None, allow_open=False)


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        ((404, b""), "answered 404, as no dashboard of a Ray head does; give the address"),
        ((200, b"<html>"), "is no dashboard of a Ray head"),
        ((200, b"{}"), "is no dashboard of a Ray head"),
    ],
)
def test_another_server_is_no_head(closed: Dashboard, reply: tuple[int, bytes], line: str) -> None:
    closed.replies["/api/version"] = reply
    with pytest.raises(HeadError, match=line):
        Head(closed.address).admit(SECRET, allow_open=False)


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "ray://h:10001", "http://", "http://h:x", "", "auto"])
def test_what_is_no_address_of_a_dashboard(address: str) -> None:
    with pytest.raises(AddressError, match=r"as http://HOST:8265"):
        Head(address)


def test_addresses_in_full() -> None:
    """Ports that go without saying, a path behind a proxy, IPv6."""
    assert Head("http://head").address == "http://head:8265"
    assert Head("https://ray.example.org/ablate/").address == "https://ray.example.org:443/ablate"
    assert Server.at("http://[::1]:80", 1).address == "http://[::1]:80"
    assert Head("http://head").readable
    assert not Head("http://localhost").readable
    assert not Head("https://head").readable


def test_a_job_from_its_beginning_to_its_end(closed: Dashboard) -> None:
    """Submitted once, seen, read, stopped, forgotten."""
    head = Head(closed.address)
    head.admit(SECRET, allow_open=False)
    head.submit("job-1", "python x.py", {"working_dir": "gcs://x.zip"}, {"of": "us"})
    with pytest.raises(TakenError):
        head.submit("job-1", "python x.py", {}, {})
    assert head.job("job-1")["status"] == "RUNNING"
    closed.logs["job-1"] = "hello\n"
    assert head.log("job-1") == "hello\n"
    head.stop("job-1")
    head.forget("job-1")
    assert head.jobs() == []
    with pytest.raises(HeadError, match="answered 404: Job job-1 does not exist"):
        head.job("job-1")


def test_a_package_is_sent_once(closed: Dashboard) -> None:
    head = Head(closed.address)
    head.admit(SECRET, allow_open=False)
    assert not head.has_package("a.zip")
    head.upload("a.zip", b"zip")
    assert head.has_package("a.zip")
    assert closed.packages == {"a.zip": b"zip"}
