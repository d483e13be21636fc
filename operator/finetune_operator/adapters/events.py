"""Kubernetes Events about FineTuneJobs, written in the background.

An Event is a help for people, never needed: whatever happens to one, no reconcile fails or waits.
It must not know why something happened.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol
from uuid import uuid4

from finetune_api.constants import API_VERSION, KIND, MANAGED_BY
from finetune_api.reasons import Reason
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import AlreadyExists, Json, NamespaceTerminating
from finetune_operator.adapters.resources import EVENTS, Resource
from finetune_operator.core.errors import OperatorError, Transient

logger = logging.getLogger(__name__)

_REPEAT_AFTER = 600.0
_REMEMBERED = 10_000
_BACKLOG = 10_000
"""A burst of some thousand jobs, in a few megabytes."""
_WRITERS = 4
"""Enough to keep up with 16 workers, and few enough to leave them the API server."""
_TRIES = 3
_LONGEST_PAUSE = 5.0
_MESSAGE_LIMIT = 1024
"""The API server refuses longer ones."""


class EventApi(Protocol):
    """What writing Events needs of the API server."""

    async def create(self, resource: Resource, namespace: str, body: Json, /) -> Json:
        """The object as created."""


@dataclass(frozen=True)
class _About:
    """What makes two Events the same."""

    uid: str
    reason: str
    message: str
    warning: bool


@dataclass(frozen=True)
class _Waiting:
    """An Event to be written: small, because many may have to wait."""

    namespace: str
    name: str
    about: _About
    at: datetime


class Events:
    """A bounded backlog of Events; the same one is not repeated within 10 minutes."""

    def __init__(
        self, api: EventApi, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._clock = clock
        self._backlog: asyncio.Queue[_Waiting] = asyncio.Queue(_BACKLOG)
        self._written: OrderedDict[_About, float] = OrderedDict()
        self._terminating: OrderedDict[str, float] = OrderedDict()

    def emit(self, job: Json, reason: Reason, message: str, *, warning: bool = False) -> None:
        """Have an Event written about a FineTuneJob, unless it just was; never raises or waits."""
        metadata = job["metadata"]
        about = _About(metadata["uid"], reason.value, message, warning)
        fresh = self._fresh(self._terminating, metadata["namespace"])
        if fresh or self._fresh(self._written, about):
            return
        _remember(self._written, about, self._clock())
        now = datetime.now(UTC)
        try:
            self._backlog.put_nowait(_Waiting(metadata["namespace"], metadata["name"], about, now))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    def _fresh(self, known: OrderedDict[Any, float], key: object) -> bool:
        return self._clock() - known.get(key, float("-inf")) < _REPEAT_AFTER

    async def run(self) -> None:
        """Write the backlog, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(self._write_all())

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._backlog.join()

    async def _write_all(self) -> NoReturn:
        while True:
            waiting = await self._backlog.get()
            try:
                await self._write(waiting)
            except OperatorError as e:
                self._metrics.events_dropped.inc()
                logger.debug("Event not written: %s", e)
            finally:
                self._backlog.task_done()

    async def _write(self, waiting: _Waiting) -> None:
        """Write it, again if the API server is busy: under the same name, so never twice."""
        event = _event(waiting)
        for left in reversed(range(_TRIES)):
            if self._fresh(self._terminating, waiting.namespace):
                return
            try:
                await self._api.create(EVENTS, waiting.namespace, event)
            except NamespaceTerminating:
                _remember(self._terminating, waiting.namespace, self._clock())
            except AlreadyExists:  # an answer was lost
                return
            except Transient as e:
                if not left or e.waits_for_user:
                    raise
                await asyncio.sleep(min(e.retry_after, _LONGEST_PAUSE))
            else:
                return


def _remember(known: OrderedDict[Any, float], key: object, at: float) -> None:
    known[key] = at
    known.move_to_end(key)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


def _event(waiting: _Waiting) -> Json:
    about, at = waiting.about, waiting.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": waiting.namespace,
            "name": f"{waiting.name[:200]}.{uuid4().hex[:16]}",
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": waiting.namespace,
            "name": waiting.name,
            "uid": about.uid,
        },
        "reason": about.reason,
        "message": about.message[:_MESSAGE_LIMIT],
        "type": "Warning" if about.warning else "Normal",
        "source": {"component": MANAGED_BY},
        "reportingComponent": MANAGED_BY,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
