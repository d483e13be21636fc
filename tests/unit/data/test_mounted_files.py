"""Files on volumes: links are followed, but never out of the volume."""

from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import FileSource
from finetune_data.problems import SourceError
from finetune_data.sources import (
    fetch,
    fetch_model,
    fetch_tokenizer,
    mount_of,
    resolve_inside,
)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as the kubelet makes it of a ConfigMap, with a secret beside it."""
    (tmp_path / "secret").write_text("key")
    volume = tmp_path / "volume"
    (volume / "..2026").mkdir(parents=True)
    (volume / "..2026" / "train.jsonl").write_text("{}")
    (volume / "..data").symlink_to("..2026")
    (volume / "train.jsonl").symlink_to("..data/train.jsonl")
    (volume / "up.jsonl").symlink_to("../secret")
    (volume / "absolute.jsonl").symlink_to(tmp_path / "secret")
    (volume / "loop.jsonl").symlink_to("loop.jsonl")
    (volume / "dangling.jsonl").symlink_to("gone.jsonl")
    return volume


def test_a_link_within_the_volume_is_followed(volume: Path) -> None:
    assert resolve_inside(volume / "train.jsonl", volume).read_text() == "{}"


@pytest.mark.parametrize(
    ("name", "want"),
    [
        pytest.param("up.jsonl", "leads out of its volume", id="a link upwards"),
        pytest.param("absolute.jsonl", "leads out of its volume", id="an absolute link"),
        pytest.param("../secret", "leads out of its volume", id="a path upwards"),
        pytest.param("gone.jsonl", "does not exist", id="no such file"),
        pytest.param("dangling.jsonl", "does not exist", id="a link to nothing"),
        pytest.param("train.jsonl/x", "cannot be followed", id="a file taken for a folder"),
        pytest.param("loop.jsonl", "cannot be followed", id="a link to itself"),
    ],
)
def test_a_path_is_refused(volume: Path, name: str, want: str) -> None:
    with pytest.raises(SourceError, match=want) as caught:
        resolve_inside(volume / name, volume)

    assert not caught.value.transient
    assert str(volume.parent) not in str(caught.value)


def test_a_path_that_leads_upwards_is_refused_before_anything_is_opened(volume: Path) -> None:
    with pytest.raises(SourceError, match="leads upwards"):
        fetch(FileSource(path=f"{volume}/../../etc/passwd"), Path("/nowhere"))


@pytest.mark.parametrize("fetched", [fetch_model, fetch_tokenizer])
def test_an_adapter_is_no_model(fetched: Any, tmp_path: Path) -> None:
    """The libraries would load its base and train that, without a word."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SourceError, match="an adapter, not a whole model"):
        fetched(FileSource(path=str(tmp_path)), Path("/nowhere"))


def test_a_device_is_no_file() -> None:
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        fetch(FileSource(path="/dev/null"), Path("/nowhere"))


def test_a_mounted_file_is_used_where_it_is(volume: Path) -> None:
    source = FileSource(path=str(volume / "train.jsonl"))

    assert fetch(source, volume / "never") == (volume / "..2026" / "train.jsonl").resolve()
    assert not (volume / "never").exists()


def test_the_mount_is_the_nearest_one() -> None:
    assert mount_of(Path("/proc/self/status")) == Path("/proc")
