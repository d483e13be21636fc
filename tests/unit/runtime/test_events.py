import asyncio
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.events import Events
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import AlreadyExists, NamespaceTerminating
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.errors import Transient
from support.builders_cluster import a_job

Json = dict[str, Any]


class FakeEvents:
    """Takes Events, or refuses them until the request with the number `recovers`."""

    def __init__(self, refusal: Exception | None = None, recovers: int = 1_000) -> None:
        self.refusal, self.recovers = refusal, recovers
        self.tried = 0
        self.written: list[Json] = []

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        self.tried += 1
        if self.refusal is not None and self.tried < self.recovers:
            raise self.refusal
        self.written.append(body)
        return body


class SlowEvents:
    """Counts how many requests are under way at once."""

    most = under_way = 0

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        return body


def a_busy_server() -> Transient:
    return Transient(Reason.API_ERROR, "busy", retry_after=0.001)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def written(events: Events) -> None:
    """Run until the backlog is empty."""
    task = asyncio.create_task(events.run())
    await asyncio.wait_for(events.flush(), 5)
    task.cancel()


def dropped(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("finetune_events_dropped_total")
    assert value is not None
    return value


async def test_an_event_names_its_object_and_reason() -> None:
    api = FakeEvents()
    events = Events(api, Metrics())

    events.emit(a_job(), Reason.DATA_INVALID, "Line 37 is not JSON", warning=True)
    await written(events)

    (event,) = api.written
    assert event["involvedObject"]["uid"] == "uid-1"
    assert event["metadata"]["namespace"] == "team-a"
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "DataInvalid",
        "Line 37 is not JSON",
    )


@pytest.mark.parametrize(
    ("uid", "message", "after", "want"),
    [
        pytest.param("uid-1", "Started", 599.0, 1, id="the same within 10 minutes: once"),
        pytest.param("uid-1", "Started", 601.0, 2, id="the same later: again"),
        pytest.param("uid-1", "Stopped", 0.0, 2, id="another message"),
        pytest.param("uid-2", "Started", 0.0, 2, id="another object of that name"),
    ],
)
async def test_repetition(uid: str, message: str, after: float, want: int) -> None:
    api, clock = FakeEvents(), Clock()
    events = Events(api, Metrics(), clock=clock)

    events.emit(a_job(), Reason.RUNNING, "Started")
    clock.now += after
    events.emit(a_job(uid=uid), Reason.RUNNING, message)
    await written(events)

    assert len(api.written) == want


async def test_none_in_a_terminating_namespace() -> None:
    api = FakeEvents(NamespaceTerminating(Reason.API_ERROR, "terminating"))
    metrics = Metrics()
    events = Events(api, metrics)

    for number in range(5):
        events.emit(a_job(), Reason.CANCELLING, f"Message {number}")
    await written(events)
    events.emit(a_job(), Reason.CANCELLING, "One more")
    await written(events)

    assert api.tried == 1
    assert dropped(metrics) == 0


@pytest.mark.parametrize(
    ("refusal", "recovers", "want_tried", "want_dropped"),
    [
        pytest.param(a_busy_server(), 2, 2, 0, id="busy for a moment: tried again, nothing lost"),
        pytest.param(a_busy_server(), 9, 3, 1, id="busy for long: given up and counted"),
        pytest.param(
            Transient(Reason.PERMISSION_DENIED, "forbidden", waits_for_user=True), 2, 1, 1,
            id="forbidden: not tried again",
        ),
        pytest.param(AlreadyExists("it is there"), 9, 1, 0, id="its answer was lost: written"),
    ],
)  # fmt: skip
async def test_a_failure_disturbs_nobody(
    refusal: Exception, recovers: int, want_tried: int, want_dropped: int
) -> None:
    api, metrics = FakeEvents(refusal, recovers), Metrics()
    events = Events(api, metrics)

    events.emit(a_job(), Reason.RUNNING, "Started")
    await written(events)

    assert (api.tried, dropped(metrics)) == (want_tried, want_dropped)


async def test_the_burst_of_thousands_of_jobs_loses_nothing() -> None:
    api, metrics = FakeEvents(), Metrics()
    events = Events(api, metrics)

    for number in range(3_000):
        for reason in (Reason.PREPARING, Reason.DATA_INVALID, Reason.QUEUED):
            events.emit(a_job(f"tune-{number}", uid=f"uid-{number}"), reason, "A message")
    await written(events)

    assert (len(api.written), dropped(metrics)) == (9_000, 0)


async def test_several_are_written_at_once() -> None:
    api = SlowEvents()
    events = Events(api, Metrics())

    for number in range(20):
        events.emit(a_job(), Reason.RUNNING, f"Message {number}")
    await written(events)

    assert api.most == 4


async def test_a_flood_is_cut_off() -> None:
    metrics = Metrics()
    events = Events(FakeEvents(), metrics)

    for number in range(10_010):
        events.emit(a_job(), Reason.RUNNING, f"Message {number}")

    assert dropped(metrics) == 10
