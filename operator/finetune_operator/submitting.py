"""Creates hosted jobs, once each, and finds them again; their ids are written down at once.

Acts and decides nothing: what is sent when is decided in `core.submission`.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_api.status import Submission
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core import conditions
from finetune_operator.core.errors import Ambiguous, Conflict, Terminal, Transient
from finetune_operator.core.observed import RemoteJob
from finetune_operator.core.submission import hosted
from finetune_operator.memory import JobMemory
from finetune_operator.writing import JobWriter, Reporter

logger = logging.getLogger(__name__)


class Submissions(Protocol):
    """What submitting needs of the hosted backend."""

    async def create(
        self, job: FineTuneJob, *, suffix: str, training_file: str, validation_file: str | None
    ) -> RemoteJob:
        """Creates the job, once."""

    async def find(
        self, job: FineTuneJob, *, suffix: str, started_at: datetime
    ) -> tuple[RemoteJob, ...]:
        """Jobs with this suffix, oldest first."""

    async def cancel(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Cancels; the job as it is then."""


class Submitter:
    """The two requests that a marker in status stands for: create, and search."""

    def __init__(
        self,
        service: Submissions,
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
            remote = await self._service.create(
                job,
                suffix=suffix,
                training_file=part.training_file_id,
                validation_file=part.validation_file_id,
            )
        except Ambiguous as e:
            logger.warning("The answer to the submission was lost: %s", e)
            memory.posted(marker, self._now())
            return job
        except (Transient, Terminal):
            memory.posted(marker, None)
            raise
        return await self._adopt(job, remote)

    async def look(self, job: FineTuneJob, suffix: str, memory: JobMemory) -> FineTuneJob:
        """Search for the submission; of several, the oldest counts and the others are cancelled.

        They are cancelled first: once there is an id in status, nobody looks again.
        """
        recorded, began = _recorded(job), self._now()
        found = await self._service.find(
            job, suffix=suffix, started_at=conditions.parse_time(recorded.started_at)
        )
        if not found:
            memory.looked(recorded.marker, began)
            return job
        first, *others = found
        for other in others:
            await self._cancel_duplicate(job, other.id)
        return await self._adopt(job, first)

    async def _cancel_duplicate(self, job: FineTuneJob, job_id: str) -> None:
        await self._service.cancel(job, job_id)
        message = f"Job {job_id} was submitted twice and has been cancelled"
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
                return await self._writer.status(job, status)
            except Conflict:
                job = await self._writer.newest(job.metadata)
            if hosted(job.status).submission != submitted:
                raise Conflict("The object does not wait for this submission any more")


def _recorded(job: FineTuneJob) -> Submission:
    submission = hosted(job.status).submission
    if submission is None:
        raise ValueError("nothing is submitted before its marker is in status")
    return submission
