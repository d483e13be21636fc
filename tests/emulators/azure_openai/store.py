"""The account's memory: files and jobs, newest first, in the process and nowhere else.

Must not know of HTTP or of how objects look on the wire. Times come in from outside.
"""

import bisect
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from azure_openai import history, lifecycle
from azure_openai.lifecycle import Fate, Job
from azure_openai.rows import Dataset, read_dataset

_UPLOAD_SECONDS = 2 * 60 * 60


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file with what the service has found out about it."""

    id: str
    created_at: float
    filename: str
    purpose: str
    content: bytes
    dataset: Dataset | None
    polls_left: int = 0

    @property
    def problem(self) -> str | None:
        """What is wrong with the content, whether or not it is shown yet."""
        return self.dataset.file_problem if self.dataset is not None else None

    @property
    def status(self) -> str:
        """`pending` until it was looked at often enough."""
        if self.polls_left > 0:
            return "pending"
        return "error" if self.problem else "processed"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One piece of an upload."""

    id: str
    created_at: float
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that arrives in pieces; `ended` is how it came to its end, `file` what it became."""

    id: str
    created_at: float
    filename: str
    purpose: str
    bytes: int
    parts: tuple[Part, ...] = ()
    ended: Literal["completed", "cancelled"] | None = None
    file: StoredFile | None = None

    @property
    def expires_at(self) -> float:
        """Until when pieces are taken."""
        return self.created_at + _UPLOAD_SECONDS

    def status(self, now: float) -> str:
        """As the wire names it."""
        return self.ended or ("pending" if now < self.expires_at else "expired")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A model that answers; `answers` is what it says to certain last messages of the user."""

    model: str
    answers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredMessage:
    """One message of a prompt that was kept."""

    id: str
    sent: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredCompletion:
    """A completion that a client wanted to be kept."""

    id: str
    body: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, str]

    def prompt(self) -> list[StoredMessage]:
        """What was answered, first message first."""
        return [
            StoredMessage(id=f"{self.id}-{index}", sent=message)
            for index, message in enumerate(self.messages)
        ]


@dataclass(kw_only=True)
class FateRule:
    """Failures that wait for jobs which do not exist yet."""

    suffix: str
    fate: Fate
    times: int


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


def page(newest_first: Sequence[_T], *, after: str | None, limit: int) -> tuple[list[_T], bool]:
    """The `limit` items behind the one called `after`, and whether more follow.

    Raises:
        KeyError: there is no item called `after`.
    """
    start = 0
    if after is not None:
        start = _position(newest_first, after) + 1
    return list(newest_first[start : start + limit]), start + limit < len(newest_first)


def _position(items: Iterable[_Named], wanted: str) -> int:
    for position, item in enumerate(items):
        if item.id == wanted:
            return position
    raise KeyError(wanted)


class Store:
    """Files and jobs by id. A job's record is replaced, never changed."""

    def __init__(self) -> None:
        """Start empty."""
        self.fates: list[FateRule] = []
        self.uploads: dict[str, Upload] = {}
        self.deployments: dict[str, Deployment] = {}
        self.completions: dict[str, StoredCompletion] = {}
        self._lessons: dict[str, bytes] = {}
        self._files: dict[str, StoredFile] = {}
        self._jobs: dict[str, Job] = {}
        self._serials: list[tuple[int, str]] = []
        self._removed: dict[str, Job] = {}
        self._waiting: list[str] = []
        self._admitted: set[str] = set()
        self._without_results: set[str] = set()

    # Files

    def add_file(
        self, *, filename: str, purpose: str, content: bytes, now: float, pending_polls: int
    ) -> StoredFile:
        """Take a new file in; fine-tuning data is read at once, its verdict shown later."""
        file = StoredFile(
            id=f"file-{uuid.uuid4().hex}",
            created_at=now,
            filename=filename,
            purpose=purpose,
            content=content,
            dataset=read_dataset(content) if purpose == "fine-tune" else None,
            polls_left=pending_polls,
        )
        self._files[file.id] = file
        return file

    def file(self, file_id: str) -> StoredFile:
        """One file without counting as a look at it; KeyError if there is none."""
        return self._files[file_id]

    def look_at(self, file_id: str) -> StoredFile:
        """One file as the client sees it now; each look brings a pending one nearer its verdict."""
        file = self._files[file_id]
        self._files[file_id] = replace(file, polls_left=max(0, file.polls_left - 1))
        return file

    def files(self) -> list[StoredFile]:
        """All files, newest first."""
        return list(reversed(self._files.values()))

    def remove_file(self, file_id: str) -> None:
        """Forget a file, used or not; KeyError if there is none."""
        del self._files[file_id]

    def publish_results(self, now: float) -> None:
        """Turn the results of jobs that have succeeded by `now` into files."""
        for job_id in list(self._without_results):
            job = self._jobs[job_id]
            end = lifecycle.outcome(job, now)
            if end is None:
                continue
            self._without_results.discard(job_id)
            if end.status == "succeeded":
                self._add_results(job, end.at)

    def _add_results(self, job: Job, at: float) -> None:
        file_id = history.result_file_id(job)
        self._files[file_id] = StoredFile(
            id=file_id,
            created_at=at,
            filename="results.csv",
            purpose="fine-tune-results",
            content=history.results_csv(job),
            dataset=None,
        )

    # Jobs

    def next_serial(self) -> int:
        """A number above that of every job that there is."""
        return self._serials[-1][0] + 1 if self._serials else 1

    def add_job(self, job: Job) -> None:
        """Take a new job in, with what it trains on: files may go, what was learned stays."""
        self._lessons[job.id] = self._files[job.training_file].content
        self._jobs[job.id] = job
        self._serials.append((job.serial, job.id))
        self._without_results.add(job.id)
        self._waiting.append(job.id)

    def job(self, job_id: str) -> Job:
        """One job; KeyError if there is none."""
        return self._jobs[job_id]

    def lesson(self, job_id: str) -> bytes:
        """The rows that a job was trained on; KeyError if there never was one."""
        return self._lessons[job_id]

    def maker(self, job_id: str) -> Job:
        """The job that made a model, which outlives it; KeyError if there never was one."""
        return self._jobs.get(job_id) or self._removed[job_id]

    def replace_job(self, job: Job) -> None:
        """Put a newer record in the place of the one with its id."""
        self._jobs[job.id] = job

    def remove_job(self, job_id: str) -> None:
        """Forget a job, but not what it has made; KeyError if there is none."""
        job = self._removed[job_id] = self._jobs.pop(job_id)
        del self._serials[bisect.bisect_left(self._serials, (job.serial, job.id))]
        self._without_results.discard(job_id)
        self._admitted.discard(job_id)

    def waiting(self) -> list[Job]:
        """Jobs whose turn has not come, oldest first."""
        jobs = [self._jobs[job_id] for job_id in self._waiting if job_id in self._jobs]
        jobs = [job for job in jobs if job.ended is None]
        self._waiting = [job.id for job in jobs]
        return jobs

    def admitted(self) -> list[Job]:
        """Jobs whose turn has come and that were not over when it was last looked."""
        return [self._jobs[job_id] for job_id in self._admitted]

    def admit(self, job_id: str, moment: float) -> None:
        """Say when a job's turn comes."""
        self._waiting.remove(job_id)
        self._admitted.add(job_id)
        self.replace_job(lifecycle.admitted(self._jobs[job_id], moment))

    def forget_over(self, now: float) -> None:
        """Forget the turns of jobs that are over."""
        self._admitted = {job.id for job in self.admitted() if lifecycle.end_moment(job) > now}

    def count_pending(self, now: float) -> int:
        """How many jobs are in the queue."""
        return sum(lifecycle.status(job, now) == "pending" for job in self._jobs.values())

    def count_jobs(self) -> int:
        """How many jobs there are, over or not."""
        return len(self._jobs)

    def jobs(self, *, before: str | None = None) -> Iterator[Job]:
        """Jobs, newest first, or only those older than `before`; KeyError if that is unknown."""
        start = len(self._serials)
        if before is not None:
            known = self._jobs[before]
            start = bisect.bisect_left(self._serials, (known.serial, known.id))
        return (self._jobs[self._serials[index][1]] for index in range(start - 1, -1, -1))
