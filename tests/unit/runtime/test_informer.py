import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.api import Listing
from finetune_operator.adapters.informer import Informer, list_jobs
from finetune_operator.adapters.refusals import Expired
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, Resource
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core.errors import Transient
from support.builders_cluster import a_child, a_job

Json = dict[str, Any]


class FakeApi:
    """Lists what is there; a watch yields what the test puts, or raises it."""

    def __init__(self) -> None:
        self.objects: list[Json] = []
        self.version = 50
        self.lists = 0
        self.refusals: list[Exception] = []
        self.watches: list[int] = []
        self.events: asyncio.Queue[Json | Exception | None] = asyncio.Queue()

    async def pages(
        self, resource: Resource, namespace: str | None, *, labels: str = ""
    ) -> AsyncIterator[Listing]:
        self.lists += 1
        if self.refusals:
            raise self.refusals.pop(0)
        for obj in self.objects:
            yield Listing(items=[obj], version=self.version)
        yield Listing(items=[], version=self.version)

    async def watch(
        self, resource: Resource, namespace: str | None, *, version: int, **_: Any
    ) -> AsyncIterator[Json]:
        self.watches.append(version)
        while (event := await self.events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event
        await asyncio.sleep(0.005)  # no watch is shorter

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        for obj in self.objects:
            if obj["metadata"]["name"] == name:
                return obj
        return None


class World:
    def __init__(self, relist_seconds: float = 600, namespace: str | None = None) -> None:
        self.api = FakeApi()
        self.store = Store(lambda _: None)
        self.store.put_job(a_job())
        self.informer = Informer(
            self.api,
            self.store,
            JOBS,
            namespace=namespace,
            labels="",
            relist_seconds=relist_seconds,
        )

    def start(self) -> None:
        self.task = asyncio.create_task(self.informer.run())

    def children(self) -> list[str]:
        return [child["metadata"]["name"] for child in self.store.child_jobs("uid-1")]

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.start()
    yield world
    world.task.cancel()


async def test_synced_means_a_complete_list() -> None:
    world = World()
    world.api.objects = [a_child("a", uid="a"), a_child("b", uid="b")]

    world.start()
    await world.informer.wait_settled()

    assert world.children() == ["a", "b"]
    world.task.cancel()


@pytest.mark.parametrize(
    ("namespace", "want_settled"),
    [
        pytest.param("team-a", True, id="one namespace, which is going: others are served"),
        pytest.param(None, False, id="the whole cluster: nothing would be known"),
    ],
)
async def test_where_the_list_is_refused(namespace: str | None, want_settled: bool) -> None:
    world = World(namespace=namespace)
    denied = Transient(Reason.PERMISSION_DENIED, "May not list", waits_for_user=True)
    world.api.refusals = [denied] * 1000
    world.start()
    await world.until(lambda: world.api.lists > 0)
    await asyncio.sleep(0)
    settled = asyncio.create_task(world.informer.wait_settled())
    await asyncio.wait({settled}, timeout=0.2)
    assert settled.done() == want_settled
    assert (world.informer.age() == 0.0) == want_settled

    world.api.refusals = []
    world.api.objects = [a_child("a", uid="a")]
    await world.until(world.children)
    await settled
    assert world.informer.age() > 0
    world.task.cancel()


async def test_events_are_applied_from_the_lists_version_on(world: World) -> None:
    await world.informer.wait_settled()
    for kind, child in (
        ("ADDED", a_child("a", version=51, uid="a")),
        ("ADDED", a_child("b", version=52, uid="b")),
        ("DELETED", a_child("a", version=53, uid="a")),
        ("BOOKMARK", {"metadata": {"resourceVersion": "60"}}),
    ):
        world.api.events.put_nowait({"type": kind, "object": child})
    world.api.events.put_nowait(None)  # the server ends the watch

    await world.until(lambda: len(world.api.watches) == 2)

    assert world.children() == ["b"]
    assert world.api.watches == [50, 60], "the next watch goes on where the bookmark stood"
    assert world.api.lists == 1


async def test_an_expired_watch_lists_again_and_drops_what_vanished(world: World) -> None:
    await world.until(lambda: world.api.watches)
    for name in "ab":
        added = {"type": "ADDED", "object": a_child(name, version=51, uid=name)}
        world.api.events.put_nowait(added)
    await world.until(lambda: world.children() == ["a", "b"])

    world.api.version = 55
    world.api.objects = [a_child("b", uid="b")]
    world.api.events.put_nowait(Expired())
    await world.until(lambda: world.api.lists == 2 and len(world.api.watches) == 2)

    assert world.children() == ["b"]


async def test_failures_are_waited_out_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.api.refusals = [Transient(Reason.API_ERROR, "away") for _ in range(2)]

    world.start()
    await world.until(lambda: world.api.watches)

    world.task.cancel()
    assert world.api.lists == 3
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


async def test_everything_is_listed_again_in_time() -> None:
    world = World(relist_seconds=0.01)
    world.start()
    for _ in range(100):
        world.api.events.put_nowait(None)

    await world.until(lambda: world.api.lists >= 2)
    world.task.cancel()


async def test_age_counts_from_the_last_sign_of_life(world: World) -> None:
    await world.until(lambda: world.api.watches)
    world.informer._heard_at -= 200
    assert world.informer.age() >= 200

    mark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "60"}}}
    world.api.events.put_nowait(mark)

    await world.until(lambda: world.informer.age() < 1)


@pytest.mark.parametrize(
    ("there", "listed", "want"),
    [
        pytest.param(True, True, ["tune"], id="listed: stays"),
        pytest.param(False, False, [], id="gone: dropped"),
        pytest.param(True, False, ["tune"], id="not in the list but there: stays"),
    ],
)
async def test_a_relist_of_jobs_asks_before_it_drops(
    there: bool, listed: bool, want: list[str]
) -> None:
    api, store = FakeApi(), Store(lambda _: None)
    store.put_job(a_job())
    listing = [a_job()] if listed else []
    api.objects = [a_job()] if there else []
    api.pages = one_page(listing)  # type: ignore[method-assign]

    await list_jobs(api, store, ["team-a"])

    assert [key.name for key in store.all_keys()] == want


async def test_a_relist_brings_what_no_event_told(world: World) -> None:
    store = Store(lambda _: None)
    world.api.objects = [a_job("new", uid="uid-9")]

    await list_jobs(world.api, store, [None])

    assert store.all_keys() == [Key("team-a", "new")]


def one_page(items: list[Json]) -> Any:
    async def pages(resource: Resource, namespace: str | None) -> AsyncIterator[Listing]:
        assert resource is FINETUNEJOBS
        yield Listing(items=items, version=50)

    return pages
