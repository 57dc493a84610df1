"""One question over HTTP, with a limit that holds whatever it is that hangs: a name, a connection, an answer."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from orchestrator.remote.onsite import within

SECONDS = 5.0
"""For a question that is answered at once, or not at all."""


class AddressError(ValueError):
    """Not the address of a server."""


class NoAnswerError(ConnectionError):
    """There was no answer; the message says from where, and why in a few words."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The end of it, on one line."""
        return " ".join(self.body.decode("utf-8", errors="replace").split())[-300:]

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """Where a server is: `http://HOST:PORT/PATH`."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def at(cls, address: str, port: int) -> Self:
        """`port` where `http://HOST` names none. Raises AddressError."""
        try:
            parts = urlsplit(address)
            named = parts.port
        except ValueError as error:
            raise AddressError(f"{address!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AddressError(f"{address!r} is not http://HOST:PORT")
        return cls(
            parts.scheme,
            parts.hostname,
            named or (443 if parts.scheme == "https" else port),
            parts.path.rstrip("/"),
        )

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, seconds: float = SECONDS
    ) -> Answer:
        """Raises NoAnswerError."""

        def ask() -> Answer:
            connection = self._connection(seconds)
            try:
                connection.request(method, self.path + path, body, dict(headers))
                response = connection.getresponse()
                return Answer(response.status, dict(response.getheaders()), response.read())
            finally:
                connection.close()

        try:
            return within(seconds, ask)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError):
                raise NoAnswerError(f"{self.address} does not answer within {seconds:g} s") from error
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoAnswerError(f"{self.address} cannot be reached: {why}") from error

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        if self.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self.host, self.port, timeout=seconds, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=seconds)
