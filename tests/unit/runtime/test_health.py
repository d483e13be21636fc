from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from finetune_operator.adapters import health
from finetune_operator.adapters.health import Health
from finetune_operator.adapters.metrics import Metrics

Client = TestClient[Any, Any]


@pytest.fixture
def state() -> Health:
    return Health(metrics=Metrics())


@pytest.fixture
async def client(state: Health) -> AsyncIterator[Client]:
    async with TestClient(TestServer(health.app(state))) as client:
        yield client


@pytest.mark.parametrize(
    ("leading", "ages", "want_status", "want_text"),
    [
        pytest.param(False, {}, 200, "standby", id="a standby watches nothing and is ready"),
        pytest.param(True, {"pods": 100.0}, 200, "leader", id="a watch that spoke lately"),
        pytest.param(
            True, {"pods": 151.0, "jobs": 5.0}, 503, "pods: 151 s", id="a watch that fell silent"
        ),
        pytest.param(False, {"pods": 151.0}, 200, "standby", id="silence while not leading"),
    ],
)
async def test_readiness(
    state: Health,
    client: Client,
    leading: bool,
    ages: dict[str, float],
    want_status: int,
    want_text: str,
) -> None:
    state.leading = leading
    state.ages = {name: lambda age=age: age for name, age in ages.items()}

    reply = await client.get("/readyz")

    assert reply.status == want_status
    assert want_text in await reply.text()


async def test_liveness_knows_nothing_of_watches(state: Health, client: Client) -> None:
    state.leading, state.ages = True, {"pods": lambda: 10_000.0}

    assert (await client.get("/livez")).status == 200


async def test_metrics_count_jobs_by_phase_and_backend(state: Health, client: Client) -> None:
    running = {"status": {"phase": "Running", "backend": "Kubernetes"}}
    state.metrics.count_jobs(lambda: [running, running, {}])
    state.ages = {"pods": lambda: 3.0}

    text = await (await client.get("/metrics")).text()

    assert 'finetune_jobs{backend="Kubernetes",phase="Running"} 2.0' in text
    assert 'finetune_jobs{backend="Unknown",phase="New"} 1.0' in text
    assert 'finetune_watch_age_seconds{watch="pods"} 3.0' in text


async def test_metrics_count_stalled_jobs_that_are_not_over(state: Health, client: Client) -> None:
    def job(phase: str, stalled: str) -> dict[str, Any]:
        condition = {"type": "Stalled", "status": stalled, "reason": "SecretNotFound"}
        status = {"phase": phase, "backend": "AzureOpenAI", "conditions": [condition]}
        return {"status": status}

    jobs = [job("Pending", "True"), job("Running", "False"), job("Failed", "True"), {}]
    state.metrics.count_jobs(lambda: jobs)

    text = await (await client.get("/metrics")).text()

    want = 'finetune_jobs_stalled{backend="AzureOpenAI",reason="SecretNotFound"} 1.0'
    assert [line for line in text.splitlines() if line.startswith("finetune_jobs_stalled{")] == [
        want
    ]
