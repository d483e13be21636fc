"""The hosted service in memory, and the backend of one process on top of it.

Jobs show in lists only after a while, and go on when the world lets them. `hook` runs around each
request, as for the API server.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from finetune_api.job import FineTuneJob
from finetune_operator.adapters.store import Key
from finetune_operator.core.conditions import is_finished
from finetune_operator.core.errors import OperatorError
from finetune_operator.core.observed import (
    Figures,
    Remote,
    RemoteDetails,
    RemoteJob,
    StepFigures,
)

OVER = ("succeeded", "failed", "cancelled")


@dataclass
class HostedJob:
    """A job at the service."""

    id: str
    suffix: str
    created: datetime
    shown_from: datetime
    status: str = "pending"
    step: int = 0
    wants_pause: bool = False

    @property
    def over(self) -> bool:
        return self.status in OVER


class FakeService:
    """The account: what exists there, whoever asks."""

    def __init__(self, now: Callable[[], datetime], lag: Callable[[], float]) -> None:
        self.now, self._lag = now, lag
        self.jobs: list[HostedJob] = []

    def create(self, suffix: str, at: datetime | None = None) -> HostedJob:
        created = at or self.now()
        shown = created + timedelta(seconds=self._lag())
        job = HostedJob(
            id=f"ftjob-{len(self.jobs) + 1}", suffix=suffix, created=created, shown_from=shown
        )
        self.jobs.append(job)
        return job

    def get(self, job_id: str) -> HostedJob:
        return next(job for job in self.jobs if job.id == job_id)

    def active(self) -> list[HostedJob]:
        return [job for job in self.jobs if not job.over]

    def snapshot(self, job: HostedJob) -> Remote:
        return Remote(
            job=RemoteJob(
                id=job.id,
                raw_status=job.status,
                created_at=job.created,
                suffix=job.suffix,
                fine_tuned_model=f"model-of-{job.id}" if job.status == "succeeded" else None,
                result_files=("file-results",) if job.status == "succeeded" else (),
            ),
            details=RemoteDetails(step=job.step or None, total_steps=5),
            seen_at=self.now(),
        )


class FakeHosted:
    """What one process knows: snapshots of the jobs that it follows."""

    def __init__(self, service: FakeService, wake: Callable[[Key], None]) -> None:
        self._service, self._wake = service, wake
        self.watched: dict[Key, str] = {}
        self._snapshots: dict[str, Remote] = {}
        self.trouble: OperatorError | None = None
        self.sending = ""
        self.hook: Callable[[str, str], None] = lambda when, operation: None

    # What the reconciler uses

    def observe(self, key: Key, job: FineTuneJob) -> Remote | None:
        job_id = job.status.azure_open_ai.job_id if job.status.azure_open_ai else None
        if job_id is None or is_finished(job.status):
            self.forget(key)
            return None
        self.watched[key] = job_id
        return self._snapshots.get(job_id)

    def error(self, key: Key) -> OperatorError | None:
        return self.trouble if key in self.watched else None

    def forget(self, key: Key) -> None:
        self.watched.pop(key, None)

    async def authenticate(self, job: FineTuneJob) -> None:
        self.hook("before", "authenticate")

    async def create(
        self, job: FineTuneJob, *, suffix: str, training_file: str, validation_file: str | None
    ) -> RemoteJob:
        self.sending = suffix
        self.hook("before", "create")
        created = self._service.create(suffix)
        self.hook("after", "create")
        return self._noted(created)

    async def find(
        self, job: FineTuneJob, *, suffix: str, started_at: datetime
    ) -> tuple[RemoteJob, ...]:
        self.hook("before", "find")
        now = self._service.now()
        shown = [j for j in self._service.jobs if j.suffix == suffix and j.shown_from <= now]
        self.hook("after", "find")
        return tuple(self._noted(found) for found in shown)

    async def cancel(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        remote = self._service.get(job_id)
        self.hook("before", "cancel")
        self.hook("before", f"cancel {job_id}")
        if not remote.over:
            remote.status = "cancelled"
        self.hook("after", "cancel")
        return self._noted(remote)

    async def pause(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        remote = self._service.get(job_id)
        self.hook("before", "pause")
        if remote.status == "running" and remote.step:
            remote.status = "pausing"
        self.hook("after", "pause")
        return self._noted(remote)

    async def resume(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        remote = self._service.get(job_id)
        self.hook("before", "resume")
        if remote.status == "paused":
            remote.status = "resuming"
        self.hook("after", "resume")
        return self._noted(remote)

    async def refresh(self, job: FineTuneJob, job_id: str) -> Remote:
        self.hook("before", "refresh")
        self._noted(self._service.get(job_id))
        return self._snapshots[job_id]

    async def equal(self, job: FineTuneJob, digest: str) -> tuple[RemoteJob, ...]:
        self.hook("before", "equal")
        now = self._service.now()
        found = [
            job
            for job in reversed(self._service.jobs)
            if job.suffix.endswith(digest)
            and job.shown_from <= now
            and job.status not in ("failed", "cancelled")
        ]
        return tuple(remote for each in found if (remote := self._service.snapshot(each).job))

    async def results(self, job: FineTuneJob, file_id: str) -> tuple[StepFigures, ...]:
        self.hook("before", "results")
        losses = (2.0, 1.0, 1.5, 1.6, 1.7)
        return tuple(
            StepFigures(step=step, figures=Figures(train_loss=loss, validation_loss=loss))
            for step, loss in enumerate(losses, start=1)
        )

    def _noted(self, job: HostedJob) -> RemoteJob:
        known = self._snapshots.get(job.id)
        remote = replace(self._service.snapshot(job), twins=known.twins if known else ())
        self._snapshots[job.id] = remote
        assert remote.job is not None
        return remote.job

    def _twins_of(self, ours: HostedJob) -> tuple[RemoteJob, ...]:
        same = [job for job in self._service.active() if job.suffix == ours.suffix]
        found = [self._service.snapshot(job).job for job in same if job is not ours]
        return tuple(job for job in found if job is not None)

    # What its poller does

    def poll(self) -> None:
        """Look at everything that is followed; wake whose snapshot says something new."""
        for key, job_id in list(self.watched.items()):
            old, ours = self._snapshots.get(job_id), self._service.get(job_id)
            new = replace(self._service.snapshot(ours), twins=self._twins_of(ours))
            self._snapshots[job_id] = new
            if old is None or replace(old, seen_at=new.seen_at) != new:
                self._wake(key)

    def set_trouble(self, trouble: OperatorError | None) -> None:
        """From now on polls fail with this, or go well again."""
        if trouble is not self.trouble:
            self.trouble = trouble
            for key in list(self.watched):
                self._wake(key)
