"""kopf's part: its watch of FineTuneJobs feeds the store. The only module that imports kopf.

Nothing is decided here and nothing is written: a spying handler needs no finalizer, no annotation
and no progress on the object.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn

import kopf

from finetune_api.constants import GROUP, PLURAL, VERSION
from finetune_operator.adapters.connection import Connection
from finetune_operator.adapters.store import Key, Store
from finetune_operator.adapters.streams import WatchMonitor

_OPENED_WITHIN = 45.0
"""Seconds in which kopf opens its watches if it ever does; its own retries are shorter."""


class NotWatched(Exception):
    """kopf does not watch FineTuneJobs, and never will."""


class _NoDiffs(kopf.DiffBaseStorage):
    """Spying handlers need no last handled state: none is read, built or written.

    kopf builds it for every event otherwise, as a deep copy of the object, twice.
    """

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class JobFeed:
    """kopf, reduced to one watch of FineTuneJobs for each namespace served."""

    def __init__(self, connection: Connection, store: Store, namespaces: Iterable[str]) -> None:
        self._connection = connection
        self._store = store
        self._namespaces = tuple(namespaces)
        self._sessions: list[Any] = []
        self._tasks: Any = ()
        self._started = asyncio.Event()
        self.monitor = WatchMonitor()

    async def start(self) -> None:
        """Start kopf's tasks; it takes over the signal handlers, so set your own afterwards."""
        self._tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
        )
        self._started.set()

    async def run(self, ignored: frozenset["asyncio.Task[Any]"]) -> None:
        """Feed the store until cancelled; kopf's end then cancels every task not `ignored`."""
        try:
            await kopf.run_tasks(self._tasks, ignored=ignored)
        finally:
            for session in self._sessions:
                await session.close()

    async def expect_watches(self, within: float = _OPENED_WITHIN) -> NoReturn:
        """Do nothing for ever, as long as kopf watches.

        kopf looks once which kinds are served. If the API server had just started and did not know
        ours yet, kopf goes on without it: only a new process looks again.

        Raises:
            NotWatched: the watches were not opened in time.
        """
        await self._started.wait()
        await asyncio.sleep(within)
        if self.monitor.opened < max(1, len(self._namespaces)):
            raise NotWatched(f"kopf does not watch {PLURAL}.{GROUP} in every namespace served")
        while True:
            await asyncio.sleep(_OPENED_WITHIN)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            session = self._connection.session(max_connections=0, middlewares=(self.monitor,))
            self._sessions.append(session)
            return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

        @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            obj: Any = event["object"]
            if event["type"] == "DELETED":
                metadata = obj["metadata"]
                key = Key(metadata["namespace"], metadata["name"])
                self._store.drop_job(key, metadata["uid"])
            else:
                self._store.put_job(obj)

        return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are ours to write
    settings.scanning.disabled = True  # else it wants to list namespaces and CRDs cluster-wide
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.watching.chunk_size = 100
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.watching.reconnect_backoff = 1
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.queueing.idle_timeout = 1  # a task per object seen lately: let it go soon
    settings.process.ultimate_exiting_timeout = None  # the runtime ends the process
    return settings
