"""Ray's Jobs API over HTTP: what a client anywhere asks of a cluster's head.

Ray's own client loads Ray, which takes seconds, keeps the first token that it sees, and waits for a head as long as the
head likes. These are its requests, each with a limit.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.remote.access import Token, is_loopback
from orchestrator.remote.request import SECONDS, AddressError, Answer, NoAnswerError, Server

PORT = 8265
UPLOAD_SECONDS = 120.0
START_SECONDS = 60.0
"""A head that has just begun lets a job wait until its agent is there."""
ANOTHER = f"give the address of the dashboard that `ray start --head` prints, as http://HOST:{PORT}"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class HeadError(ConnectionError):
    """A cluster's head cannot be used; the message says why in one line, and what to do."""

    def __init__(self, says: str, do: str = "") -> None:
        super().__init__(f"{says}; {do}" if do else says)
        self.says, self.do = says, do


class TakenError(Exception):
    """A job of this id is known to the head already."""


class Head:
    """A head's dashboard, at `http://HOST:8265`."""

    def __init__(self, address: str) -> None:
        """Raises AddressError."""
        try:
            self._server = Server.at(address, PORT)
        except AddressError as error:
            raise AddressError(
                f"--address: is that of a head's dashboard, as http://HOST:{PORT}: {error}"
                " (`ablate run --address` takes HOST:PORT)"
            ) from None
        self.address = self._server.address
        self._token: Token | None = None
        self.open = False
        """Whether it was seen to take anyone."""

    @property
    def readable(self) -> bool:
        """Whether who sees the network's traffic sees the token."""
        return self._server.scheme == "http" and not self.local

    @property
    def local(self) -> bool:
        return is_loopback(self._server.host)

    def admit(self, token: Token | None, *, allow_open: bool) -> Mapping[str, Any]:
        """See that the head is there and takes the token, or needs none. Returns what it says of its version.

        Raises HeadError: no answer, an open head, a token that is missing or wrong.
        """
        answer = self._ask("GET", "/api/version")
        if answer.status == 200:
            version = self._version(answer)
            self.open = True
            if not self.local and not allow_open:
                raise HeadError(
                    f"{self.address} lets anyone who reaches it run code: start it with a token (docs/cluster.md), or"
                    " say --allow-open-cluster"
                )
            return version
        if answer.status not in (401, 403):
            raise HeadError(f"{self.address} answered {answer.status}, as no dashboard of a Ray head does", ANOTHER)
        if token is None:
            raise HeadError(
                f"{self.address} needs a token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or write ~/.ray/auth_token"
            )
        self._token = token
        answer = self._ask("GET", "/api/version")
        if answer.status in (401, 403):
            raise HeadError(f"{self.address} does not take the token in {token.where}: it is another cluster's, or old")
        return self._version(answer)

    def jobs(self) -> list[dict[str, Any]]:
        return self._wanted("GET", "/api/jobs/").json()

    def job(self, job: str) -> dict[str, Any]:
        """What the head knows of a job: `status`, `message`, `driver_exit_code`."""
        return self._wanted("GET", f"/api/jobs/{job}").json()

    def log(self, job: str) -> str:
        """All that the job has printed so far."""
        return self._wanted("GET", f"/api/jobs/{job}/logs").json().get("logs") or ""

    def submit(self, job: str, entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        """Raises TakenError if there is such a job, HeadError."""
        asked = {"submission_id": job, "entrypoint": entrypoint, "runtime_env": runtime_env, "metadata": metadata}
        answer = self._ask("POST", "/api/jobs/", json.dumps(asked).encode(), START_SECONDS)
        if answer.status != 200 and "already exists" in answer.text:
            raise TakenError(job)
        self._see(answer)

    def stop(self, job: str) -> None:
        self._wanted("POST", f"/api/jobs/{job}/stop")

    def forget(self, job: str) -> None:
        """Take an ended job off the head's list."""
        self._wanted("DELETE", f"/api/jobs/{job}")

    def has_package(self, name: str) -> bool:
        """Whether a package is there; if so, it is kept for some minutes."""
        return self._ask("GET", f"/api/packages/gcs/{name}").status == 200

    def upload(self, name: str, content: bytes) -> None:
        self._see(self._ask("PUT", f"/api/packages/gcs/{name}", content, UPLOAD_SECONDS))

    def _version(self, answer: Answer) -> Mapping[str, Any]:
        try:
            said = self._see(answer).json()
            return {"ray": said["ray_version"], "session": said["session_name"]}
        except (ValueError, KeyError, TypeError):
            raise HeadError(f"{self.address} is no dashboard of a Ray head", ANOTHER) from None

    def _wanted(self, method: str, path: str) -> Answer:
        return self._see(self._ask(method, path))

    def _see(self, answer: Answer) -> Answer:
        if answer.status != 200:
            raise HeadError(f"{self.address} answered {answer.status}: {answer.text}")
        return answer

    def _ask(self, method: str, path: str, body: bytes | None = None, seconds: float = SECONDS) -> Answer:
        """Raises HeadError where there is no answer in time."""
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.value}"

        try:
            return self._server.ask(method, path, headers, body, seconds)
        except NoAnswerError as error:
            do = "see that the head runs, and that its dashboard listens for this machine (ray start --dashboard-host)"
            raise HeadError(str(error), do) from error
