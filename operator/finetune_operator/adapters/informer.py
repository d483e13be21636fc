"""Lists and watches one kind of labelled objects, and keeps the store equal to what is there.

Replace semantics: what vanished while no watch was open is dropped at the next list. It must not
know what the objects mean.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence

from finetune_api.reasons import Reason
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.queue import back_off
from finetune_operator.adapters.refusals import Expired, Json
from finetune_operator.adapters.resources import FINETUNEJOBS, Resource
from finetune_operator.adapters.store import Key, Store, key_of
from finetune_operator.core.errors import OperatorError

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 300
_SILENCE_SECONDS = 90.0
"""The API server sends a bookmark every minute: a stream that is silent for longer is dead."""


class Informer:
    """One resource in one namespace (None: the cluster), selected by `labels`."""

    def __init__(
        self,
        api: Api,
        store: Store,
        resource: Resource,
        *,
        namespace: str | None,
        labels: str,
        relist_seconds: float,
    ) -> None:
        self._api = api
        self._store = store
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._relist_seconds = relist_seconds
        self._version = 0
        self._settled = asyncio.Event()
        self._refused = False
        self._heard_at = time.monotonic()

    @property
    def name(self) -> str:
        """What is watched, for metrics: without the namespace, which has no bound."""
        return self._resource.plural

    def age(self) -> float:
        """Seconds since the last list, event or bookmark; 0 where nothing may be heard."""
        return 0.0 if self._refused else time.monotonic() - self._heard_at

    async def wait_settled(self) -> None:
        """Wait for the first complete list, or until this one namespace refuses it.

        One that is going, and with it the Role in it, must not keep others from being served.
        """
        await self._settled.wait()

    async def run(self) -> None:
        """List and watch for ever; failures are logged once and retried with back-off."""
        failures = 0
        while True:
            try:
                await self._list()
                failures = 0
                await self._watch_until_relist()
            except Expired:
                logger.debug("Watch of %s expired; listing again", self._resource.plural)
            except OperatorError as e:
                failures += 1
                if failures == 1:
                    logger.warning("Watch of %s interrupted: %s", self._resource.plural, e)
                denied = e.reason is Reason.PERMISSION_DENIED
                if denied and self._namespace is not None:
                    self._refused = True
                    self._settled.set()
                await asyncio.sleep(min(back_off(failures, first=0.2, jitter=random.random()), 30))

    async def _list(self) -> None:
        seen: set[Key] = set()
        version = 0
        pages = self._api.pages(self._resource, self._namespace, labels=self._labels)
        async for page in pages:
            version = page.version
            for obj in page.items:
                seen.add(key_of(obj))
                self._store.put_child(self._resource, obj)
        self._store.keep_children(self._resource, self._namespace, seen, version)
        self._version = version
        self._heard_at = time.monotonic()
        self._refused = False
        self._settled.set()

    async def _watch_until_relist(self) -> None:
        relist_at = time.monotonic() + self._relist_seconds * (1 + random.random() / 10)
        while (left := relist_at - time.monotonic()) > 0:
            events = self._api.watch(
                self._resource,
                self._namespace,
                labels=self._labels,
                version=self._version,
                seconds=max(1, round(min(left, _WATCH_SECONDS))),
                silence=_SILENCE_SECONDS,
            )
            async for event in events:
                self._heard_at = time.monotonic()
                self._take(event["type"], event["object"])

    def _take(self, kind: str, obj: Json) -> None:
        self._version = int(obj["metadata"]["resourceVersion"])
        if kind == "DELETED":
            self._store.end_child(self._resource, obj)
        elif kind != "BOOKMARK":
            self._store.put_child(self._resource, obj)


async def list_jobs(api: Api, store: Store, namespaces: Sequence[str | None]) -> None:
    """Bring the store's FineTuneJobs up to date by a full list.

    A job that the list lacks is asked for by name before it is dropped. A namespace that cannot be
    listed keeps no other from being listed; its error is raised at the end.
    """
    failed: OperatorError | Expired | None = None
    for namespace in namespaces:
        try:
            await _list_jobs(api, store, namespace)
        except (OperatorError, Expired) as e:
            failed = e
    if failed is not None:
        raise failed


async def _list_jobs(api: Api, store: Store, namespace: str | None) -> None:
    seen: set[Key] = set()
    before = [key for key in store.all_keys() if namespace in (None, key.namespace)]
    async for page in api.pages(FINETUNEJOBS, namespace):
        for obj in page.items:
            seen.add(key_of(obj))
            store.put_job(obj)
    for key in before:
        if key not in seen and await api.get(FINETUNEJOBS, *key) is None:
            store.drop_job(key)
