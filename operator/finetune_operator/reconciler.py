"""One job, once round: observe, decide, act, and one status patch if anything changed.

The only place where observing, deciding and acting meet. Decides nothing itself and knows no kopf.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from finetune_api.constants import FINALIZER
from finetune_api.job import FineTuneJob
from finetune_api.pods import UploadTarget
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import FINETUNEJOBS
from finetune_operator.adapters.store import Json, Key, Store
from finetune_operator.backends.kubernetes.cluster import Cluster
from finetune_operator.backends.kubernetes.facts import child_job, child_pod, is_controlled_by
from finetune_operator.core import conditions, plan, statuses
from finetune_operator.core.azure_stage import hosted as hosted_status
from finetune_operator.core.decide import decide
from finetune_operator.core.errors import Ambiguous, Conflict, OperatorError, Terminal, Transient
from finetune_operator.core.observed import Observed, Remote, RemoteJob
from finetune_operator.memory import JobMemory

logger = logging.getLogger(__name__)

_MOST_STEPS = 12
"""Actions in one round; more than any path needs."""


class Hosted(Protocol):
    """What the reconciler needs of the hosted backend."""

    def observe(self, key: Key, job: FineTuneJob) -> Remote | None:
        """The last snapshot of the job that status names."""

    def error(self, key: Key) -> OperatorError | None:
        """What the service last answered instead, if it did."""

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

    async def pause(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Pauses; the job as it is then."""

    async def resume(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Resumes; the job as it is then."""

    async def refresh(self, job: FineTuneJob, job_id: str) -> Remote:
        """Asks the service now."""

    def forget(self, key: Key) -> None:
        """The object is gone."""


class Reporter(Protocol):
    """Where Events go; never fails."""

    def emit(self, obj: Json, reason: Reason, message: str, *, warning: bool = False) -> None:
        """Post an Event about the object."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Everything that the reconciler acts through."""

    api: Api
    store: Store
    cluster: Cluster
    hosted: Hosted
    upload_target: Callable[[FineTuneJob], UploadTarget]
    """Where the prepare pod of a hosted job puts its files; raises if that is not allowed."""
    events: Reporter
    orphaned: Callable[[], None]
    """Counts a hosted job that is left behind."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Reconciler:
    """Brings one FineTuneJob a step further, as often as its key comes up."""

    def __init__(self, outside: Outside, policy: plan.Policy) -> None:
        self._out = outside
        self._policy = policy
        self._memory: dict[str, JobMemory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Seconds after which to look again; None waits for the next change."""
        raw = self._out.store.job(key)
        if raw is None:
            self._out.hosted.forget(key)
            return None
        try:
            job = FineTuneJob.model_validate(raw)
        except ValidationError as e:
            return await self._unreadable(raw, e)
        return await self._round(key, job)

    async def _round(self, key: Key, job: FineTuneJob) -> float | None:
        memory = self._memory.setdefault(job.metadata.uid, JobMemory())
        seen = self._observe(key, job, memory)
        try:
            for _ in range(_MOST_STEPS):
                planned = decide(seen, self._policy)
                if planned.action is None:
                    return await self._settle(key, seen, planned, memory)
                seen = await self._act(key, seen, planned.action, memory)
                if seen.gone:
                    self._forget(key, job)
                    return None
        except Conflict:
            raise
        except OperatorError as e:
            await self._report(seen.job, e, memory)
            if isinstance(e, Terminal):
                return 0.0
            raise
        raise RuntimeError(f"No plan for {key} after {_MOST_STEPS} actions: {planned.action}")

    def _forget(self, key: Key, job: FineTuneJob) -> None:
        self._out.hosted.forget(key)
        self._memory.pop(job.metadata.uid, None)

    # Observe

    def _observe(self, key: Key, job: FineTuneJob, memory: JobMemory) -> Observed:
        """What is known now, from memory alone: no request is made."""
        uid, store, now = job.metadata.uid, self._out.store, self._out.now()
        jobs = tuple(child_job(obj) for obj in store.child_jobs(uid) if is_controlled_by(obj, uid))
        ours = {child.uid for child in jobs}
        pods = tuple(
            pod for obj in store.child_pods(uid) if (pod := child_pod(obj)).job_uid in ours
        )
        part = job.status.azure_open_ai
        marker = part.submission.marker if part and part.submission else None
        hosted = job.spec.azure_open_ai is not None
        return Observed(
            job=job,
            now=now,
            jobs=jobs,
            pods=pods,
            progress=store.progress(uid),
            remote=self._out.hosted.observe(key, job) if hosted else None,
            submission=memory.submission(marker, now) if marker else None,
            cancel_sent=memory.cancel_sent(part.job_id if part else None, now),
            exported=memory.exported,
        )

    # Settle: the status

    async def _settle(
        self, key: Key, seen: Observed, planned: plan.Plan, memory: JobMemory
    ) -> float | None:
        job, status = seen.job, planned.status
        trouble = self._out.hosted.error(key) if job.spec.azure_open_ai is not None else None
        if trouble is not None and not conditions.is_finished(status):
            await self._report(job, trouble, memory)
            return 15.0
        memory.went_well()
        wait = statuses.wait_before_writing(
            job.status, status, seen.now, self._policy.progress_interval
        )
        if wait > 0:
            return min(wait, planned.look_again_after or wait)
        await self._write(job, status)
        return planned.look_again_after

    async def _report(self, job: FineTuneJob, error: OperatorError, memory: JobMemory) -> None:
        """Write down why the next step is not taken; a job that is going is left alone."""
        now = self._out.now()
        lasts = memory.failed(error.reason, now)
        if job.metadata.deletion_timestamp is not None or conditions.is_finished(job.status):
            return
        status = statuses.with_error(
            job, error, now=now, lasts=lasts, stalled_after=self._policy.stalled_after
        )
        await self._write(job, status)

    async def _write(self, job: FineTuneJob, status: FineTuneJobStatus) -> FineTuneJob:
        """Patch what changed, only if the object is still the one that was read.

        Without that guard a patch that a dead leader left on its way could undo its successor's:
        a job whose Succeeded is overwritten would be run, and paid for, once more.
        """
        patch = statuses.difference(statuses.as_json(job.status), statuses.as_json(status))
        if not patch:
            return job
        meta = job.metadata
        written = await self._out.api.merge_patch(
            FINETUNEJOBS,
            meta.namespace,
            meta.name,
            {"status": patch},
            subresource="status",
            version=meta.resource_version,
        )
        if written is None:
            raise Conflict(f"FineTuneJob {meta.namespace}/{meta.name} is gone")
        return self._took(job, written, status)

    def _took(self, before: FineTuneJob, written: Json, status: FineTuneJobStatus) -> FineTuneJob:
        self._out.store.put_job(written, wake=False)
        after = FineTuneJob.model_validate(written)
        if after.metadata.uid != before.metadata.uid:
            raise Conflict("Another object has taken the name")
        self._announce(before.status, status, written)
        return after

    def _announce(self, old: FineTuneJobStatus, new: FineTuneJobStatus, obj: Json) -> None:
        """An Event for each change of what Ready says."""
        was = conditions.get(old, ConditionType.READY)
        ready = conditions.get(new, ConditionType.READY)
        if ready is None or (was is not None and was.reason == ready.reason):
            return
        warning = conditions.is_true(new, ConditionType.STALLED)
        self._out.events.emit(obj, Reason(ready.reason), ready.message, warning=warning)

    async def _unreadable(self, raw: Json, error: ValidationError) -> float | None:
        """An object stored under an older schema: say so instead of ignoring it."""
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        message = f"The object does not fit this operator's schema at {where}: apply it again"
        meta, now = raw["metadata"], self._out.now()
        summary = conditions.waiting_for_user(Phase.PENDING, Reason.INVALID_SPEC, message)
        status = conditions.summarise(
            FineTuneJobStatus(), summary, generation=meta.get("generation", 0), now=now
        )
        told = raw.get("status", {}).get("conditions", ())
        if any(c["type"] == ConditionType.READY and c["message"] == message for c in told):
            return None
        await self._out.api.merge_patch(
            FINETUNEJOBS,
            meta["namespace"],
            meta["name"],
            {"status": statuses.as_json(status)},
            subresource="status",
            version=meta["resourceVersion"],
        )
        return None

    # Act

    async def _act(
        self, key: Key, seen: Observed, action: plan.Action, memory: JobMemory
    ) -> Observed:
        """Carry out one action; what is observed afterwards."""
        job, out = seen.job, self._out
        match action:
            case plan.WriteStatus():
                job = await self._write(job, action.status)
                part = job.status.azure_open_ai
                if action.records_submission and part and part.submission:
                    memory.recorded(part.submission.marker, out.now())
                memory.exported = False
            case plan.CreatePrepare():
                target = out.upload_target(job) if job.spec.azure_open_ai else None
                least = self._policy.hosted_min_examples if target else 1
                await out.cluster.create_prepare(job, action.retry, target, least)
            case plan.CreateTraining():
                await out.cluster.create_training(job, action.attempt)
            case plan.DeleteChild():
                await out.cluster.delete_child(job, action.name, action.uid)
            case plan.ConfirmAbsent():
                there = await out.cluster.refresh_child(job, action.name)
                return replace(self._observe(key, job, memory), confirmed_absent=not there)
            case plan.ReadEvents():
                events = await out.cluster.read_events(job, action.job_uid, action.pod_uid)
                return replace(seen, events=events)
            case plan.SetTtl():
                await out.cluster.set_ttl(job, action.name, action.seconds)
            case plan.ExportResult():
                await out.cluster.export_result(job, dict(action.data))
                memory.exported = True
            case plan.AddFinalizer():
                job = await self._finalizer(job, add=True)
            case plan.DropFinalizer():
                return await self._let_go(key, seen, action.orphaned, memory)
            case plan.Submit():
                job = await self._submit(job, action.suffix, memory)
            case plan.Look():
                job = await self._look(job, action.suffix, memory)
            case plan.CancelRemote():
                await out.hosted.cancel(job, action.job_id)
                memory.cancelled[action.job_id] = out.now()
            case plan.PauseRemote():
                await out.hosted.pause(job, action.job_id)
                return replace(self._observe(key, job, memory), asked=True)
            case plan.ResumeRemote():
                await out.hosted.resume(job, action.job_id)
                return replace(self._observe(key, job, memory), asked=True)
            case plan.Refresh():
                remote = await out.hosted.refresh(job, action.job_id)
                return replace(self._observe(key, job, memory), remote=remote)
        return self._observe(key, job, memory)

    async def _submit(self, job: FineTuneJob, suffix: str, memory: JobMemory) -> FineTuneJob:
        """Create the hosted job once; its id is written down before anything else happens."""
        part = hosted_status(job.status)
        if part.submission is None or part.training_file_id is None:
            raise ValueError("submitted without a marker or a file")
        marker = part.submission.marker
        memory.posted(marker, self._out.now())
        try:
            remote = await self._out.hosted.create(
                job,
                suffix=suffix,
                training_file=part.training_file_id,
                validation_file=part.validation_file_id,
            )
        except Ambiguous as e:
            logger.warning("The answer to the submission was lost: %s", e)
            memory.posted(marker, self._out.now())
            return job
        except (Transient, Terminal):
            memory.posted(marker, None)
            raise
        return await self._adopt(job, remote)

    async def _look(self, job: FineTuneJob, suffix: str, memory: JobMemory) -> FineTuneJob:
        """Search for the submission; of several, the oldest counts and the others are cancelled."""
        part = hosted_status(job.status)
        if part.submission is None:
            raise ValueError("searched without a marker")
        began = self._out.now()
        found = await self._out.hosted.find(
            job, suffix=suffix, started_at=conditions.parse_time(part.submission.started_at)
        )
        if not found:
            memory.looked(part.submission.marker, began)
            return job
        first, *others = found
        adopted = await self._adopt(job, first)
        for other in others:
            await self._out.hosted.cancel(adopted, other.id)
            message = f"Job {other.id} was submitted twice and has been cancelled"
            logger.error(message)
            obj = self._out.store.job(Key(job.metadata.namespace, job.metadata.name))
            if obj is not None:
                self._out.events.emit(obj, Reason.DUPLICATE_JOB_CANCELLED, message, warning=True)
        return adopted

    async def _adopt(self, job: FineTuneJob, remote: RemoteJob) -> FineTuneJob:
        """Write the id down, whatever else has been changed since the job was read."""
        while True:
            part = hosted_status(job.status).model_copy(
                update={"job_id": remote.id, "raw_status": remote.raw_status[:253]}
            )
            try:
                return await self._write(job, job.status.model_copy(update={"azure_open_ai": part}))
            except Conflict:
                job = await self._same_submission(job)

    async def _same_submission(self, job: FineTuneJob) -> FineTuneJob:
        """The object as it is now; Conflict if it does not wait for this submission any more."""
        meta, submitted = job.metadata, hosted_status(job.status).submission
        raw = await self._out.api.get(FINETUNEJOBS, meta.namespace, meta.name)
        if raw is None:
            raise Conflict("The object is gone")
        now = FineTuneJob.model_validate(raw)
        same = now.metadata.uid == meta.uid
        if not same or hosted_status(now.status).submission != submitted:
            raise Conflict("The object does not wait for this submission any more")
        self._out.store.put_job(raw, wake=False)
        return now

    async def _finalizer(self, job: FineTuneJob, *, add: bool) -> FineTuneJob:
        """Add or drop our finalizer, only on the object that was read."""
        meta = job.metadata
        others = [name for name in meta.finalizers if name != FINALIZER]
        body = {"metadata": {"finalizers": [*others, FINALIZER] if add else others}}
        written = await self._out.api.merge_patch(
            FINETUNEJOBS, meta.namespace, meta.name, body, version=meta.resource_version
        )
        if written is None:
            raise Conflict("The object is gone")
        self._out.store.put_job(written, wake=False)
        return FineTuneJob.model_validate(written)

    async def _let_go(
        self, key: Key, seen: Observed, orphaned: str | None, memory: JobMemory
    ) -> Observed:
        if orphaned is not None:
            logger.error("Let go of the hosted job, which may go on running: remote=%s", orphaned)
            self._out.orphaned()
        job = await self._finalizer(seen.job, add=False)
        if job.metadata.deletion_timestamp is not None:
            return replace(seen, gone=True)
        return self._observe(key, job, memory)
