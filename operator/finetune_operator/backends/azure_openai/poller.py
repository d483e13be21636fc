"""Keeps an eye on all active jobs of one endpoint and credential, with one list per interval.

Publishes snapshots, and wakes the keys whose snapshot changed. There is no task and no request
while nothing is watched. Must not know of FineTuneJobs: keys and job ids are all it is given.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime

from finetune_api.reasons import Reason
from finetune_operator.adapters.store import Key
from finetune_operator.backends.azure_openai import wire
from finetune_operator.backends.azure_openai.service import FineTuningService
from finetune_operator.backends.azure_openai.watched import Watched, WatchList
from finetune_operator.core.errors import OperatorError, Transient
from finetune_operator.core.observed import Remote, RemoteDetails, RemoteJob

logger = logging.getLogger(__name__)

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_TRAINING = frozenset({"running"})
_THROTTLED = (Reason.RATE_LIMITED, Reason.QUOTA_EXCEEDED)
_GATHERING_SECONDS = 2.0
"""After a restart jobs become known one by one: one list for all of them."""
_DETAILS_EVERY = 2
"""Polls from one look at a training job's events to the next."""
_DETAILS_PER_POLL = 10
"""More jobs than an account runs at once: a bound where an account is more generous."""
_FINAL_TRIES = 3
"""Polls for which the end of a job waits for its last events and checkpoints."""
_MOST_FAILURES = 3
"""A poll that meets more of them is given up: the endpoint is not well."""


class Poller:
    """The watched jobs of one service; `interval` is in seconds."""

    def __init__(
        self, service: FineTuningService, *, interval: float, wake: Callable[[Key], None]
    ) -> None:
        self._service, self._interval, self._wake = service, interval, wake
        self._list = WatchList(wake)
        self._task: asyncio.Task[None] | None = None
        self._round = 0
        self._failures: list[OperatorError] = []
        self.error: OperatorError | None = None
        """What the last poll met first; None if it went well."""

    @property
    def idle(self) -> bool:
        """Whether nobody watches anything."""
        return self._list.empty

    def watch(self, key: Key, job_id: str) -> Remote | None:
        """Keep an eye on a job for `key`, instead of what it watched before; the last snapshot."""
        watched = self._list.add(key, job_id)
        if self._task is None and not watched.over:
            self._task = asyncio.create_task(self._run(), name="hosted poller")
        return watched.remote

    def unwatch(self, key: Key) -> None:
        """Nobody waits for this key's job any more."""
        self._list.remove(key)
        self._stop_if_over()

    def note(self, job_id: str, remote: Remote) -> None:
        """Take over what somebody has just learned about a job, watched or about to be."""
        self._list.note(job_id, remote, over=_is_over(remote.job))
        self._stop_if_over()

    def details_of(self, job_id: str) -> RemoteDetails:
        """What is known of a job's events and checkpoints."""
        remote = self._list.last(job_id)
        return remote.details if remote else RemoteDetails()

    def close(self) -> None:
        """Stop polling."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _stop_if_over(self) -> None:
        if not self._list.active():
            self.close()

    async def _run(self) -> None:
        await asyncio.sleep(min(_GATHERING_SECONDS, self._interval / 4))
        while self._list.active():
            await self._poll_once()
            if self._list.active():
                await asyncio.sleep(self._pause() * random.uniform(1.0, 1.2))
        self._task = None

    def _pause(self) -> float:
        """An interval, or as long as a throttling service asks for."""
        if isinstance(self.error, Transient) and self.error.reason in _THROTTLED:
            return max(self._interval, self.error.retry_after)
        return self._interval

    async def _poll_once(self) -> None:
        """Look at everything, and tell those who wait when the endpoint's health changes."""
        self._failures = []
        with self._noting_failure():
            await self._poll()
        self._round += 1
        before = self.error and self.error.reason
        self.error = self._failures[0] if self._failures else None
        if before != (self.error and self.error.reason):
            self._list.wake_all()

    async def _poll(self) -> None:
        active = self._list.active()
        found = await self._listed(set(active))
        for job_id in active.keys() - found.keys():
            with self._noting_failure():
                found[job_id] = await self._fetched(job_id)
        for job_id, job in found.items():
            if not _is_over(job):
                self._publish(active[job_id], job)
        for job_id, job in found.items():
            if _is_over(job):
                with self._noting_failure():
                    await self._finish(active[job_id], job)
        for watched in self._due(active, found):
            with self._noting_failure():
                await self._look_closer(watched)

    async def _listed(self, wanted: set[str]) -> dict[str, RemoteJob | None]:
        """The wanted jobs, newest first; stops as soon as all were seen."""
        found: dict[str, RemoteJob | None] = {}
        async with aclosing(self._service.newest()) as jobs:
            async for job in jobs:
                if job.id in wanted:
                    found[job.id] = job
                if len(found) == len(wanted):
                    break
        return found

    async def _fetched(self, job_id: str) -> RemoteJob | None:
        """A job that the list does not show (yet); None if the account does not know it."""
        try:
            return await self._service.get(job_id)
        except Transient as error:
            if error.reason is Reason.REMOTE_JOB_NOT_FOUND:
                return None
            raise

    def _due(self, active: dict[str, Watched], found: dict[str, RemoteJob | None]) -> list[Watched]:
        """Training jobs whose events are to be read now, those that waited longest first."""
        training = [
            active[job_id]
            for job_id, job in found.items()
            if job is not None and job.raw_status in _TRAINING
        ]
        due = [w for w in training if self._round - w.details_round >= _DETAILS_EVERY]
        return sorted(due, key=lambda watched: watched.details_round)[:_DETAILS_PER_POLL]

    async def _look_closer(self, watched: Watched) -> None:
        watched.details_round = self._round
        if watched.remote is not None and watched.remote.job is not None:
            job = watched.remote.job
            self._publish(watched, job, await self._service.details(job.id))

    async def _finish(self, watched: Watched, job: RemoteJob | None) -> None:
        """Publish the end of a job together with its last events and checkpoints."""
        assert job is not None
        watched.final_tries += 1
        try:
            details = await self._service.details(job.id)
        except OperatorError:
            if watched.final_tries < _FINAL_TRIES:
                raise
            details = RemoteDetails()
        self._publish(watched, job, details)

    def _publish(
        self, watched: Watched, job: RemoteJob | None, details: RemoteDetails | None = None
    ) -> None:
        known = watched.remote.details if watched.remote else RemoteDetails()
        remote = Remote(
            job=job,
            details=known if details is None else wire.updated(known, details),
            seen_at=datetime.now(UTC),
        )
        self._list.publish(watched, remote, over=_is_over(job))

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Go on after a failure, unless there were too many already."""
        try:
            yield
        except OperatorError as error:
            if error not in self._failures:
                self._failures.append(error)
            if len(self._failures) > _MOST_FAILURES:
                raise


def _is_over(job: RemoteJob | None) -> bool:
    return job is not None and job.raw_status in TERMINAL
