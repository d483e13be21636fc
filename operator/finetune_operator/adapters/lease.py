"""Leadership by a Lease, fenced: whoever holds it knows how long nobody else can.

Expiry is judged by changes that this process saw on its own monotonic clock, never by another
machine's time. It must not know what the leader does.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from finetune_operator.adapters.refusals import AlreadyExists, Json
from finetune_operator.adapters.resources import LEASES, Resource
from finetune_operator.core.errors import Conflict, OperatorError

logger = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """Another replica may act now: this process must end at once."""


class LeaseApi(Protocol):
    """What leadership needs of the API server."""

    async def get(self, resource: Resource, namespace: str, name: str, /) -> Json | None:
        """One object, or None."""

    async def create(self, resource: Resource, namespace: str, body: Json, /) -> Json:
        """The object as created; AlreadyExists if the name is taken."""

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, body: Json, /, *, version: str
    ) -> Json | None:
        """The object as patched; Conflict if it is not at `version` any more."""


@dataclass(frozen=True, kw_only=True)
class LeaseTimes:
    """All in seconds. A leader stops `renew_deadline` after its last renewal began."""

    duration: float
    renew_deadline: float
    retry: float


@dataclass(frozen=True)
class _Seen:
    """What somebody else's Lease looked like, and since when it looks so."""

    version: str
    at: float


class Leadership:
    """This process's claim to the Lease, taken, renewed, given back or lost."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self.identity = identity
        self._api = api
        self._namespace = namespace
        self._name = name
        self._times = times
        self._clock = clock
        self._sleep = sleep
        self._seen: _Seen | None = None
        self._version = ""
        self._renewed_at = float("-inf")

    def time_left(self) -> float:
        """Seconds for which certainly nobody else leads; at most 0 means: do nothing.

        Counted from the moment before the last renewal was sent. The clock runs on while the
        process is stopped, so that a frozen leader finds nothing left when it wakes.
        """
        return self._renewed_at + self._times.duration - self._clock()

    async def acquire(self) -> None:
        """Wait until this process is the leader; survives any outage of the API server."""
        reachable = True
        while True:
            try:
                async with asyncio.timeout(self._times.renew_deadline):
                    if await self._try_to_acquire():
                        logger.info("Became the leader identity=%s", self.identity)
                        return
                reachable = True
            except (Conflict, AlreadyExists):
                logger.debug("Another replica was faster")
            except (OperatorError, TimeoutError) as e:
                if reachable:
                    reachable = False
                    logger.warning("Waiting for the API server: %s", e or "it does not answer")
            await self._sleep(self._times.retry)

    async def _try_to_acquire(self) -> bool:
        lease = await self._api.get(LEASES, self._namespace, self._name)
        began = self._clock()
        if lease is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._claim(transitions=0),
            }
            self._take_over(await self._api.create(LEASES, self._namespace, body), began)
            return True
        if not self._is_free(lease):
            return False
        claim = self._claim(transitions=int(lease["spec"].get("leaseTransitions") or 0) + 1)
        taken = await self._patch(lease["metadata"]["resourceVersion"], claim)
        if taken is None:
            return False
        self._take_over(taken, began)
        return True

    def _is_free(self, lease: Json) -> bool:
        """Given back, ours, or unchanged before our eyes for as long as its holder asked for."""
        spec, version = lease["spec"], lease["metadata"]["resourceVersion"]
        if spec.get("holderIdentity", "") in ("", self.identity):
            return True
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version, self._clock())
            return False
        duration = float(spec.get("leaseDurationSeconds") or self._times.duration)
        return self._clock() - self._seen.at > duration

    def _claim(self, *, transitions: int) -> Json:
        now = _now()
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._times.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _take_over(self, lease: Json, began: float) -> None:
        self._version = lease["metadata"]["resourceVersion"]
        self._renewed_at = began

    async def hold(self) -> NoReturn:
        """Renew for ever.

        Raises:
            LeadershipLost: not renewed in time, or another replica holds the Lease.
        """
        while True:
            await self._sleep(self._times.retry)
            left = self._renewed_at + self._times.renew_deadline - self._clock()
            if left <= 0:
                raise LeadershipLost("The Lease could not be renewed in time")
            try:
                async with asyncio.timeout(min(left, self._times.renew_deadline / 2)):
                    await self._renew()
            except (OperatorError, TimeoutError) as e:
                logger.warning("Renewing the Lease failed for now: %s", e or "no answer in time")

    async def _renew(self) -> None:
        began = self._clock()
        try:
            renewed = await self._patch(self._version, {"renewTime": _now()})
        except Conflict:
            renewed = await self._api.get(LEASES, self._namespace, self._name)
            if renewed is not None and renewed["spec"].get("holderIdentity") == self.identity:
                # Somebody wrote a label, or our last renewal arrived without its answer: it is
                # still ours, and the next renewal will say so.
                self._version = renewed["metadata"]["resourceVersion"]
                return
            renewed = None
        if renewed is None:
            raise LeadershipLost("Another replica holds the Lease, or it was deleted")
        self._take_over(renewed, began)

    async def release(self) -> None:
        """Give the Lease back, so that a standby takes over at once; never raises."""
        version, self._version, self._renewed_at = self._version, "", float("-inf")
        if not version:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            async with asyncio.timeout(self._times.retry):
                await self._patch(version, spec)
        except (OperatorError, TimeoutError) as e:
            logger.warning("The Lease was not given back: %s", e)

    async def _patch(self, version: str, spec: Json) -> Json | None:
        return await self._api.merge_patch(
            LEASES, self._namespace, self._name, {"spec": spec}, version=version
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
