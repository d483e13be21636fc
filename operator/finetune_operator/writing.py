"""Writes to FineTuneJobs: status and finalizer, each only on the object that was read.

An object that changed meanwhile, or is another one of that name by now, is left as it is: the next
round looks at what it has become. So a patch that a dead leader left on its way cannot undo its
successor's either. Decides nothing.
"""

import logging
from typing import Protocol

from finetune_api.constants import FINALIZER
from finetune_api.job import FineTuneJob, ObjectMeta
from finetune_api.reasons import ConditionType, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import FINETUNEJOBS
from finetune_operator.adapters.store import Json, Key, Store
from finetune_operator.core import conditions, statuses
from finetune_operator.core.errors import Conflict, Terminal, Transient

logger = logging.getLogger(__name__)


class Reporter(Protocol):
    """Where Events go; never fails."""

    def emit(self, obj: Json, reason: Reason, message: str, *, warning: bool = False) -> None:
        """Post an Event about the object."""


class JobWriter:
    """The patches that this operator makes to FineTuneJobs, and the Events that follow them."""

    def __init__(self, api: Api, store: Store, events: Reporter) -> None:
        self._api, self._store, self._events = api, store, events

    async def status(self, job: FineTuneJob, status: FineTuneJobStatus) -> FineTuneJob:
        """Patch what changed.

        Raises:
            Conflict: the object is not the one that was read.
        """
        written = await self.status_of(job.metadata, job.status, status)
        return job if written is None else FineTuneJob.model_validate(written)

    async def status_of(
        self, meta: ObjectMeta, old: FineTuneJobStatus, new: FineTuneJobStatus
    ) -> Json | None:
        """As `status`, for an object whose spec may not be readable; None if nothing changed."""
        patch = statuses.difference(statuses.as_json(old), statuses.as_json(new))
        if not patch:
            return None
        body = {"status": patch}
        try:
            written = await self._patch(meta, body, subresource="status")
        except Terminal as e:  # a bug of ours must not end the user's job
            raise Transient(Reason.API_ERROR, f"Status was refused: {e.message}") from None
        self._announce(old, new, written)
        if (turn := _turn(old, new)) is not None:
            logger.info(turn)
        return written

    async def finalizer(self, meta: ObjectMeta, *, add: bool) -> Json:
        """Add or drop our finalizer; the object may be one whose spec cannot be read.

        Raises:
            Conflict: the object is not the one that was read.
        """
        others = [name for name in meta.finalizers if name != FINALIZER]
        body = {"metadata": {"finalizers": [*others, FINALIZER] if add else others}}
        return await self._patch(meta, body)

    async def newest(self, meta: ObjectMeta) -> FineTuneJob:
        """The object as it is now.

        Raises:
            Conflict: it is gone, or another one of its name.
        """
        found = await self._api.get(FINETUNEJOBS, meta.namespace, meta.name)
        if found is None or found["metadata"]["uid"] != meta.uid:
            raise self._gone(meta)
        self._store.put_job(found, wake=False)
        return FineTuneJob.model_validate(found)

    async def _patch(self, meta: ObjectMeta, body: Json, *, subresource: str = "") -> Json:
        written = await self._api.merge_patch(
            FINETUNEJOBS,
            meta.namespace,
            meta.name,
            body,
            subresource=subresource,
            version=meta.resource_version,
        )
        if written is None:
            raise self._gone(meta)
        self._store.put_job(written, wake=False)
        return written

    def _gone(self, meta: ObjectMeta) -> Conflict:
        self._store.drop_job(Key(meta.namespace, meta.name), meta.uid)
        return Conflict(f"FineTuneJob {meta.namespace}/{meta.name} is gone")

    def _announce(self, old: FineTuneJobStatus, new: FineTuneJobStatus, obj: Json) -> None:
        """An Event for each change of what Ready says and for each Stalled, but not for Starting.

        What follows at once says more, and Events are a third of all requests.
        """
        was = conditions.get(old, ConditionType.READY)
        ready = conditions.get(new, ConditionType.READY)
        if ready is None or ready.reason == Reason.STARTING:
            return
        # What was asked for is no warning, although GitOps tools read it as one.
        asked = ready.reason == Reason.CANCELLED
        warning = conditions.is_true(new, ConditionType.STALLED) and not asked
        worse = warning and not conditions.is_true(old, ConditionType.STALLED)
        if was is not None and was.reason == ready.reason and not worse:
            return
        self._events.emit(obj, Reason(ready.reason), ready.message, warning=warning)


def _turn(old: FineTuneJobStatus, new: FineTuneJobStatus) -> str | None:
    """What the log says of a change that somebody on call looks for."""
    ready = conditions.get(new, ConditionType.READY)
    if conditions.is_finished(new) and not conditions.is_finished(old):
        return f"Ended: phase={new.phase} reason={ready.reason if ready else None}"
    kind = ConditionType.SUSPENDED
    if conditions.is_true(new, kind) and not conditions.is_true(old, kind):
        return "Suspended"
    return None
