"""Carries out one action of a plan: in the cluster, at the hosted service, on the object itself.

Decides nothing: each action is one of `core.plan`, and what it brought to light is handed back.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from finetune_api.constants import FINALIZER
from finetune_api.job import FineTuneJob
from finetune_api.pods import UploadTarget
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.store import Key, Store
from finetune_operator.backends.kubernetes.cluster import Cluster
from finetune_operator.core import names, plan
from finetune_operator.core.errors import Declined, OperatorError, Terminal, endured
from finetune_operator.core.observed import Found, Observed, Remote, RemoteJob, StepFigures
from finetune_operator.core.submission import bears
from finetune_operator.memory import JobMemory
from finetune_operator.submitting import Submissions, Submitter
from finetune_operator.writing import JobWriter, Reporter

logger = logging.getLogger(__name__)

_STARTED, _STARTED_AT = time.monotonic(), datetime.now(UTC)
_BEGINNINGS = (plan.CreatePrepare, plan.CreateTraining, plan.Submit)


def _steady() -> datetime:
    return _STARTED_AT + timedelta(seconds=time.monotonic() - _STARTED)


class Hosted(Submissions, Protocol):
    """What the reconciler needs of the hosted backend."""

    def observe(self, key: Key, job: FineTuneJob) -> Remote | None:
        """The last snapshot of the job that status names."""

    def error(self, key: Key) -> OperatorError | None:
        """What the service last answered instead, if it did."""

    async def authenticate(self, job: FineTuneJob) -> None:
        """Makes sure that there is a key or token; raises if there is none."""

    async def pause(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Pauses; the job as it is then."""

    async def resume(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Resumes; the job as it is then."""

    async def refresh(self, job: FineTuneJob, job_id: str) -> Remote:
        """Asks the service now."""

    async def equal(self, job: FineTuneJob, digest: str) -> tuple[RemoteJob, ...]:
        """Jobs with this digest in their suffix that run or have succeeded, newest first."""

    async def results(self, job: FineTuneJob, file_id: str) -> tuple[StepFigures, ...]:
        """Reads a result file."""

    def forget(self, key: Key) -> None:
        """The object is gone."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Everything that the reconciler acts through."""

    api: Api
    store: Store
    cluster: Cluster
    hosted: Callable[[], Hosted]
    """The hosted backend, which is made, and its libraries loaded, for the first hosted job."""
    upload_target: Callable[[FineTuneJob], UploadTarget]
    """Where the prepare pod of a hosted job puts its files; raises if that is not allowed."""
    events: Reporter
    orphaned: Callable[[], None]
    """Counts a hosted job that is left behind."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    steady: Callable[[], datetime] = _steady
    """As `now`, but never set: what is remembered is measured with it."""


class Actor:
    """Does what a plan orders, one action at a time."""

    def __init__(self, outside: Outside, writer: JobWriter, policy: plan.Policy) -> None:
        self._out, self._writer, self._policy = outside, writer, policy
        self._submitter = Submitter(
            outside.hosted, writer, outside.store, outside.events, outside.steady
        )

    async def act(
        self, seen: Observed, action: plan.Action, memory: JobMemory
    ) -> tuple[FineTuneJob, Found]:
        """Carry out one action; the object as it is then, and what was found out.

        Only what begins something may be refused for good: whatever else is refused, a job that
        runs goes on, and a result that is there is not lost.
        """
        try:
            return await self._act(seen, action, memory)
        except Terminal as e:
            raise (e if isinstance(action, _BEGINNINGS) else endured(e)) from None

    async def _act(
        self, seen: Observed, action: plan.Action, memory: JobMemory
    ) -> tuple[FineTuneJob, Found]:
        job, found, cluster = seen.job, seen.found, self._out.cluster
        match action:
            case plan.WriteStatus():
                job = await self._write(job, action, memory)
            case plan.AddFinalizer():
                job = await self._finalizer(job, add=True)
                memory.holds_finalizer = True
            case plan.DropFinalizer():
                job = await self._let_go(job, action.orphaned)
            case plan.CreatePrepare():
                target = self._out.upload_target(job) if job.spec.azure_open_ai else None
                least = self._policy.hosted_min_examples if target else 1
                await cluster.create_prepare(job, action.retry, target, least)
            case plan.CreateTraining():
                await cluster.create_training(job, action.attempt)
                name = names.training_name(job, action.attempt)
                logger.info("Attempt begun: attempt=%d child=%s", action.attempt, name)
            case plan.DeleteChild():
                await cluster.delete_child(job, action.name, action.uid)
            case plan.ConfirmAbsent():
                there = await cluster.refresh_child(job, action.name)
                found = replace(found, confirmed_absent=not there)
            case plan.ReadPods():
                await cluster.read_pods(job)
                found = replace(found, pods_confirmed=True)
            case plan.ReadEvents():
                events = await cluster.read_events(job, action.job_uid, action.pod_uid)
                found = replace(found, events=events)
            case plan.EnsureAccount():
                await cluster.ensure_account(job.metadata.namespace, anew=True)
                found = replace(found, account_ensured=True)
            case plan.SetTtl():
                await cluster.set_ttl(job, action.name, action.seconds)
            case plan.FindClaim():
                there = await cluster.has_claim(job, action.name)
                found = replace(found, claim_there=there)
            case plan.OwnClaim():
                await cluster.own_claim(job, action.name, delete=action.delete)
                job = await self._writer.status(job, action.status)
            case plan.ExportResult():
                await cluster.export_result(job, dict(action.data))
                memory.exported = True
            case _:
                return await self._act_remotely(seen, action, memory)
        return job, found

    async def _act_remotely(
        self, seen: Observed, action: plan.RemoteAction, memory: JobMemory
    ) -> tuple[FineTuneJob, Found]:
        """As `_act`, for what is asked of the hosted service."""
        job, found, hosted = seen.job, seen.found, self._out.hosted()
        match action:
            case plan.Authenticate():
                await hosted.authenticate(job)
                found = replace(found, authenticated=True)
            case plan.Submit():
                job = await self._submitter.submit(job, action.suffix, memory)
            case plan.Look():
                job = await self._submitter.look(job, action.suffix, memory)
                found = replace(found, looked=True)
            case plan.CancelRemote():
                await hosted.cancel(job, action.job_id)
                memory.cancel_asked(action.job_id, self._out.steady())
                logger.info("The service accepted to cancel: remote=%s", action.job_id)
            case plan.CancelTwin():
                await self._submitter.cancel_duplicate(job, action.job_id, memory)
            case plan.PauseRemote():
                await self._pause(job, action.job_id, memory)
                found = replace(found, asked=True)
            case plan.ResumeRemote():
                await hosted.resume(job, action.job_id)
                found = replace(found, asked=True)
            case plan.FindEqual():
                equals = await hosted.equal(job, action.digest)
                found = replace(found, equals=tuple(self._unfollowed(job, equals)))
            case plan.ReadResults():
                found = replace(found, results=await self._results(job, action.file_id))
            case plan.Refresh():
                remote = await hosted.refresh(job, action.job_id)
                found = replace(found, remote=remote)
        return job, found

    def _unfollowed(self, job: FineTuneJob, remotes: Sequence[RemoteJob]) -> Iterator[RemoteJob]:
        """Those that no other FineTuneJob has submitted or follows."""
        parts = [part for _, part in self._out.store.hosted_parts(but=job.metadata.uid)]
        ids = {part.get("jobID") for part in parts}
        markers = {part["submission"]["marker"] for part in parts if part.get("submission")}
        for remote in remotes:
            if remote.id not in ids and not any(bears(remote, marker) for marker in markers):
                yield remote

    async def _results(self, job: FineTuneJob, file_id: str) -> tuple[StepFigures, ...]:
        """Empty if it cannot be read: the model is there, and waits for no figures."""
        try:
            return await self._out.hosted().results(job, file_id)
        except OperatorError as e:
            logger.warning("The result file %s cannot be read: %s", file_id, e)
            return ()

    async def _pause(self, job: FineTuneJob, job_id: str, memory: JobMemory) -> None:
        try:
            await self._out.hosted().pause(job, job_id)
        except Declined as e:
            if memory.declined_to_pause(job_id, e.message, self._out.steady()):
                logger.warning("Not paused: %s", e)

    async def _write(
        self, job: FineTuneJob, action: plan.WriteStatus, memory: JobMemory
    ) -> FineTuneJob:
        written = await self._writer.status(job, action.status)
        part = written.status.azure_open_ai
        if action.records_submission and part and part.submission:
            held = FINALIZER in written.metadata.finalizers
            memory.recorded(part.submission.marker, self._out.steady(), held=held)
        memory.exported = False
        return written

    async def _finalizer(self, job: FineTuneJob, *, add: bool) -> FineTuneJob:
        return FineTuneJob.model_validate(await self._writer.finalizer(job.metadata, add=add))

    async def _let_go(self, job: FineTuneJob, orphaned: str | None) -> FineTuneJob:
        job = await self._finalizer(job, add=False)
        if orphaned is not None:
            logger.error("Let go of the hosted job, which may go on running: remote=%s", orphaned)
            self._out.orphaned()
        elif job.metadata.deletion_timestamp is not None:
            part = job.status.azure_open_ai
            logger.info("Let go of the object: remote=%s", part and part.job_id)
        return job
