"""Who may use a cluster: the token that this machine knows, and addresses that need none."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SETTINGS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Token:
    """A secret that a cluster may ask for. It is printed nowhere."""

    value: str = field(repr=False)
    where: str
    """Where it was found, as `RAY_AUTH_TOKEN` or a file."""


class TokenError(Exception):
    """A token was to be read and cannot be."""


def find_token() -> Token | None:
    """The token that Ray would use here: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token, in this order.

    Raises TokenError if one is named and cannot be read.
    """
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return _token(value, "RAY_AUTH_TOKEN")
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH", ""):
        return _read(Path(named), f"{named} (RAY_AUTH_TOKEN_PATH)")
    path = default_path()
    return _read(path, str(path)) if path.exists() else None


def default_path() -> Path:
    return Path(os.environ.get("HOME") or "~").expanduser() / ".ray" / "auth_token"


def environment(token: Token | None) -> Mapping[str, str]:
    """What a process that uses Ray is started with, beside the variables that have nothing to do with tokens."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    if token is None:
        return kept | {"RAY_AUTH_MODE": "disabled"}
    return kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token.value}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. A name other than `localhost` is not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read(path: Path, where: str) -> Token:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"no token can be read from {where}: {getattr(error, 'strerror', None) or error}") from None
    if not value:
        raise TokenError(f"no token can be read from {where}: it is empty")
    return _token(value, where)


def _token(value: str, where: str) -> Token:
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise TokenError(f"the token in {where} is none: a token is printable ASCII without spaces")
    return Token(value, where)
