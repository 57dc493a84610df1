"""MLflow's own server, as one command: what it is started with, and what is refused before.

On this machine alone by default. For a team it listens on the network, and then it must be told by which names it is
called: MLflow's own list of allowed hosts holds patterns such as `10.*`, which the name 10.evil.com fits too.
"""

import configparser
import errno
import importlib.util
import ipaddress
import os
import re
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.tracking.addresses import database, with_driver, without_password

SECRET = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 - the name of a variable
NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?")
"""A host as a browser calls it, without a pattern."""


class ServerError(Exception):
    """A server that is not to be started. One line: what was given, what is allowed, what to do."""


class Unavailable(ServerError):
    """What the server needs cannot be had: a package of the extra `server`, or the database."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """MLflow's server over one database. Raises ServerError, without starting anything, if it cannot or must not be."""

    uri: str
    """Of the database: `sqlite:///...` or `postgresql://...`."""
    artifacts: Path
    """Where files lie that clients send through the server."""
    host: str = "127.0.0.1"
    port: int = 5000
    names: Sequence[str] = ()
    """Hosts by which clients may call it, beside this machine's own names."""
    workers: int = 1
    auth: Path | None = None
    """MLflow's configuration of basic authentication."""

    def __post_init__(self) -> None:
        self._refuse_address()
        _refuse_host(self.host)
        self._refuse_names()
        if self.auth is not None:
            _refuse_auth(self.auth)

    def _refuse_address(self) -> None:
        if re.match(r"https?://", self.uri):
            raise ServerError(f"--tracking {without_password(self.uri)}: is a server already; open it in a browser")
        stored = database(self.uri)
        if stored is not None and not stored.exists():
            raise ServerError(f"{stored}: there is none yet; run a study, or `ablate publish` one")
        if stored is None and not re.match(r"postgresql(\+psycopg2)?://", self.uri):
            raise ServerError(
                f"--tracking {without_password(self.uri)}: is sqlite:///FILE or postgresql://USER@HOST/DATABASE"
            )
        if stored is None and importlib.util.find_spec("psycopg2") is None:
            raise Unavailable("PostgreSQL needs psycopg2, which is not installed: pip install 'ablate[server]'")

    def _refuse_names(self) -> None:
        for name in self.names:
            if not NAME.fullmatch(name):
                raise ServerError(
                    f"--allowed-hosts {name!r}: names or addresses, as tracking.example.org or 10.0.0.7:5000, and no"
                    " patterns, for 10.* fits 10.evil.com too"
                )
        if not self.names and not _loopback(self.host):
            raise ServerError(
                f"--host {self.host}: others can reach it there, so say by which names they call it, as --allowed-hosts"
                " tracking.example.org; and --auth FILE.ini asks them for a password"
            )

    def probe(self) -> None:
        """Raises Unavailable if the port cannot be had, or the database does not let us in within seconds.

        MLflow would say the one late, with exit code 0, and try the other for minutes.
        """
        self._see_port()
        if database(self.uri) is not None:
            return
        import psycopg2

        try:
            psycopg2.connect(re.sub(r"^postgresql\+psycopg2", "postgresql", self.uri), connect_timeout=5).close()
        except psycopg2.Error as error:
            reason = without_password(" ".join(str(error).split()))
            raise Unavailable(f"--tracking {without_password(self.uri)}: {reason}") from None

    def _see_port(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind((self.host, self.port))
            except OSError as error:
                raise Unavailable(self._why_not(error)) from None

    def _why_not(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"--port {self.port}: something listens on {self.host}:{self.port} already; end it or choose another"
        if error.errno == errno.EACCES:
            return f"--port {self.port}: this user may not listen there; choose one of 1024 or more"
        return (
            f"--host {self.host}: this machine cannot listen there ({error.strerror}); choose one of its own addresses,"
            " or 0.0.0.0 for all of them"
        )

    @property
    def address(self) -> str:
        """For a browser."""
        name = self.names[0] if self.names else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}" if re.search(r":\d+$", name) else f"http://{name}:{self.port}"

    @property
    def command(self) -> list[str]:
        """Holds no password: every user of the machine can read it."""
        hosts = self._hosts()
        origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", self.host, "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--artifacts-destination", str(self.artifacts.resolve())]
        command += ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]
        return command + (["--app-name", "basic-auth"] if self.auth else [])

    @property
    def environment(self) -> Mapping[str, str]:
        """What is set beside the environment as it is."""
        return {
            "MLFLOW_BACKEND_STORE_URI": with_driver(self.uri),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # it starts seven processes more, for nothing of ours
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **({"MLFLOW_AUTH_CONFIG_PATH": str(self.auth.resolve())} if self.auth else {}),
        }

    def _hosts(self) -> list[str]:
        """A name stands for itself, as behind a proxy, and with the port."""
        here = [f"localhost:{self.port}", f"127.0.0.1:{self.port}", f"[::1]:{self.port}"]
        with_port = [each for each in self.names if re.search(r":\d+$", each)]
        bare = [each for each in self.names if each not in with_port]
        return list(dict.fromkeys([*here, *with_port, *bare, *(f"{each}:{self.port}" for each in bare)]))


def _refuse_host(host: str) -> None:
    try:
        found = host and socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        found = None
    if not found:
        raise ServerError(
            f"--host {host!r}: is no address, nor a name that is known here; give an address of this machine, as"
            " 127.0.0.1, or 0.0.0.0 for all of them"
        )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_auth(path: Path) -> None:
    """What MLflow would say with a traceback, or not at all."""
    if importlib.util.find_spec("flask_wtf") is None:
        raise Unavailable("--auth needs Flask-WTF, which is not installed: pip install 'ablate[server]'")
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "there is no such file"
        raise ServerError(f"--auth {path}: {what}; name a file as docs/tracking.md shows it")
    config = configparser.ConfigParser(interpolation=None)
    try:
        read = config.read(path, encoding="utf-8")
        section = config["mlflow"] if read else {}
    except (configparser.Error, KeyError, UnicodeDecodeError):
        section = {}
    for name in ("default_permission", "database_uri", "admin_username"):
        if name not in section:
            raise ServerError(f"--auth {path}: has no {name} under [mlflow]; docs/tracking.md shows the file")
    if with_driver(section["database_uri"]) != section["database_uri"]:
        raise ServerError(f"--auth {path}: database_uri begins with postgresql+psycopg2://, which names the driver")
    if "admin_password" in section and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ServerError(f"--auth {path}: holds a password and is open to other users: chmod 600 {path}")
    if not os.environ.get(SECRET):
        raise ServerError(f"--auth: set {SECRET} to a long random text, the same at every start; it signs sessions")
