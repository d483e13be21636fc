import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from finetune_api.constants import PROGRESS_AUDIENCE
from finetune_api.reasons import Reason
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.progress import ProgressEndpoint, Tokens
from finetune_operator.adapters.resources import JOBS, PODS
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core.errors import Transient
from support.builders_cluster import a_child, a_job, a_pod

Json = dict[str, Any]

TUNE = Key("team-a", "tune")
URL = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team-a/trainjobs/tune/status"
UPDATE = {
    "trainerStatus": {
        "progressPercentage": 20,
        "estimatedRemainingSeconds": 90,
        "metrics": [{"name": "loss", "value": "0.83"}],
        "lastUpdatedTime": "2026-11-22T15:00:00Z",
    }
}


def a_review(**changes: Any) -> Json:
    """What the API server says of a good token of the pod that `a_pod` builds."""
    return {
        "authenticated": True,
        "audiences": [PROGRESS_AUDIENCE],
        "user": {
            "username": "system:serviceaccount:team-a:finetune",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["tune-1-abc"],
                "authentication.kubernetes.io/pod-uid": ["pod-1"],
            },
        },
        **changes,
    }


class FakeReviews:
    def __init__(self) -> None:
        self.review = a_review()
        self.asked = 0
        self.down = False

    async def review_token(self, token: str, audience: str) -> Json:
        self.asked += 1
        if self.down:
            raise Transient(Reason.API_ERROR, "no API server")
        return self.review if token == "good" else {"authenticated": False}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """The endpoint with its store, over real HTTP."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reviews = FakeReviews()
        self.store = Store(lambda _: None)
        self.woken: list[tuple[Key, float]] = []
        self.endpoint = ProgressEndpoint(
            Tokens(self.reviews, clock=self.clock),
            self.store,
            lambda key, seconds: self.woken.append((key, seconds)),
            Metrics(),
            interval=15,
            clock=self.clock,
        )
        self.store.put_job(a_job())
        self.store.put_child(JOBS, a_child())
        self.store.put_child(PODS, a_pod())

    async def post(
        self, *, url: str = URL, token: str = "good", body: object = UPDATE
    ) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = await self.client.post(url, data=data, headers=headers)
        return reply.status, await reply.text()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with TestClient(TestServer(world.endpoint.app())) as client:
        world.client = client
        yield world


async def test_a_report_of_our_pod_is_kept_and_wakes_its_job(world: World) -> None:
    status, _ = await world.post()

    report = world.store.progress("uid-1")
    assert status == 200
    assert report is not None
    assert report.job_uid == "child-1"
    assert report.status.progress_percentage == 20
    assert report.status.metrics[0].value == "0.83"
    assert world.woken == [(TUNE, 0.0)]


async def test_the_stock_client_sends_less_and_is_understood(world: World) -> None:
    status, _ = await world.post(body={"trainerStatus": {"progressPercentage": 100}})

    assert status == 200


@pytest.mark.parametrize(
    ("review", "want"),
    [
        pytest.param({"authenticated": False}, 401, id="not a token of this cluster"),
        pytest.param(a_review(audiences=["other"]), 401, id="made for somebody else"),
        pytest.param(
            a_review(user={"username": "system:serviceaccount:team-a:x", "extra": {}}),
            401,
            id="not bound to a pod",
        ),
        pytest.param(
            a_review(user={**a_review()["user"], "username": "system:node:n1"}),
            401,
            id="not a ServiceAccount",
        ),
        pytest.param(
            a_review(
                user={**a_review()["user"], "username": "system:serviceaccount:team-b:finetune"}
            ),
            403,
            id="a pod of another namespace",
        ),
    ],
)
async def test_tokens(world: World, review: Json, want: int) -> None:
    world.reviews.review = review

    status, _ = await world.post()

    assert status == want
    assert world.store.progress("uid-1") is None


@pytest.mark.parametrize(
    ("pod", "child"),
    [
        pytest.param(a_pod(uid="pod-2", version=31), a_child(), id="a pod of that name, later"),
        pytest.param(
            a_pod(child="child-0", version=31), a_child(), id="its Job was replaced by a namesake"
        ),
        pytest.param(
            a_pod(of="uid-2", version=31), a_child(), id="a pod of another FineTuneJob, by label"
        ),
        pytest.param(a_pod(), a_child(of="uid-2", version=31), id="a Job of another FineTuneJob"),
        pytest.param(a_child("tune-1-abc", uid="pod-1", version=31), a_child(), id="a bare pod"),
    ],
)
async def test_pod_job_and_finetunejob_must_fit(world: World, pod: Json, child: Json) -> None:
    world.store.put_child(PODS, pod)
    world.store.put_child(JOBS, child)

    status, _ = await world.post()

    assert status == 403
    assert world.store.progress("uid-1") is None


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        pytest.param({"token": ""}, 401, id="no token"),
        pytest.param({"body": b"{"}, 422, id="not JSON"),
        pytest.param({"body": {"status": 1}}, 422, id="another shape"),
        pytest.param(
            {"body": {"trainerStatus": {"progressPercentage": 101}}}, 422, id="out of range"
        ),
        pytest.param({"body": b" " * 65 * 1024}, 413, id="too large"),
        pytest.param({"url": URL.replace("tune", "tuna")}, 403, id="no such FineTuneJob"),
        pytest.param({"url": "/"}, 404, id="no such page"),
    ],
)
async def test_refused(world: World, changes: Json, want: int) -> None:
    status, text = await world.post(**changes)

    assert status == want
    assert "Traceback" not in text


async def test_a_good_answer_is_believed_for_a_minute_a_bad_one_never(world: World) -> None:
    await world.post()
    await world.post()
    assert world.reviews.asked == 1

    world.clock.now += 61
    await world.post()
    assert world.reviews.asked == 2

    await world.post(token="bad")
    await world.post(token="bad")
    assert world.reviews.asked == 4


async def test_a_key_is_woken_once_in_fifteen_seconds(world: World) -> None:
    for _ in range(10):
        await world.post()
        world.clock.now += 1

    assert world.woken == [(TUNE, 0.0), (TUNE, 14.0)]


async def test_without_an_api_server_the_client_is_asked_to_try_again(world: World) -> None:
    world.reviews.down = True

    status, _ = await world.post()

    assert status == 503
