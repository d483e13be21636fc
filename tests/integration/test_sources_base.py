"""The model that a training begins with is the same for every attempt, from a hub or a volume."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from finetune_api.pods import HubSource, TrainerConfig
from finetune_api.status import Resolved
from finetune_trainer.data import VERSION, Base, base_model
from finetune_trainer.errors import TrainerError
from support import training
from support.hub import Hub
from support.tiny_tokenizer import make_tokenizer

pytestmark = pytest.mark.integration

HUB: dict[str, Any] = {"kind": "hub", "repoId": "org/tiny", "repoType": "model"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = make_tokenizer(tmp_path / "hub" / "models" / "org" / "tiny")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"one" * 1000)
    return folder


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


def begin(tmp_path: Path, source: Any, before: Mapping[str, Resolved] | None = None) -> Base:
    """What an attempt in a new pod begins with."""
    scratch = tmp_path / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    task = training.config(tmp_path, tmp_path / "unused", model=source)
    return base_model(TrainerConfig.model_validate(task), scratch, before or {})


def test_a_branch_of_a_hub_is_the_commit_that_it_names(hub: Hub, tmp_path: Path) -> None:
    commit = httpx2.get(f"{hub.url}/api/models/org/tiny").json()["sha"]

    first = begin(tmp_path, HUB)
    again = begin(tmp_path, HUB, {VERSION: first.version})

    assert first.version == Resolved(value=commit, reason="main of the hub when training began")
    assert again.source == first.source == HubSource.model_validate({**HUB, "revision": commit})
    assert (first.folder / "model.safetensors").is_file()


def test_a_branch_that_moved_is_not_followed(hub: Hub, model: Path, tmp_path: Path) -> None:
    """The tests' hub keeps the newest commit alone: the other is missing, and not replaced."""
    first = begin(tmp_path, HUB)
    (model / "model.safetensors").write_bytes(b"two" * 1001)

    with pytest.raises(TrainerError, match=f"has no revision {first.version.value}") as refusal:
        begin(tmp_path, HUB, {VERSION: first.version})

    assert (refusal.value.code, refusal.value.reason) == (78, "ModelUnavailable")
    assert begin(tmp_path, HUB).version != first.version


@pytest.mark.parametrize(
    ("name", "content", "refused"),
    [
        pytest.param("model.safetensors", b"one" * 1000, False, id="the same"),
        pytest.param("model.safetensors", b"two" * 1000, True, id="as large, of other content"),
        pytest.param("model.safetensors", b"one" * 1001, True, id="of another size"),
        pytest.param("model-2.safetensors", b"one" * 1000, True, id="one file more"),
        pytest.param("README.md", b"more", False, id="no weights"),
    ],
)
def test_weights_on_a_volume_must_be_those_that_training_began_with(
    model: Path, tmp_path: Path, name: str, content: bytes, refused: bool
) -> None:
    volume = {"kind": "file", "path": str(model)}
    first = begin(tmp_path, volume)
    (model / name).write_bytes(content)

    if not refused:
        assert begin(tmp_path, volume, {VERSION: first.version}) == first
        return
    with pytest.raises(TrainerError, match="holds other weights than when this training") as found:
        begin(tmp_path, volume, {VERSION: first.version})
    assert found.value.code == 78
