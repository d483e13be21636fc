"""The real hub client against the hub server: what comes, what does not, what is said."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from finetune_api.pods import HubSource
from finetune_data import sources
from finetune_data.problems import SourceError
from finetune_data.sources import fetch, fetch_model, fetch_tokenizer
from support.chat_rows import numbered_rows, write_jsonl
from support.hub import Hub
from support.tiny_tokenizer import make_tokenizer

pytestmark = pytest.mark.integration

MEMBER, VISITOR = "member-token", "visitor-token"
MODEL_FILES = {
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
}
TOKENIZER_FILES = {
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    "config.json",
}
LEFT_OUT = {
    "README.md",
    "modeling_tiny.py",
    "pytorch_model.bin",
    "flax_model.msgpack",
    "onnx/model.onnx",
    "original/model.safetensors",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    for name in ("tiny", "gated"):
        folder = make_tokenizer(root / "models" / "org" / name)
        for file in MODEL_FILES | LEFT_OUT:
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(file.encode() * 100)
    for name in ("sums", "gated"):
        write_jsonl(root / "datasets" / "org" / name / "data" / "train.jsonl", numbered_rows(60))
    return root


@pytest.fixture(scope="module")
def hub(root: Path) -> Iterator[Hub]:
    options = ["--gated=org/gated", f"--token={MEMBER}", f"--visitor-token={VISITOR}"]
    with Hub(root, options) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def model(name: str = "tiny", revision: str = "main") -> HubSource:
    return HubSource(repo_id=f"org/{name}", repo_type="model", revision=revision)


def data(
    path: str = "data/train.jsonl", repo: str = "org/sums", revision: str = "main"
) -> HubSource:
    return HubSource(repo_id=repo, repo_type="dataset", path=path, revision=revision)


def visible(folder: Path) -> set[str]:
    """What was downloaded, without the client's own notes."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith(".cache/")}


def test_a_model_comes_without_code_and_pickles(root: Path, tmp_path: Path) -> None:
    folder = fetch_model(model(), tmp_path / "model")

    assert visible(folder) == MODEL_FILES | TOKENIZER_FILES
    for name in MODEL_FILES:
        assert (folder / name).read_bytes() == (root / "models/org/tiny" / name).read_bytes()


def test_of_a_tokenizer_no_weights_come(tmp_path: Path) -> None:
    assert visible(fetch_tokenizer(model(), tmp_path / "tokenizer")) == TOKENIZER_FILES


def test_a_data_file_comes_alone(root: Path, tmp_path: Path) -> None:
    file = fetch(data(), tmp_path / "training")

    assert file == tmp_path / "training" / "data" / "train.jsonl"
    assert file.read_bytes() == (root / "datasets/org/sums/data/train.jsonl").read_bytes()


def test_a_data_file_that_is_too_large_is_not_downloaded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (root / "datasets/org/sums/data/train.jsonl").stat().st_size
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", size)
    fetch(data(), tmp_path / "just")
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", size - 1)

    with pytest.raises(SourceError, match="the file at dataset org/sums is larger than") as caught:
        fetch(data(), tmp_path / "out")

    assert not caught.value.transient
    assert not (tmp_path / "out").exists()


def test_a_revision_may_be_a_commit(hub: Hub, tmp_path: Path) -> None:
    commit = httpx2.get(f"{hub.url}/api/models/org/tiny").json()["sha"]

    assert visible(fetch_model(model(revision=commit), tmp_path / "model")) >= MODEL_FILES


def test_a_token_opens_what_is_gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", MEMBER)

    assert visible(fetch_model(model("gated"), tmp_path / "model")) >= MODEL_FILES
    assert fetch(data(repo="org/gated"), tmp_path / "data").is_file()


@pytest.mark.parametrize(
    ("source", "token", "want"),
    [
        pytest.param(model("none"), None, "model org/none does not exist or is private; check the "
                     "name; `secretRef` can name a Secret", id="no such model, to a stranger"),
        pytest.param(model("none"), MEMBER, "model org/none does not exist or is private; check "
                     "the name; check that HF_TOKEN", id="no such model, to a member"),
        pytest.param(model(revision="v9"), None, "model org/tiny has no revision v9",
                     id="no such revision of a model"),
        pytest.param(model("gated"), None, "model org/gated is gated; accept its terms on the hub; "
                     "`secretRef`", id="gated, to a stranger"),
        pytest.param(model("gated"), VISITOR, "model org/gated is gated; accept its terms on the "
                     "hub; check that HF_TOKEN", id="gated, to somebody else"),
        pytest.param(model(), "expired", "the hub refused access to model org/tiny (401); check "
                     "that HF_TOKEN", id="a token that nobody issued"),
        pytest.param(data(repo="org/gated"), None, "dataset org/gated is gated; accept its terms "
                     "on the hub; `secretRef`", id="gated data, to a stranger"),
        pytest.param(data("data/none.jsonl"), None,
                     "dataset org/sums has no file data/none.jsonl at main", id="no such file"),
        pytest.param(data(revision="v9"), None, "dataset org/sums has no revision v9",
                     id="no such revision of data"),
        pytest.param(data(repo="org/none"), None, "dataset org/none does not exist",
                     id="no such data set"),
        pytest.param(data(repo="a/b/c"), None, "hf://a/b/c is no name of a repository",
                     id="no name of a repository"),
    ],
)  # fmt: skip
def test_the_hub_refuses(
    source: HubSource,
    token: str | None,
    want: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)

    with pytest.raises(SourceError) as caught:
        (fetch if source.path else fetch_model)(source, tmp_path / "out")

    assert str(caught.value).startswith(want)
    assert "http" not in str(caught.value)
    assert token is None or token not in str(caught.value)
    assert not caught.value.transient


def test_a_hub_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    with pytest.raises(SourceError, match=r"could not be reached for model org/tiny") as caught:
        fetch_tokenizer(model(), tmp_path / "out")

    assert caught.value.transient


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub) -> None:
    """The client asks for the rest of a file; the server must send just that."""
    path = f"{hub.url}/org/tiny/resolve/main/config.json"
    whole = httpx2.get(path).content

    part = httpx2.get(path, headers={"Range": "bytes=100-"})

    assert (part.status_code, part.content) == (206, whole[100:])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/org/tiny/resolve/main/../gated/config.json", id="another repository"),
        pytest.param("/org/tiny/resolve/main/%2e%2e/%2e%2e/%2e%2e/secret", id="out of the root"),
        pytest.param("/../models/resolve/main/org/gated/config.json", id="a folder as a name"),
    ],
)
def test_the_server_serves_nothing_beside_its_repositories(hub: Hub, path: str) -> None:
    assert httpx2.get(hub.url + path).status_code in (401, 404)
