"""kopf's part against an API server that is only as real as kopf needs it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from finetune_operator.adapters.connection import BearerToken, Connection
from finetune_operator.adapters.store import Key, Store
from finetune_operator.handlers import JobFeed, NotWatched
from support.builders_cluster import a_job

Json = dict[str, Any]

COLLECTION = "/apis/finetune.dev/v1alpha1/finetunejobs"


class FakeServer:
    """Discovery, one list and one watch of FineTuneJobs; anything written is remembered."""

    def __init__(self) -> None:
        self.serves_our_kind = True
        self.jobs: list[Json] = []
        self.events: asyncio.Queue[Json] = asyncio.Queue()
        self.writes: list[str] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/api", self._core),
                web.get("/api/v1", self._core_kinds),
                web.get("/apis", self._groups),
                web.get("/apis/apiextensions.k8s.io/v1", self._crds),
                web.get("/apis/finetune.dev/v1alpha1", self._kinds),
                web.get(COLLECTION, self._collection),
                web.route("*", "/{anything:.*}", self._other),
            ]
        )
        return app

    async def _core(self, _: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1"]})

    async def _core_kinds(self, _: web.Request) -> web.Response:
        return web.json_response({"resources": [kind("namespaces", "Namespace")]})

    async def _groups(self, _: web.Request) -> web.Response:
        groups = {"apiextensions.k8s.io": "v1"}
        if self.serves_our_kind:
            groups["finetune.dev"] = "v1alpha1"
        return web.json_response({"groups": [group(*named) for named in groups.items()]})

    async def _crds(self, _: web.Request) -> web.Response:
        kinds = [kind("customresourcedefinitions", "CustomResourceDefinition")]
        return web.json_response({"resources": kinds})

    async def _kinds(self, _: web.Request) -> web.Response:
        ours = kind("finetunejobs", "FineTuneJob", namespaced=True)
        return web.json_response({"resources": [ours]})

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            items = {"metadata": {"resourceVersion": "100"}, "items": self.jobs}
            return web.json_response(items)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            event = await self.events.get()
            await response.write(json.dumps(event).encode() + b"\n")

    async def _other(self, request: web.Request) -> web.Response:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        return web.json_response({"message": "not found"}, status=404)


def group(name: str, version: str) -> Json:
    served = {"version": version, "groupVersion": f"{name}/{version}"}
    return {"name": name, "versions": [served], "preferredVersion": served}


def kind(plural: str, name: str, *, namespaced: bool = False) -> Json:
    return {
        "name": plural,
        "singularName": name.lower(),
        "namespaced": namespaced,
        "kind": name,
        "verbs": ["get", "list", "watch", "patch"],
    }


class World:
    def __init__(self, server: FakeServer, url: str) -> None:
        self.server = server
        self.woken: list[Key] = []
        self.store = Store(self.woken.append)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused: the server speaks HTTP
        connection = Connection(server=url, tls=tls, token=BearerToken(value="t"))
        self.feed = JobFeed(connection, self.store, ())

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    fake = FakeServer()
    async with TestServer(fake.app()) as server:
        yield World(fake, str(server.make_url("")).rstrip("/"))


async def running(world: World) -> asyncio.Task[None]:
    await world.feed.start()
    return asyncio.create_task(world.feed.run(frozenset(asyncio.all_tasks())))


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=5)


async def test_lists_and_events_reach_the_store_and_nothing_is_written(world: World) -> None:
    world.server.jobs = [a_job("first", version=90, uid="uid-1")]
    task = await running(world)
    await world.until(lambda: world.store.job(Key("team-a", "first")))

    second = a_job("second", version=101, uid="uid-2")
    world.server.events.put_nowait({"type": "ADDED", "object": second})
    await world.until(lambda: world.store.job(Key("team-a", "second")))
    world.server.events.put_nowait({"type": "DELETED", "object": a_job("first", version=102)})
    await world.until(lambda: not world.store.job(Key("team-a", "first")))
    await stopped(task)

    assert world.server.writes == []


async def test_bookmarks_count_as_signs_of_life(world: World) -> None:
    now = 1000.0
    world.feed.monitor._clock = lambda: now
    task = await running(world)
    await world.until(lambda: world.feed.monitor.opened)
    now += 200
    assert world.feed.monitor.age() >= 200

    mark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "150"}}}
    world.server.events.put_nowait(mark)

    await world.until(lambda: world.feed.monitor.age() == 0)
    await stopped(task)


async def test_kopf_that_never_watches_is_found_out(world: World) -> None:
    world.server.serves_our_kind = False
    task = await running(world)

    with pytest.raises(NotWatched):
        await world.feed.expect_watches(within=0.5)

    await stopped(task)


async def test_kopf_that_watches_is_left_in_peace(world: World) -> None:
    task = await running(world)
    await world.until(lambda: world.feed.monitor.opened)
    expecting = asyncio.create_task(world.feed.expect_watches(within=0.01))
    await asyncio.sleep(0.1)

    assert not expecting.done()
    await stopped(expecting)
    await stopped(task)
