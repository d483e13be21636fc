"""Data first: what cannot be used ends the job before anything else starts, with its line."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

from deploy.install import HUB_HOST, RELEASE, SYSTEM
from finetune_api import constants as c
from support.builders_api import Manifest
from support.e2e import SOON, TRAINED, Space
from support.e2e_objects import claim, config_map, hosted, queued, script_pod, short_rows, tiny
from support.e2e_status import assert_failed, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

WRONG_ROLE = '{"messages": [{"role": "robot", "content": "a"}]}\n'
LINES = short_rows(40).splitlines(keepends=True)
ROW_37_BROKEN = "".join([*LINES[:36], '{"messages": [\n', *LINES[37:]])


@dataclass(frozen=True, kw_only=True)
class Row:
    """A file, and what status says of it."""

    content: str
    want_sentence: str
    want_reason: str = "DataInvalid"
    sha256: str | None = None


BAD = [
    pytest.param(
        Row(content="hello\n", want_sentence="line 1: the line is not JSON .*correct it"),
        id="not JSON",
    ),
    pytest.param(
        Row(content=WRONG_ROLE, want_sentence="`role` must be system, user, assistant or tool"),
        id="wrong role",
    ),
    pytest.param(Row(content="", want_sentence="empty|no rows|no examples"), id="empty file"),
    pytest.param(
        Row(content=ROW_37_BROKEN, want_sentence="1 row cannot be used; line 37: "),
        id="row 37 broken",
    ),
    pytest.param(
        Row(
            content=short_rows(),
            sha256="0" * 64,
            want_reason="DataChanged",
            want_sentence="restore the file or change `sha256`",
        ),
        id="another digest than expected",
    ),
]


@pytest.mark.parametrize(
    "make", [pytest.param(queued, id="cluster"), pytest.param(hosted, id="hosted")]
)
@pytest.mark.parametrize("row", BAD)
def test_bad_data_fails_before_anything_else_starts(space: Space, row: Row, make: Any) -> None:
    space.create(config_map("bad", train_jsonl=row.content))
    training = {"configMap": {"name": "bad", "key": "train.jsonl"}}
    if row.sha256:
        training["sha256"] = row.sha256
    run = space.run(make(**{"data.training": training}))
    status = run.until_phase("Failed")
    assert_failed(status, row.want_reason, row.want_sentence)
    assert "ConfigMap bad/train.jsonl" in status["message"]
    assert condition(status, "DataValid")["status"] == "False"
    assert "startedGeneration" not in status
    assert [child["metadata"]["labels"][c.LABEL_COMPONENT] for child in run.children()] == [
        c.COMPONENT_PREPARE
    ]
    assert "azureOpenAI" not in status
    assert space.objects("PersistentVolumeClaim") == []


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"https://{RELEASE}-progress.{SYSTEM}.svc/x", id="service"),
        pytest.param("https://169.254.169.254/metadata", id="link-local"),
        pytest.param("https://127.0.0.1/x", id="loopback"),
        pytest.param("https://10.96.0.1/x", id="the API server"),
    ],
)
def test_https_data_is_no_way_into_the_cluster(space: Space, url: str) -> None:
    run = space.run(queued(**{"data.training": {"uri": url}}))
    status = run.until_phase("Failed")
    assert_failed(status, "DataUnavailable", "inside the cluster or otherwise not public")
    assert run.children(c.COMPONENT_TRAINER) == []


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place that data comes from."""

    training: dict[str, Any]
    want_examples: int


SOURCES = [
    pytest.param(
        Source(training={"uri": "pvc://files/some/train.jsonl"}, want_examples=24), id="PVC"
    ),
    pytest.param(
        Source(
            training={"uri": "hf://datasets/finetune/gsm8k-sft/validation.jsonl"}, want_examples=50
        ),
        id="hub",
    ),
]
WRITE = """
import os, pathlib
folder = pathlib.Path("/files/some"); folder.mkdir()
(folder / "train.jsonl").write_text(os.environ["ROWS"])
"""


def writer(image: str) -> Manifest:
    volumes = {"/files": {"persistentVolumeClaim": {"claimName": "files"}}}
    return script_pod("writer", image, WRITE, volumes=volumes, ROWS=short_rows())


@pytest.mark.parametrize("source", SOURCES)
def test_data_from_elsewhere(space: Space, source: Source) -> None:
    space.create(claim("files"))
    space.finished_pod(writer(space.site.operator_image), within=2 * SOON)
    run = space.run(queued(**{"data.training": source.training}))
    status = run.until_phase("Queued", within=2 * SOON)
    assert condition(status, "DataValid")["status"] == "True"
    assert status["data"]["training"]["examples"] == source.want_examples
    assert status["data"]["training"]["tokens"] > 0


def test_https_data_behind_a_private_authority(space: Space, training: None) -> None:
    """The chart's fetch.caBundle knows the authority, fetch.allowedRanges the hub's address."""
    url = f"https://{HUB_HOST}/datasets/finetune/gsm8k-sft/resolve/main/validation.jsonl"
    run = space.run(tiny(**{"data.training": {"uri": url}}))
    status = run.until_phase("Succeeded", within=TRAINED)
    assert status["data"]["training"]["examples"] == 50


def test_the_digest_of_a_config_map_is_told_and_can_be_demanded(space: Space) -> None:
    digest = sha256(short_rows().encode()).hexdigest()
    run = space.run(queued(**{"data.training.sha256": digest}))
    status = run.until_phase("Queued")
    assert status["data"]["training"]["sha256"] == digest
    assert condition(status, "DataValid")["message"] == "24 training rows are in order"


def test_a_model_that_the_hub_does_not_have(space: Space) -> None:
    run = space.run(queued(**{"model.uri": "hf://nobody/nothing"}))
    status = run.until_phase("Failed", within=2 * SOON)
    assert_failed(status, "ModelUnavailable", "nobody/nothing does not exist or is private; check")
    assert condition(status, "DataValid")["status"] == "Unknown"
    assert run.children(c.COMPONENT_TRAINER) == []
