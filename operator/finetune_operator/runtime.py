"""The operator as one process in one event loop: wait for leadership, lead, end.

It must not know what a reconcile does: that is injected.
"""

import asyncio
import os
from collections.abc import Coroutine
from functools import partial
from typing import Any
from uuid import uuid4

from finetune_operator.adapters import health
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.authority import Authority
from finetune_operator.adapters.connection import Connection
from finetune_operator.adapters.events import Events
from finetune_operator.adapters.http_server import serve
from finetune_operator.adapters.lease import Leadership, LeaseTimes
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.own_pod import OwnPod
from finetune_operator.adapters.queue import WorkQueue
from finetune_operator.adapters.store import Key, Store
from finetune_operator.leader import Leader, cancel, stop_on_signals
from finetune_operator.services import Build, Services
from finetune_operator.settings import Settings

_OTHER_CONNECTIONS = 16
"""Beside one for each worker: watches, Lease, Events, TokenReviews."""


async def run(settings: Settings, connection: Connection, build: Build) -> int:
    """Run until SIGTERM or SIGINT; the exit code: 0 when asked to stop, 1 when something broke."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    services = _services(settings, connection)
    state = health.Health(metrics=services.metrics)
    pod = OwnPod(services.api, namespace=settings.pod_namespace, name=settings.pod_name)
    server = await serve(health.app(state), host=settings.health_host, port=settings.health_port)
    try:
        if not await _before(stop, _become_leader(pod, services.leadership)):
            return 0
        return await Leader(services, connection, state, pod, build(services)).run(stop)
    finally:
        await server.cleanup()
        await services.api.close()


def _services(settings: Settings, connection: Connection) -> Services:
    metrics = Metrics()
    api = Api(
        connection,
        metrics,
        max_connections=settings.workers + _OTHER_CONNECTIONS + 2 * len(settings.namespaces),
        timeout=settings.api_timeout_seconds,
    )
    queue: WorkQueue[Key] = WorkQueue()
    return Services(
        settings=settings,
        api=api,
        # Its first status takes one request: a burst of new jobs is acknowledged before any is
        # worked on.
        store=Store(queue.add, partial(queue.add, ahead=True)),
        queue=queue,
        leadership=_leadership(settings, api),
        events=Events(api, metrics),
        metrics=metrics,
        authority=Authority(
            api,
            namespace=settings.pod_namespace,
            secret=settings.progress_secret,
            names=[settings.progress_service],
        ),
    )


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
    if task.done():
        task.result()
    done = not stop.is_set()
    await cancel(task, asked)
    return done
