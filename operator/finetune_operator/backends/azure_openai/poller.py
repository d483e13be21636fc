"""Keeps an eye on all active jobs of one endpoint and credential, with one list per interval.

Publishes snapshots, and wakes the keys whose snapshot changed. There is no task and no request
while nothing is watched. Must not know of FineTuneJobs: keys and job ids are all it is given.
"""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime

from finetune_api.reasons import Reason
from finetune_operator.adapters.store import Key
from finetune_operator.backends.azure_openai import wire
from finetune_operator.backends.azure_openai.service import FineTuningService
from finetune_operator.backends.azure_openai.watched import Watched, WatchList
from finetune_operator.core.errors import OperatorError, Transient
from finetune_operator.core.observed import TERMINAL, Remote, RemoteDetails, RemoteJob

logger = logging.getLogger(__name__)

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
"""Jobs that cannot be read after which a poll is over: the endpoint is not well."""


class Poller:
    """The watched jobs of one service; `interval` is in seconds."""

    def __init__(
        self, service: FineTuningService, *, interval: float, wake: Callable[[Key], None]
    ) -> None:
        self._service, self._interval = service, interval
        self._list = WatchList(wake)
        self._task: asyncio.Task[None] | None = None
        self._round = 0
        self.error: OperatorError | None = None
        """What kept the last poll from seeing the jobs; None if it went well."""

    def watch(self, key: Key, job_id: str) -> Remote | None:
        """Keep an eye on a job for `key`, instead of what it watched before; the last snapshot."""
        watched = self._list.add(key, job_id)
        if self._task is None and not watched.over:
            # A context of its own: its log lines are about no single object.
            self._task = asyncio.create_task(
                self._run(), name="hosted poller", context=contextvars.Context()
            )
        return watched.remote

    def error_of(self, key: Key) -> OperatorError | None:
        """What keeps snapshots of this key's job from coming: the account's trouble or its own."""
        return self.error or self._list.error_of(key)

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
            try:
                await self._poll_once()
            except Exception:  # a fault of ours must not leave the jobs unwatched
                logger.exception("A poll of hosted jobs failed")
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
        before, self.error = self.error, await self._poll()
        self._round += 1
        if _reason(before) is not _reason(self.error):
            self._list.wake_all()

    async def _poll(self) -> OperatorError | None:
        """What cut the look at the jobs short, if something did."""
        active, began = self._list.active(), datetime.now(UTC)
        found: dict[str, RemoteJob | None] = {}
        error: OperatorError | None = None
        try:
            others = await self._look(active, found, began)
        except OperatorError as caught:
            error = caught
        else:
            for job_id, job in found.items():
                active[job_id].twins = _twins_of(job, others)
        news = {id_: job for id_, job in found.items() if not active[id_].known_since(began)}
        for job_id, job in news.items():
            if not _is_over(job):
                self._publish(active[job_id], job)
        if error is None:
            await self._read_details(active, news)
        return error

    async def _look(
        self, wanted: dict[str, Watched], found: dict[str, RemoteJob | None], began: datetime
    ) -> list[RemoteJob]:
        """Find the wanted jobs: in the list as far as need be, else one by one.

        Returns the active jobs among the others that came with them.
        """
        others: list[RemoteJob] = []
        async with aclosing(self._service.pages()) as pages:
            async for page in pages:
                found |= {job.id: job for job in page if job.id in wanted}
                others += [job for job in page if job.id not in wanted and not _is_over(job)]
                if len(found) == len(wanted):
                    return others
        await self._fetch({id_: wanted[id_] for id_ in wanted.keys() - found.keys()}, found, began)
        return others

    async def _fetch(
        self, missing: dict[str, Watched], found: dict[str, RemoteJob | None], began: datetime
    ) -> None:
        """Ask for jobs by name; one that fails is its own trouble, unless it is all the account's.

        Those that failed before come last, so that they keep no other from being read.
        """
        failures = 0
        for job_id, watched in sorted(missing.items(), key=lambda item: item[1].error is not None):
            try:
                found[job_id] = await self._fetched(job_id)
            except OperatorError as error:
                if error.reason in _THROTTLED:
                    raise
                if not watched.known_since(began):
                    self._list.fail(watched, error)
                failures += 1
            if failures == _MOST_FAILURES:
                return

    async def _fetched(self, job_id: str) -> RemoteJob | None:
        """A job that the list does not show (yet); None if the account does not know it."""
        try:
            return await self._service.get(job_id)
        except Transient as error:
            if error.reason is Reason.REMOTE_JOB_NOT_FOUND:
                return None
            raise

    async def _read_details(
        self, active: dict[str, Watched], found: dict[str, RemoteJob | None]
    ) -> None:
        """Events and checkpoints; where they cannot be read, only progress is not shown."""
        jobs = [job for job in found.values() if job is not None]
        ended = [job for job in jobs if _is_over(job)]
        failures = 0
        for job in [*ended, *self._due(active, jobs)]:
            try:
                await self._look_closer(active[job.id], job)
            except OperatorError as error:
                logger.info("The events of hosted job %s cannot be read: %s", job.id, error)
                failures += 1
            if failures == _MOST_FAILURES:
                return

    def _due(self, active: dict[str, Watched], jobs: list[RemoteJob]) -> list[RemoteJob]:
        """Training jobs whose events are to be read now, those that waited longest first."""
        waited = {
            job.id: self._round - active[job.id].details_round
            for job in jobs
            if job.raw_status in _TRAINING
        }
        due = [job for job in jobs if waited.get(job.id, 0) >= _DETAILS_EVERY]
        return sorted(due, key=lambda job: -waited[job.id])[:_DETAILS_PER_POLL]

    async def _look_closer(self, watched: Watched, job: RemoteJob) -> None:
        """Publish a job with its events; one that is over only so, unless they never come."""
        watched.details_round = self._round
        watched.final_tries += 1 if _is_over(job) else 0
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
            twins=watched.twins,
        )
        self._list.publish(watched, remote, over=_is_over(job))


def _twins_of(job: RemoteJob | None, others: list[RemoteJob]) -> tuple[RemoteJob, ...]:
    """Jobs of the same suffix; whether they are ours is not decided here."""
    if job is None or job.suffix is None:
        return ()
    same = (other for other in others if other.suffix == job.suffix)
    return tuple(sorted(same, key=lambda other: other.id))


def _is_over(job: RemoteJob | None) -> bool:
    return job is not None and job.raw_status in TERMINAL


def _reason(error: OperatorError | None) -> Reason | None:
    return error.reason if error else None
