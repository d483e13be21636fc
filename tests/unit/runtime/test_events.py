import asyncio
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.events import Events
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import NamespaceTerminating
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.errors import OperatorError, Transient
from support.builders_cluster import a_job

Json = dict[str, Any]


class FakeEvents:
    """Takes Events, or refuses them."""

    def __init__(self, refusal: OperatorError | None = None) -> None:
        self.refusal = refusal
        self.tried = 0
        self.written: list[Json] = []

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        self.tried += 1
        if self.refusal is not None:
            raise self.refusal
        self.written.append(body)
        return body


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


async def test_a_failure_is_counted_and_disturbs_nobody() -> None:
    api, metrics = FakeEvents(Transient(Reason.API_ERROR, "busy")), Metrics()
    events = Events(api, metrics)

    events.emit(a_job(), Reason.RUNNING, "Started")
    await written(events)

    assert dropped(metrics) == 1


async def test_a_flood_is_cut_off() -> None:
    metrics = Metrics()
    events = Events(FakeEvents(), metrics)

    for number in range(1_010):
        events.emit(a_job(), Reason.RUNNING, f"Message {number}")

    assert dropped(metrics) == 10
