"""A stand-in for the dashboard of a Ray head: answers as Ray 2.60 does, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

ALREADY = "ValueError: Job with submission_id {} already exists. Please use a different submission_id."


class Dashboard:
    """What a head knows. `token` None: it takes anyone."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.packages: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.replies: dict[str, tuple[int, bytes]] = {}
        """Path -> what is answered there instead."""
        self.address = ""

    def answer(self, method: str, path: str, body: bytes, bearer: str | None) -> tuple[int, Any]:
        self.asked.append((method, path))
        if path in self.replies:
            return self.replies[path]
        if self.token is not None and bearer != f"Bearer {self.token}":
            if bearer is None:
                return 401, b"Unauthorized: Missing authentication token"
            return 403, b"Forbidden: Invalid authentication token"
        if path == "/api/version":
            return 200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "b7", "session_name": "session_1"}
        if path.startswith("/api/packages/gcs/"):
            return self._package(method, path.rpartition("/")[2], body)
        if path == "/api/jobs/":
            return self._all_jobs(method, body)
        return self._job(method, *path.removeprefix("/api/jobs/").split("/"))

    def _package(self, method: str, name: str, body: bytes) -> tuple[int, Any]:
        if method == "PUT":
            self.packages[name] = body
        return (200, b"") if name in self.packages else (404, b"there is none")

    def _all_jobs(self, method: str, body: bytes) -> tuple[int, Any]:
        if method == "GET":
            return 200, list(self.jobs.values())
        asked = json.loads(body)
        job = asked["submission_id"]
        if job in self.jobs:
            return 500, ALREADY.format(job).encode()
        self.jobs[job] = asked | {"status": "RUNNING", "message": None, "driver_exit_code": None}
        return 200, {"submission_id": job}

    def _job(self, method: str, job: str, verb: str = "") -> tuple[int, Any]:
        if job not in self.jobs:
            return 404, f"Job {job} does not exist".encode()
        if method == "DELETE":
            return 200, {"deleted": self.jobs.pop(job) is not None}
        if verb == "logs":
            return 200, {"logs": self.logs.get(job, "")}
        if verb == "stop":
            return 200, {"stopped": True}
        return 200, self.jobs[job]


Served = TypeVar("Served", bound=Dashboard)


@contextmanager
def serving(dashboard: Served) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = dashboard.answer(self.command, self.path, body, self.headers.get("Authorization"))
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _reply  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    dashboard.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield dashboard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
