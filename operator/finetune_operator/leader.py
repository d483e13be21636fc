"""All that runs only while this process leads: watches, workers, the progress endpoint.

It must not know what a reconcile does. kopf stays behind handlers.JobFeed.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, NoReturn

from aiohttp import web

from finetune_api.constants import LABEL_MANAGED_BY, MANAGED_BY
from finetune_operator.adapters import logs
from finetune_operator.adapters.connection import Connection
from finetune_operator.adapters.health import Health
from finetune_operator.adapters.http_server import serve
from finetune_operator.adapters.informer import Informer, list_jobs
from finetune_operator.adapters.lease import LeadershipLost
from finetune_operator.adapters.own_pod import OwnPod
from finetune_operator.adapters.progress import ProgressEndpoint, Tokens
from finetune_operator.adapters.queue import work
from finetune_operator.adapters.refusals import Expired
from finetune_operator.adapters.resources import JOBS, PODS, Resource
from finetune_operator.adapters.store import Key
from finetune_operator.core.errors import OperatorError
from finetune_operator.handlers import JobFeed
from finetune_operator.services import Controller, Services

logger = logging.getLogger(__name__)

_DRAIN_SECONDS = 5.0
_LAST_WORDS_SECONDS = 1.0
_SEED_RETRY_SECONDS = 2.0


class Leader:
    """From the moment that the Lease is ours until it is given back or lost."""

    def __init__(
        self,
        services: Services,
        connection: Connection,
        state: Health,
        pod: OwnPod,
        controller: Controller,
    ) -> None:
        self._services = services
        self._settings = services.settings
        self._store, self._queue, self._api = services.store, services.queue, services.api
        self._health = state
        self._pod = pod
        self._controller = controller
        self._namespaces: list[str | None] = list(self._settings.namespaces) or [None]
        self._feed = JobFeed(connection, self._store, self._settings.namespaces)
        self._informers = [self._informer(r, n) for r in (JOBS, PODS) for n in self._namespaces]
        self._progress: web.AppRunner | None = None
        self._workers: list[asyncio.Task[Any]] = []

    def _informer(self, resource: Resource, namespace: str | None) -> Informer:
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
        parts = [asyncio.create_task(part, name=name) for name, part in self._parts(stop)]
        self._show()
        waited_for = {asked, holding, *parts}
        done, _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        for part in done - {asked}:
            error = None if part.cancelled() else part.exception()
            told = error or "unexpectedly"
            logger.critical("Part %s ended: %s", part.get_name(), told, exc_info=error)
        await self._drain()
        await cancel(asked, *parts)
        await cancel(holding)
        await self._services.leadership.release()
        logger.info("Stopped")
        return 0 if asked in done else 1

    async def _hold(self) -> NoReturn:
        try:
            await self._services.leadership.hold()
        except LeadershipLost as e:
            # Whatever else is under way must not go on for even one more request.
            logger.critical("Leadership lost: %s", e)
            logging.shutdown()
            os._exit(1)

    def _parts(self, stop: asyncio.Event) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        """What has to run as long as this process leads."""
        parts: list[tuple[str, Coroutine[Any, Any, Any]]] = [
            ("feed", self._serve(stop)),
            ("feed's watches", self._feed.expect_watches()),
            ("events", self._services.events.run()),
        ]
        parts += [(f"informer {informer.name}", informer.run()) for informer in self._informers]
        if self._settings.progress_service:
            parts.append(("progress", self._receive_progress()))
        return parts

    def _show(self) -> None:
        """Let probes and metrics see what leads here."""
        metrics, ages = self._services.metrics, self._health.ages
        metrics.leader.set(1)
        metrics.queue_depth.set_function(lambda: len(self._queue))
        metrics.count_jobs(self._store.jobs)
        # kopf's own stream is measured where its bytes arrive, so that bookmarks count: its
        # handlers never see one.
        ages["finetunejobs"] = self._feed.monitor.age
        for resource in (JOBS, PODS):
            watches = [one for one in self._informers if one.name == resource.plural]
            ages[resource.plural] = partial(_oldest, watches)
        self._health.leading = True

    async def _serve(self, stop: asyncio.Event) -> None:
        """Fill the store, start the workers, and keep kopf's watch and the relists going."""
        await self._seed()
        for informer in self._informers:
            await informer.wait_settled()
        await self._feed.start()
        stop_on_signals(stop)  # kopf took them
        self._workers = [
            asyncio.create_task(self._work(), name=f"worker {number}")
            for number in range(self._settings.workers)
        ]
        relists = asyncio.create_task(self._relist(), name="relist")
        logger.info("Serving FineTuneJobs known=%d", len(self._store.all_keys()))
        try:
            await self._feed.run(frozenset(asyncio.all_tasks()))
        finally:
            await cancel(relists)

    async def _seed(self) -> None:
        """The first list; kopf would not say when its own is complete."""
        reported = False
        while True:
            try:
                await list_jobs(self._api, self._store, self._namespaces)
                return
            except (OperatorError, Expired) as e:
                if not reported:
                    logger.error("FineTuneJobs cannot be listed; trying again: %s", e)
                reported = True
                await asyncio.sleep(_SEED_RETRY_SECONDS)

    async def _relist(self) -> NoReturn:
        while True:
            await asyncio.sleep(self._settings.relist_seconds)
            try:
                await list_jobs(self._api, self._store, self._namespaces)
            except (OperatorError, Expired) as e:
                logger.warning("FineTuneJobs could not be listed again: %s", e)

    async def _receive_progress(self) -> NoReturn:
        authority = self._services.authority
        endpoint = ProgressEndpoint(
            Tokens(self._api),
            self._store,
            self._queue.add_after,
            self._services.metrics,
            interval=self._settings.progress_interval_seconds,
        )
        await authority.ensure_until_done()
        self._progress = await serve(
            endpoint.app(),
            host=self._settings.progress_host,
            port=self._settings.progress_port,
            tls=authority.tls,
        )
        await self._pod.label_until_done(leading=True)
        await authority.run()

    async def _work(self) -> None:
        reconciles = self._services.metrics.reconciles
        await work(
            self._queue,
            self._reconcile,
            named=self._named,
            finished=lambda result: reconciles.labels(result=result).inc(),
        )

    def _named(self, key: Key) -> AbstractContextManager[None]:
        metadata = (self._store.job(key) or {}).get("metadata", {})
        return logs.about(key, uid=metadata.get("uid"), generation=metadata.get("generation"))

    async def _reconcile(self, key: Key) -> float | None:
        if self._services.leadership.time_left() <= 0:
            return self._settings.lease_retry_seconds  # by then this process has ended
        began = time.perf_counter()
        try:
            return await self._controller.reconcile(key)
        finally:
            self._services.metrics.reconcile_seconds.observe(time.perf_counter() - began)

    async def _drain(self) -> None:
        """Let running reconciles finish, take no new ones, and say goodbye; under 9 s in all."""
        self._health.leading = False
        self._queue.close()
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=_DRAIN_SECONDS)
            await cancel(*late)
        if self._progress is not None:
            await self._progress.cleanup()
        for farewell in (
            self._pod.label_once(leading=False),
            self._services.events.flush(),
            self._controller.close(),
        ):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await farewell


def _oldest(watches: Sequence[Informer]) -> float:
    return max(watch.age() for watch in watches)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT ask for the end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def cancel(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and give them a second to end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_LAST_WORDS_SECONDS)
