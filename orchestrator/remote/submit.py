"""A study as a job on a cluster far away: `ablate run` there, with our code, under a name that tells what it does."""

import hashlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.remote.jobs import ENDED, Head, HeadError, TakenError
from orchestrator.remote.package import Package
from orchestrator.studies import StudyInUse

STOP_SECONDS = 180
"""A job that is stopped has so long to commit and to let MLflow catch up, before it is killed."""
SILENT_SECONDS = 60.0
"""A head that is followed and does not answer is given up after this."""
POLL_SECONDS = 1.0
INTERRUPTED, UNREACHABLE = 130, 4
"""Exit codes, as those of `ablate run`."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is to run, and where its results go."""

    study: str
    """The study's name."""
    sha256: str
    """Of the study file and of what was changed beside it."""
    results: Path
    """Absolute; the same directory on every node."""
    arguments: Sequence[str]
    """Of `ablate run`, on the cluster, without the results and the address."""

    def entrypoint(self, head: Head) -> str:
        """The job's command. What was accepted here about an open head is not refused there."""
        words = ["python", "-m", "ablations.cli", "run", *self.arguments]
        words += ["--address", "auto", "--results", str(self.results)]
        return shlex.join([*words, "--allow-open-cluster"] if head.open else words)

    @property
    def stem(self) -> str:
        """The job's id but for the attempt: equal for equal work, so that Ray takes it once."""
        asked = "\0".join([self.sha256, str(self.results), *self.arguments])
        return f"ablate-{self.study}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"ablate_study": self.study, "ablate_results": str(self.results)}


def next_job(head: Head, submission: Submission) -> str:
    """The id of the submission's next attempt. Raises StudyInUse if a job runs the study, HeadError."""
    known = [each for each in head.jobs() if each.get("submission_id")]
    for each in known:
        metadata = each.get("metadata") or {}
        if each["status"] not in ENDED and dict(submission.metadata).items() <= metadata.items():
            raise StudyInUse(_running(head, submission.study, each["submission_id"]))
    attempts = [each["submission_id"].removeprefix(f"{submission.stem}-") for each in known]
    return f"{submission.stem}-{max((int(each) for each in attempts if each.isdecimal()), default=0) + 1}"


def submit(head: Head, submission: Submission, job: str, package: Package) -> None:
    """Ship the code and start the job. Raises StudyInUse if it was started meanwhile, HeadError."""
    if not head.has_package(package.name):
        head.upload(package.name, package.content)
    variables = {
        "ABLATE_JOB": job,
        "RAY_JOB_STOP_SIGNAL": "SIGINT",  # as Ctrl-C: trials commit, and what was begun is put in order
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
    }
    runtime_env = {"working_dir": package.uri, "env_vars": variables}
    try:
        head.submit(job, submission.entrypoint(head), runtime_env, submission.metadata)
    except TakenError:
        raise StudyInUse(_running(head, submission.study, job)) from None


def ways(head: Head, submission: Submission, job: str) -> Mapping[str, str]:
    """What a user may type about a job, by what it does."""
    results = ["--results", str(submission.results)]
    return {
        "follow": following(head, job),
        "status": shlex.join(["ablate", "status", submission.study, *results]),
        "cancel": shlex.join(["ablate", "cancel", submission.study, *results]),
        "stop the job": shlex.join(["ray", "job", "stop", "--address", head.address, job]),
    }


def following(head: Head, job: str) -> str:
    return shlex.join(["ray", "job", "logs", "--follow", "--address", head.address, job])


def _running(head: Head, study: str, job: str) -> str:
    return f"study {study} is being run by job {job}; follow it: `{following(head, job)}`; submit again once it ended"


def follow(head: Head, job: str, write: Callable[[str], None]) -> int:
    """Write what the job prints until it ends; returns the exit code of `ablate run` there.

    Raises HeadError if the head is silent for a minute, or if the job ended in another way than by itself.
    """
    written, heard = 0, time.monotonic()
    while True:
        try:
            known = head.job(job)
            written = _more(head, job, written, write)
            heard = time.monotonic()
        except HeadError as error:
            if time.monotonic() - heard > SILENT_SECONDS:
                raise HeadError(
                    f"{error.says}, for {SILENT_SECONDS:.0f} s; what was committed is kept, and the job may go on"
                ) from None
        else:
            if known["status"] in ENDED:
                with suppress(HeadError):
                    _more(head, job, written, write)
                return _code(known, job)
        time.sleep(POLL_SECONDS)


def _more(head: Head, job: str, written: int, write: Callable[[str], None]) -> int:
    """Write what is new; returns how much is written. Ray has no log of a job that waits."""
    log = head.log(job)
    if len(log) > written:
        write(log[written:])
    return max(written, len(log))


def _code(known: Mapping[str, Any], job: str) -> int:
    if known["status"] == "SUCCEEDED":
        return 0
    if known["status"] == "STOPPED":
        return INTERRUPTED
    code = known.get("driver_exit_code")
    if (isinstance(code, int) and 0 < code < 128) or code == INTERRUPTED:
        return code
    why = f"signal {abs(code) % 128}" if isinstance(code, int) else _first_line(known)
    raise HeadError(f"job {job} did not end by itself ({why}); submit again, and it goes on from the last commit")


def _first_line(known: Mapping[str, Any]) -> str:
    return ((known.get("message") or "Ray does not say why").strip().splitlines() or [""])[0][:200]


def write_out(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
