"""One job, once round: observe, decide, act, and one status patch if anything changed.

The only place where observing, deciding and acting meet. Decides nothing itself and knows no kopf.
"""

import logging
from typing import Any

from pydantic import ValidationError

from finetune_api.constants import ADOPT_ANNOTATION, FINALIZER
from finetune_api.job import FineTuneJob, ObjectMeta
from finetune_api.reasons import Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.acting import Actor, Outside
from finetune_operator.adapters.refusals import NamespaceTerminating
from finetune_operator.adapters.store import Json, Key
from finetune_operator.backends.kubernetes.facts import child_job, child_pod, is_controlled_by
from finetune_operator.core import attempts, conditions, ending, plan, statuses
from finetune_operator.core.decide import decide
from finetune_operator.core.errors import Conflict, OperatorError, Terminal, endured
from finetune_operator.core.observed import Found, Observed, Remote
from finetune_operator.memory import JobMemory
from finetune_operator.writing import JobWriter

logger = logging.getLogger(__name__)

_TROUBLE_LOOK = 60.0
"""Seconds between two looks at a job whose service does not answer as it should."""
_RETRY_SOONEST = 5.0


class Reconciler:
    """Brings one FineTuneJob a step further, as often as its key comes up."""

    def __init__(self, outside: Outside, policy: plan.Policy) -> None:
        self._out = outside
        self._policy = policy
        self._writer = JobWriter(outside.api, outside.store, outside.events)
        self._actor = Actor(outside, self._writer, policy)
        self._memory: dict[Key, JobMemory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Seconds after which to look again; None waits for the next change."""
        raw = self._out.store.job(key)
        if raw is None:
            self._forget(key)
            return None
        try:
            job = FineTuneJob.model_validate(raw)
        except ValidationError as e:
            await self._unreadable(raw, e)
            return None
        return await self._round(key, job, self._memory_of(key, job))

    async def _round(self, key: Key, job: FineTuneJob, memory: JobMemory) -> float | None:
        seen = self._observe(key, job, memory, Found())
        done: list[plan.Action] = []
        try:
            while True:
                planned = decide(seen, self._policy)
                action = planned.action
                if action is None:
                    return await self._settle(key, seen, planned, memory)
                if action in done:  # it has not changed what is decided: a bug of ours
                    raise RuntimeError(f"{key}: ordered twice in one round: {action}")
                done.append(action)
                job, found = await self._actor.act(seen, action, memory)
                if isinstance(action, plan.DropFinalizer) and _is_going(job):
                    self._forget(key)
                    return None
                seen = self._observe(key, job, memory, found)
        except Conflict:
            raise
        except NamespaceTerminating:
            logger.info("The namespace is going: nothing is begun in it any more")
            return None
        except OperatorError as e:
            return await self._failed(seen, e, memory)

    def _memory_of(self, key: Key, job: FineTuneJob) -> JobMemory:
        known = self._memory.get(key)
        if known is not None and known.uid == job.metadata.uid:
            known.hosted |= job.spec.azure_open_ai is not None  # editable until it starts
            return known
        self._forget(key)
        memory = JobMemory(uid=job.metadata.uid, hosted=job.spec.azure_open_ai is not None)
        self._memory[key] = memory
        return memory

    def _forget(self, key: Key) -> None:
        known = self._memory.pop(key, None)
        if known is not None and known.hosted:
            self._out.hosted().forget(key)

    # Observe

    def _observe(self, key: Key, job: FineTuneJob, memory: JobMemory, found: Found) -> Observed:
        """What is known now, from memory alone: no request is made."""
        uid, store, now = job.metadata.uid, self._out.store, self._out.now()
        steady = self._out.steady()
        jobs = tuple(child_job(obj) for obj in store.child_jobs(uid) if is_controlled_by(obj, uid))
        ours = {child.uid for child in jobs}
        pods = tuple(
            pod for obj in store.child_pods(uid) if (pod := child_pod(obj)).job_uid in ours
        )
        departed = store.departed_pod(uid)
        part = job.status.azure_open_ai
        marker = part.submission.marker if part and part.submission else None
        remote = self._remote(key, job) or found.remote
        return Observed(
            job=job,
            now=now,
            parents=self._parents(key, job),
            followed_by=self._follower(job),
            jobs=jobs,
            pods=pods,
            departed=child_pod(departed) if departed is not None else None,
            progress=store.progress(uid),
            remote=remote,
            twins=tuple(
                twin
                for twin in (remote.twins if remote else ())
                if not memory.cancel_sent(twin.id, steady)
            ),
            submission=(
                memory.submission(marker, steady).shifted(now - steady) if marker else None
            ),
            cancel_sent=memory.cancel_sent(part.job_id if part else None, steady),
            pause_refused=memory.pause_refused(part.job_id if part else None, steady),
            exported=memory.exported,
            deleting_since=memory.deleting(steady) + (now - steady) if _is_going(job) else None,
            found=found,
        )

    def _parents(self, key: Key, job: FineTuneJob) -> tuple[FineTuneJob, ...]:
        """The jobs that this one starts from, the nearest first; none once it has started."""
        if not attempts.is_over(job.status):
            return ()
        parents: list[FineTuneJob] = []
        known = {job.metadata.name}
        while (ref := job.spec.model.job_ref) is not None:
            raw = self._out.store.job(Key(key.namespace, ref.name))
            if raw is None:
                break
            try:
                job = FineTuneJob.model_validate(raw)
            except ValidationError:  # its own status says so
                break
            parents.append(job)
            if job.metadata.name in known:
                break
            known.add(job.metadata.name)
        return tuple(parents)

    def _follower(self, job: FineTuneJob) -> str | None:
        """Another object that follows the hosted job which this one is asked to adopt."""
        asked = job.metadata.annotations.get(ADOPT_ANNOTATION)
        if not asked or job.status.attempt:
            return None
        parts = self._out.store.hosted_parts(but=job.metadata.uid)
        return next((str(key) for key, part in parts if part.get("jobID") == asked), None)

    def _remote(self, key: Key, job: FineTuneJob) -> Remote | None:
        """The hosted job; one that we let go of is nobody's business any more."""
        if job.spec.azure_open_ai is None:
            return None
        meta = job.metadata
        if meta.deletion_timestamp is not None and FINALIZER not in meta.finalizers:
            self._out.hosted().forget(key)
            return None
        return self._out.hosted().observe(key, job)

    # Settle: the status

    async def _settle(
        self, key: Key, seen: Observed, planned: plan.Plan, memory: JobMemory
    ) -> float | None:
        job, status = seen.job, planned.status
        trouble = self._out.hosted().error(key) if job.spec.azure_open_ai is not None else None
        if trouble is not None and not conditions.is_finished(status):
            await self._report(job, endured(trouble), memory)
            # The poller wakes everybody when it changes; only Stalled comes by time alone.
            look = min(_TROUBLE_LOOK, max(_RETRY_SOONEST, self._policy.stalled_after / 4))
            return _sooner(look, planned.look_again_after or None)
        memory.went_well()
        wait = statuses.wait_before_writing(
            job.status, status, seen.now, self._policy.progress_interval
        )
        if wait > 0:
            return _sooner(wait, planned.look_again_after)
        await self._writer.status(job, status)
        if seen.departed is not None:
            self._out.store.read_departed(job.metadata.uid, seen.departed.uid)
        return planned.look_again_after

    async def _failed(self, seen: Observed, error: OperatorError, memory: JobMemory) -> float:
        """A step that was not taken: say so, and decide when it is tried again."""
        await self._report(seen.job, error, memory)
        ends = isinstance(error, Terminal) and not _is_going(seen.job)
        if ends and not conditions.is_finished(seen.job.status):
            return 0.0  # finished by this error: clean up
        error.turn = ending.seconds_to_turn(seen, self._policy)
        raise error

    async def _report(self, job: FineTuneJob, error: OperatorError, memory: JobMemory) -> None:
        """Write down why the next step is not taken; a job that is going is left alone."""
        lasts = memory.failed(error.reason, self._out.steady())
        if conditions.is_stalled_by(job.status, error.reason):  # so said the leader before us
            lasts = max(lasts, self._policy.stalled_after)
        if _is_going(job) or conditions.is_finished(job.status):
            return
        status = statuses.with_error(
            job, error, now=self._out.now(), lasts=lasts, stalled_after=self._policy.stalled_after
        )
        await self._writer.status(job, status)

    async def _unreadable(self, raw: Json, error: ValidationError) -> None:
        """An object stored under another schema: say so instead of ignoring it."""
        meta = ObjectMeta.model_validate(raw["metadata"])
        message = _what_does_not_fit(error)
        if meta.deletion_timestamp is not None and FINALIZER in meta.finalizers:
            remote = _dug(raw, "status", "azureOpenAI", "jobID")
            logger.error("Let go of an object that cannot be read: remote=%s", remote)
            await self._writer.finalizer(meta, add=False)
            self._out.orphaned()
        elif any(each["loc"][0] == "status" for each in error.errors()):
            logger.error(message)
        else:
            await self._report_unreadable(raw, message)

    async def _report_unreadable(self, raw: Json, message: str) -> None:
        status = FineTuneJobStatus.model_validate(raw.get("status", {}))
        if conditions.is_finished(status):
            return
        meta = ObjectMeta.model_validate(raw["metadata"])
        told = conditions.summarise(
            status,
            conditions.waiting_for_user(Phase.PENDING, Reason.INVALID_SPEC, message),
            meta=meta,
            now=self._out.now(),
        )
        await self._writer.status_of(meta, status, told)


def _what_does_not_fit(error: ValidationError) -> str:
    """Our own sentence where a rule of ours is broken that the API server cannot see."""
    found = error.errors()
    ours = next((each for each in found if each["type"] == "value_error"), None)
    where = ".".join(str(part) for part in (ours or found[-1])["loc"])
    if ours is None:
        return f"The object does not fit this operator's schema at {where}: apply it again"
    said = ours["msg"].removeprefix("Value error, ")
    return f"{where}: {said}: correct it and apply it again"


def _dug(found: Any, *path: str) -> Any:
    """What stands at a path of an object of which nothing is certain."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _is_going(job: FineTuneJob) -> bool:
    return job.metadata.deletion_timestamp is not None


def _sooner(seconds: float, other: float | None) -> float:
    return seconds if other is None else min(seconds, other)
