"""A real MLflow server and a real PostgreSQL for tests, and a proxy between client and server that misbehaves."""

import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
START_SECONDS = 240.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(done: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def ask(
    port: int, path: str, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer; status 0 where there is none within ten seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Served:
    """`ablate ui` with these options: a group of processes that is ended with the `with` block."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder, self.port, self.log = folder, free_port(), folder / "server.log"
        self.command = [sys.executable, "-m", "ablations.cli", "ui", "--port", str(self.port), *options]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.environment = {**os.environ, "PYTHONPATH": path, **environment}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return ask(self.port, "/health")[0] == 200

    def freeze(self) -> None:
        """It accepts connections from now on, for the kernel does, and answers none."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Proxy:
    """Passes requests on to a server, or does with them what `mode` says, as often as `times` says:

    - `freeze`: never answers
    - `late`: passes the request on when it is thawed, long after its sender has given up
    - `error`: answers 500
    - `drop`: passes the request on, and loses the reply
    """

    def __init__(self, port: int) -> None:
        self._server_port, self.port = port, free_port()
        self.seen: list[str] = []
        """Method and path of every request."""
        self.late: list[int] = []
        """Statuses of what the server answered to late requests."""
        self._thawed = threading.Event()
        self._lock = threading.Lock()
        self.open()
        self.behave("pass")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, mode: str, *, only: str = "", times: int = 1_000_000) -> None:
        """From now on, for requests whose path holds `only`."""
        self._mode, self._only, self._times = mode, only, times
        self._thawed.clear()

    def thaw(self) -> None:
        """Let go of what is held."""
        self._mode = "pass"
        self._thawed.set()

    def open(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def relay(self) -> None:
                proxy._relay(self)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = relay  # noqa: N815 - as http.server calls them

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server calls it
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that has given up is what these tests are about."""

        self._listener = Quiet(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def refuse(self) -> None:
        """Nobody listens any more, until `open`."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def _for(self, path: str) -> str:
        with self._lock:
            if self._mode == "pass" or self._only not in path or self._times == 0:
                return "pass"
            self._times -= 1
            return self._mode

    def _relay(self, client: BaseHTTPRequestHandler) -> None:
        body = client.rfile.read(int(client.headers.get("Content-Length") or 0))
        self.seen.append(f"{client.command} {client.path}")
        mode = self._for(client.path)
        if mode in ("freeze", "late"):
            self._thawed.wait()
        if mode == "freeze":
            return
        status, kind, answer = (500, "text/plain", b"no") if mode == "error" else self._passed_on(client, body)
        if mode == "late":
            self.late.append(status)
        elif mode != "drop":
            client.send_response(status)
            client.send_header("Content-Type", kind)
            client.send_header("Content-Length", str(len(answer)))
            client.end_headers()
            client.wfile.write(answer)

    def _passed_on(self, client: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
        try:
            kept = {name: client.headers[name] for name in ("Content-Type", "Authorization") if name in client.headers}
            connection.request(client.command, client.path, body=body, headers=kept)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        self.refuse()


def postgres_programs() -> Path | None:
    """Where PostgreSQL's programs are; None where there are none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


class Postgres:
    """A database `runs` of the user `mlflow`, in a folder of its own. Root may not run it, so another user does."""

    PASSWORD = "s3cret-of-the-database"

    def __init__(self, programs: Path) -> None:
        self._programs, self.port = programs, free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)

    @property
    def uri(self) -> str:
        return f"postgresql://mlflow@127.0.0.1:{self.port}/runs"

    def _call(self, program: str, *arguments: str, **environment: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
            user=self._user,
            extra_groups=[] if self._user else None,
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self._call("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options)

    def stop(self) -> None:
        """At once, as in a crash."""
        self._call("pg_ctl", "stop", "-m", "immediate", "-D", str(self._folder / "data"))

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _make(self) -> None:
        word = self._folder / "word"
        word.write_text(self.PASSWORD)
        word.chmod(0o644)
        self._call(
            "initdb", "-D", "data", "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={word}", "-N", "-E", "UTF8"
        )
        self.start()
        at = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow"]
        self._call("createdb", *at, "runs", PGPASSWORD=self.PASSWORD)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self._folder)
