"""The operator as one process: leadership first, then watches, workers and servers in one loop.

It must not know what a reconcile does: that is injected. kopf stays behind handlers.JobFeed.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol
from uuid import uuid4

from aiohttp import web

from finetune_api.constants import LABEL_MANAGED_BY, MANAGED_BY
from finetune_operator.adapters import health, logs, progress
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.authority import Authority
from finetune_operator.adapters.connection import Connection
from finetune_operator.adapters.events import Events
from finetune_operator.adapters.http_server import serve
from finetune_operator.adapters.informer import Informer, list_jobs
from finetune_operator.adapters.lease import Leadership, LeadershipLost, LeaseTimes
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.own_pod import OwnPod
from finetune_operator.adapters.queue import WorkQueue, work
from finetune_operator.adapters.refusals import Expired
from finetune_operator.adapters.resources import JOBS, PODS
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core.errors import OperatorError
from finetune_operator.handlers import JobFeed
from finetune_operator.settings import Settings

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
_LAST_WORDS_SECONDS = 1.0
_SEED_RETRY_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a controller acts through."""

    settings: Settings
    api: Api
    store: Store
    queue: WorkQueue[Key]
    leadership: Leadership
    events: Events
    metrics: Metrics
    authority: Authority


class Controller(Protocol):
    """What the runtime needs of whoever reconciles."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring one FineTuneJob a step further; seconds after which to look again."""

    async def close(self) -> None:
        """Let go of connections and tasks."""


Build = Callable[[Services], Controller]


async def run(settings: Settings, connection: Connection, build: Build) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 when asked to stop, 1 when something broke."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    metrics = Metrics()
    api = Api(
        connection,
        metrics,
        max_connections=settings.workers + 8,
        timeout=settings.api_timeout_seconds,
    )
    state = health.Health(metrics=metrics)
    server = await serve(health.app(state), host=settings.health_host, port=settings.health_port)
    leadership = _leadership(settings, api)
    try:
        pod = OwnPod(api, namespace=settings.pod_namespace, name=settings.pod_name)
        if not await _before(stop, _become_leader(pod, leadership)):
            return 0
        leader = _Leader(settings, connection, api, metrics, state, leadership, pod, build)
        return await leader.run(stop)
    finally:
        await server.cleanup()
        await api.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _leadership(settings: Settings, api: Api) -> Leadership:
    # The suffix tells a restarted container from the one before it, of the same pod.
    identity = f"{settings.pod_name or os.uname().nodename}_{uuid4().hex[:8]}"
    times = LeaseTimes(
        duration=settings.lease_duration_seconds,
        renew_deadline=settings.lease_renew_deadline_seconds,
        retry=settings.lease_retry_seconds,
    )
    return Leadership(
        api,
        namespace=settings.pod_namespace,
        name=settings.lease_name,
        identity=identity,
        times=times,
    )


async def _become_leader(pod: OwnPod, leadership: Leadership) -> None:
    # A leader that was killed left its label behind.
    await pod.label_until_done(leading=False)
    await leadership.acquire()


async def _before(stop: asyncio.Event, doing: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done before the process was asked to stop."""
    task, asked = asyncio.create_task(doing), asyncio.create_task(stop.wait())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    done = task.done() and not stop.is_set()
    await _cancel(task, asked)
    if task.done() and not task.cancelled():
        task.result()
    return done


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_WORDS_SECONDS)


class _Leader:
    """All that runs only while this process leads."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        api: Api,
        metrics: Metrics,
        state: health.Health,
        leadership: Leadership,
        pod: OwnPod,
        build: Build,
    ) -> None:
        self._settings = settings
        self._api = api
        self._metrics = metrics
        self._health = state
        self._leadership = leadership
        self._pod = pod
        self._queue: WorkQueue[Key] = WorkQueue()
        self._store = Store(self._queue.add)
        self._events = Events(api, metrics)
        self._authority = Authority(
            api,
            namespace=settings.pod_namespace,
            secret=settings.progress_secret,
            names=[settings.progress_service or "localhost"],
        )
        self._feed = JobFeed(connection, self._store, settings.namespaces)
        self._informers = [self._informer(r, n) for r in (JOBS, PODS) for n in self._namespaces()]
        self._controller = build(
            Services(
                settings=settings,
                api=api,
                store=self._store,
                queue=self._queue,
                leadership=leadership,
                events=self._events,
                metrics=metrics,
                authority=self._authority,
            )
        )
        self._progress: web.AppRunner | None = None
        self._workers: list[asyncio.Task[Any]] = []

    def _namespaces(self) -> list[str | None]:
        return list(self._settings.namespaces) or [None]

    def _informer(self, resource: Any, namespace: str | None) -> Informer:
        return Informer(
            self._api,
            self._store,
            resource,
            namespace=namespace,
            labels=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
            relist_seconds=self._settings.relist_seconds,
        )

    async def run(self, stop: asyncio.Event) -> int:
        """Lead until asked to stop (0), or until a part that must run for ever ends (1)."""
        holding = asyncio.create_task(self._hold(), name="lease")
        asked = asyncio.create_task(stop.wait(), name="stop")
        parts = [asyncio.create_task(part, name=name) for name, part in self._parts(stop).items()]
        self._show()
        done, _ = await asyncio.wait({asked, *parts}, return_when=asyncio.FIRST_COMPLETED)
        if asked not in done:
            _explain(done)
        await self._drain()
        await _cancel(*parts, asked)
        await _cancel(holding)
        await self._leadership.release()
        logger.info("Stopped")
        return 0 if asked in done else 1

    def _parts(self, stop: asyncio.Event) -> dict[str, Coroutine[Any, Any, Any]]:
        """What has to run as long as this process leads."""
        parts: dict[str, Coroutine[Any, Any, Any]] = {
            "feed": self._follow_jobs(stop),
            "events": self._events.run(),
        }
        for number, informer in enumerate(self._informers):
            parts[f"informer {informer.name} {number}"] = informer.run()
        if self._settings.progress_service:
            parts["progress"] = self._receive_progress()
        return parts

    async def _hold(self) -> NoReturn:
        try:
            await self._leadership.hold()
        except LeadershipLost as e:
            # Whatever else is under way must not go on for even one more request.
            logger.critical("Leadership lost: %s", e)
            logging.shutdown()
            os._exit(1)
        raise AssertionError("hold() never returns")

    def _show(self) -> None:
        self._metrics.leader.set(1)
        self._metrics.queue_depth.set_function(lambda: len(self._queue))
        self._metrics.count_jobs(self._store.jobs)
        # kopf's own stream is measured where its bytes arrive, so that bookmarks count: its
        # handlers never see one.
        self._health.ages["finetunejobs"] = self._feed.monitor.age
        for name in ("jobs", "pods"):
            watches = [informer for informer in self._informers if informer.name == name]
            self._health.ages[name] = partial(_oldest, watches)
        self._health.leading = True

    async def _follow_jobs(self, stop: asyncio.Event) -> None:
        """Fill the store, start the workers, and keep kopf's watch and the relists going."""
        await self._seed()
        for informer in self._informers:
            await informer.wait_synced()
        await self._feed.start()
        _stop_on_signals(stop)
        self._workers = [
            asyncio.create_task(self._work(), name=f"worker {number}")
            for number in range(self._settings.workers)
        ]
        relists = asyncio.create_task(self._relist(), name="relist")
        logger.info("Serving FineTuneJobs known=%d", len(self._store.all_keys()))
        try:
            await self._feed.run(frozenset(asyncio.all_tasks()))
        finally:
            await _cancel(relists)

    async def _seed(self) -> None:
        reported = False
        while True:
            try:
                await list_jobs(self._api, self._store, self._namespaces())
                return
            except (OperatorError, Expired) as e:
                if not reported:
                    logger.error("FineTuneJobs cannot be listed; trying again: %s", e)
                reported = True
                await asyncio.sleep(_SEED_RETRY_SECONDS)

    async def _relist(self) -> None:
        while True:
            await asyncio.sleep(self._settings.relist_seconds)
            try:
                await list_jobs(self._api, self._store, self._namespaces())
            except (OperatorError, Expired) as e:
                logger.warning("FineTuneJobs could not be listed again: %s", e)

    async def _receive_progress(self) -> NoReturn:
        endpoint = progress.ProgressEndpoint(
            progress.Tokens(self._api),
            self._store,
            self._queue.add_after,
            self._metrics,
            interval=self._settings.progress_interval_seconds,
        )
        await self._authority.ensure_until_done()
        self._progress = await serve(
            endpoint.app(),
            host=self._settings.progress_host,
            port=self._settings.progress_port,
            tls=self._authority.tls,
        )
        await self._pod.label_until_done(leading=True)
        await self._authority.run()
        raise AssertionError("run() never returns")

    async def _work(self) -> None:
        await work(
            self._queue,
            self._timed(self._controller.reconcile),
            named=self._named,
            finished=lambda result: self._metrics.reconciles.labels(result=result).inc(),
        )

    def _named(self, key: Key) -> AbstractContextManager[None]:
        metadata = (self._store.job(key) or {}).get("metadata", {})
        return logs.about(key, uid=metadata.get("uid"), generation=metadata.get("generation"))

    def _timed(
        self, reconcile: Callable[[Key], Awaitable[float | None]]
    ) -> Callable[[Key], Awaitable[float | None]]:
        async def timed(key: Key) -> float | None:
            if self._leadership.time_left() <= 0:
                return self._settings.lease_retry_seconds  # we are about to end
            began = time.perf_counter()
            try:
                return await reconcile(key)
            finally:
                self._metrics.reconcile_seconds.observe(time.perf_counter() - began)

        return timed

    async def _drain(self) -> None:
        """Let running reconciles finish, take no new ones, and say goodbye; under 9 s in all."""
        self._health.leading = False
        self._queue.close()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=_DRAIN_SECONDS)
            await _cancel(*late)
        if self._progress is not None:
            await self._progress.cleanup()
        for farewell in (
            self._pod.label_once(leading=False),
            self._events.flush(),
            self._controller.close(),
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await farewell


def _oldest(watches: Sequence[Informer]) -> float:
    return max(watch.age() for watch in watches)


def _explain(done: "set[asyncio.Task[Any]]") -> None:
    for task in done:
        error = None if task.cancelled() else task.exception()
        logger.critical("Part %s ended: %s", task.get_name(), error or "unexpectedly")
