"""Somebody else's trainer: transformers' own Kubeflow callback reports to our progress endpoint."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from finetune_api.constants import PROGRESS_AUDIENCE
from finetune_api.pods import TrainerStatus
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.progress import PATH, ProgressEndpoint, Tokens
from finetune_operator.adapters.resources import JOBS, PODS
from finetune_operator.adapters.store import Store
from support.builders_cluster import a_child, a_job, a_pod

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

Json = dict[str, Any]
STEPS = 3


class Reviews:
    """The API server's TokenReview: one token is good, that of the pod which `a_pod` builds."""

    async def review_token(self, token: str, audience: str) -> Json:
        proof = "authentication.kubernetes.io"
        return {
            "authenticated": token == "good" and audience == PROGRESS_AUDIENCE,
            "audiences": [audience],
            "user": {
                "username": "system:serviceaccount:team-a:finetune",
                "extra": {f"{proof}/pod-name": ["tune-1-abc"], f"{proof}/pod-uid": ["pod-1"]},
            },
        }


class Heard:
    """The endpoint over HTTP, and what it took."""

    def __init__(self) -> None:
        self.statuses: list[TrainerStatus] = []
        self.store = Store(lambda _: None)
        self.store.put_job(a_job())
        self.store.put_child(JOBS, a_child())
        self.store.put_child(PODS, a_pod())
        tokens = Tokens(Reviews())
        endpoint = ProgressEndpoint(tokens, self.store, self._wake, Metrics(), interval=0)
        self.server = TestServer(endpoint.app())

    def _wake(self, _key: object, _seconds: float) -> None:
        found = self.store.progress("uid-1")
        assert found is not None
        self.statuses.append(found.status)


@pytest.fixture
async def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heard]:
    from transformers.integrations.integration_utils import KubeflowCallback

    heard = Heard()
    async with heard.server:
        (tmp_path / "token").write_text("good\n")
        url = heard.server.make_url(PATH.format(namespace="team-a", name="tune"))
        monkeypatch.setenv("DISABLE_KUBEFLOW_INTEGRATION", "FALSE")
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", str(url))
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
        monkeypatch.setattr(KubeflowCallback, "_MIN_UPDATE_INTERVAL", 0.0)
        yield heard


def train(model: Path, output: Path) -> None:
    """A trainer that knows nothing of us."""
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    ids = list(range(8))
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=STEPS,
            logging_steps=1,
            per_device_train_batch_size=1,
            save_strategy="no",
            report_to="kubeflow",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=[{"input_ids": ids, "labels": ids}] * STEPS,
    ).train()


async def test_a_stock_trainer_tells_how_far_it_is(
    heard: Heard, tiny_model: Path, tmp_path: Path
) -> None:
    await asyncio.to_thread(train, tiny_model, tmp_path / "out")

    percents = [status.progress_percentage for status in heard.statuses]
    assert percents == [0, 33, 66, 99, 100]
    figures = {metric.name: metric.value for metric in heard.statuses[-2].metrics}
    assert (figures["current_step"], figures["total_steps"]) == ("3", "3")
    assert float(figures["loss"]) > 0
    assert heard.statuses[-2].estimated_remaining_seconds == 0
