"""Creates hosted jobs, once each, and finds them again; their ids are written down at once.

Acts and decides nothing: what is sent when is decided in `core.submission`.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_api.status import Submission
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core import conditions
from finetune_operator.core.errors import Ambiguous, Conflict, OperatorError, Terminal, Transient
from finetune_operator.core.observed import TERMINAL, RemoteJob
from finetune_operator.core.submission import hosted, is_duplicate, one_that_counts
from finetune_operator.memory import JobMemory
from finetune_operator.writing import JobWriter, Reporter

logger = logging.getLogger(__name__)

_ENDED_BY_ITSELF = frozenset({"succeeded", "failed"})


class Submissions(Protocol):
    """What submitting needs of the hosted backend."""

    async def create(
        self, job: FineTuneJob, *, suffix: str, training_file: str, validation_file: str | None
    ) -> RemoteJob:
        """Creates the job, once."""

    async def find(
        self, job: FineTuneJob, *, suffix: str, started_at: datetime
    ) -> tuple[RemoteJob, ...]:
        """Jobs with the marker that ends this suffix, oldest first."""

    async def cancel(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Cancels; the job as it is then."""


class Submitter:
    """The two requests that a marker in status stands for: create, and search."""

    def __init__(
        self,
        service: Callable[[], Submissions],
        writer: JobWriter,
        store: Store,
        events: Reporter,
        now: Callable[[], datetime],
    ) -> None:
        self._service, self._writer, self._now = service, writer, now
        self._store, self._events = store, events

    async def submit(self, job: FineTuneJob, suffix: str, memory: JobMemory) -> FineTuneJob:
        """Create the hosted job; nothing is known afterwards if the answer was lost."""
        part, marker = hosted(job.status), _recorded(job).marker
        if part.training_file_id is None:
            raise ValueError("submitted without a file")
        memory.posted(marker, self._now())
        try:
            remote = await self._service().create(
                job,
                suffix=suffix,
                training_file=part.training_file_id,
                validation_file=part.validation_file_id,
            )
        except Ambiguous as e:
            logger.warning("The answer to the submission was lost: %s", e)
            memory.unanswered(marker, self._now(), e.message)
            return job
        except (Transient, Terminal):
            memory.not_created(marker)
            raise
        return await self._adopt(job, remote)

    async def look(self, job: FineTuneJob, suffix: str, memory: JobMemory) -> FineTuneJob:
        """Search for the submission; of several, one counts and the others are cancelled."""
        recorded, began = _recorded(job), self._now()
        found = await self._service().find(
            job, suffix=suffix, started_at=conditions.parse_time(recorded.started_at)
        )
        if not found:
            memory.looked(recorded.marker, began)
            return job
        own = one_that_counts(found)
        for other in found:
            if other.raw_status not in TERMINAL and is_duplicate(other, own, recorded):
                await self.cancel_duplicate(job, other.id, memory)
        return await self._adopt(job, own)

    async def cancel_duplicate(self, job: FineTuneJob, job_id: str, memory: JobMemory) -> None:
        """Cancel a hosted job whose submission has another one that counts, and say so.

        It holds up nothing: what fails is said once, and tried again later.
        """
        is_news = job_id not in memory.cancelled
        memory.cancel_asked(job_id, self._now())
        try:
            remote = await self._service().cancel(job, job_id)
        except OperatorError as e:
            if is_news:
                logger.warning("Job %s was submitted twice and goes on for now: %s", job_id, e)
            return
        message = f"Job {job_id} was submitted twice and has been cancelled"
        if remote.raw_status in _ENDED_BY_ITSELF:
            message = f"Job {job_id} was submitted twice, and had {remote.raw_status} before that"
            message += " was seen"
        logger.error(message)
        obj = self._store.job(Key(job.metadata.namespace, job.metadata.name))
        if obj is not None:
            self._events.emit(obj, Reason.DUPLICATE_JOB_CANCELLED, message, warning=True)

    async def _adopt(self, job: FineTuneJob, remote: RemoteJob) -> FineTuneJob:
        """Write the id down, whatever else has been changed since the job was read."""
        submitted = _recorded(job)
        while True:
            part = hosted(job.status).model_copy(
                update={"job_id": remote.id, "raw_status": remote.raw_status[:253]}
            )
            status = job.status.model_copy(update={"azure_open_ai": part})
            try:
                written = await self._writer.status(job, status)
            except Conflict:
                logger.warning("Submitted, and not yet written down: remote=%s", remote.id)
                job = await self._writer.newest(job.metadata)
            else:
                host = urlsplit(part.endpoint or "").hostname
                logger.info("Submitted: remote=%s endpoint=%s", remote.id, host)
                return written
            if hosted(job.status).submission != submitted:
                logger.error("Created, but nobody waits for it any more: remote=%s", remote.id)
                raise Conflict("The object does not wait for this submission any more")


def _recorded(job: FineTuneJob) -> Submission:
    submission = hosted(job.status).submission
    if submission is None:
        raise ValueError("nothing is submitted before its marker is in status")
    return submission
