"""The prepare program as a process: exit code, termination message and log of each ending."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_api.constants import TERMINATION_LIMIT_BYTES
from finetune_api.pods import (
    DataFile,
    FileSource,
    HttpsSource,
    HubSource,
    PrepareConfig,
    UploadTarget,
)
from finetune_api.reasons import ExitCode, Reason
from finetune_data.lines import sha256_of
from support.certificates import make_server_certificate
from support.chat_rows import assistant, numbered_rows, row, user, write_jsonl
from support.emulator import API_KEY, Emulator
from support.hub import Hub
from support.prepare import config_of, file_of, finish, run_prepare, start
from support.tiny_tokenizer import make_tokenizer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    make_tokenizer(root / "models" / "org" / "tiny")
    (make_tokenizer(root / "models" / "org" / "base") / "chat_template.jinja").unlink()
    make_tokenizer(root / "models" / "org" / "gated")
    write_jsonl(root / "datasets" / "org" / "sums" / "train.jsonl", numbered_rows(60))
    with Hub(root, ["--gated=org/gated"]) as server:
        yield server


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("azure"), speed=600) as emulator:
        yield emulator


def model(name: str) -> HubSource:
    return HubSource(repo_id=f"org/{name}", repo_type="model")


def hosted(emulator: Emulator, tmp_path: Path, key: str = API_KEY) -> dict[str, str]:
    (tmp_path / "key").write_text(key)
    return {"API_KEY_FILE": str(tmp_path / "key"), "AZURE_CA_FILE": str(emulator.ca)}


def target(emulator: Emulator) -> UploadTarget:
    return UploadTarget(base_url=emulator.base_url, token_scope="https://ai.azure.com/.default")


def test_data_of_a_job_in_the_cluster(hub: Hub, tmp_path: Path) -> None:
    training = DataFile(
        source=HubSource(repo_id="org/sums", repo_type="dataset", path="train.jsonl"),
        display="hf://datasets/org/sums/train.jsonl",
    )
    validation = file_of(write_jsonl(tmp_path / "validation.jsonl", numbered_rows(5)))
    config = config_of(
        training, validation=validation, tokenizer=model("tiny"), max_sequence_length=38
    )

    ended = run_prepare(config, tmp_path, {"HF_ENDPOINT": hub.url})

    report = ended.report
    assert (ended.code, report.ok, report.reason) == (ExitCode.OK, True, None)
    assert report.training is not None
    assert report.validation is not None
    assert (report.training.examples, report.validation.examples) == (60, 5)
    assert report.validation.sha256 == sha256_of(tmp_path / "validation.jsonl")
    assert report.training.tokens is not None
    assert report.training.longest is not None
    assert report.training.longest < report.training.tokens < 60 * report.training.longest
    assert report.training.warnings == [
        "60 rows longer than 38 tokens are cut; "
        "to keep them whole, raise hyperparameters.maxSequenceLength in a new FineTuneJob"
    ]
    assert report.validation.warnings is not None
    assert "5 rows of the validation data" in report.validation.warnings[1]
    assert report.training_file_id is None
    assert {line["object"] for line in ended.lines} == {"team-a/gsm8k"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("prepare-")]


@pytest.mark.parametrize(
    ("trusted", "want_code", "want_message"),
    [
        pytest.param(True, ExitCode.OK, "None", id="trusted"),
        pytest.param(
            False, ExitCode.BAD_CONFIG, "certificate of the hub is not trusted", id="unknown"
        ),
    ],
)
def test_a_hub_with_a_certificate_of_its_own(
    trusted: bool, want_code: ExitCode, want_message: str, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "hub/datasets/org/sums/train.jsonl", numbered_rows(60))
    tls = make_server_certificate(tmp_path / "tls", "127.0.0.1")
    training = DataFile(
        source=HubSource(repo_id="org/sums", repo_type="dataset", path="train.jsonl"),
        display="hf://datasets/org/sums/train.jsonl",
    )
    with Hub(tmp_path / "hub", [f"--tls-cert={tls.certificate}", f"--tls-key={tls.key}"]) as hub:
        known = {"FETCH_CA_FILE": str(tls.ca)} if trusted else {}
        ended = run_prepare(config_of(training), tmp_path, {"HF_ENDPOINT": hub.url, **known})

    assert ended.code == want_code
    assert want_message in str(ended.report.message)


def test_data_of_a_hosted_job(emulator: Emulator, tmp_path: Path) -> None:
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60))),
        min_examples=10,
        upload=target(emulator),
    )

    ended = run_prepare(config, tmp_path, hosted(emulator, tmp_path))

    assert ended.code == ExitCode.OK
    (stored,) = [file for file in emulator.files() if file["id"] == ended.report.training_file_id]
    assert stored["filename"] == f"{sha256_of(tmp_path / 'train.jsonl')[:32]}-train.jsonl"
    assert API_KEY not in ended.log


def rows_with(line: int, broken: Any, count: int = 50) -> list[Any]:
    rows: list[Any] = numbered_rows(count)
    rows[line - 1] = broken
    return rows


@pytest.mark.parametrize(
    ("rows", "want_lines", "want_words"),
    [
        pytest.param(rows_with(37, '{"messages": ['), [37],
                     "1 row cannot be used; line 37: the line is not JSON", id="row 37 is broken"),
        pytest.param(["name,age", "Ada,36"], [1, 2], "2 rows cannot be used (lines 1, 2); line 1",
                     id="not JSON at all"),
        pytest.param(rows_with(3, row(user(), user("again"))), [3],
                     "line 3: the row has no assistant message", id="wrong roles"),
        pytest.param([], [1], "line 1: the file is empty", id="empty"),
        pytest.param(numbered_rows(1), [], "has 1 example; at least 10", id="one alone"),
        pytest.param(numbered_rows(9), [], "has 9 examples; at least 10 are needed", id="too few"),
    ],
)  # fmt: skip
def test_bad_data(tmp_path: Path, rows: list[Any], want_lines: list[int], want_words: str) -> None:
    config = config_of(file_of(write_jsonl(tmp_path / "train.jsonl", rows)), min_examples=10)

    ended = run_prepare(config, tmp_path)

    report = ended.report
    assert (ended.code, report.reason) == (ExitCode.BAD_DATA, Reason.DATA_INVALID)
    assert [bad.line for bad in report.bad_rows] == want_lines
    assert report.message is not None
    assert report.message.startswith("Training data (ConfigMap data/train.jsonl)")
    assert want_words in report.message
    assert not report.transient
    assert "Traceback" not in ended.log


def test_bad_validation_data_is_told_apart(tmp_path: Path) -> None:
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60))),
        validation=file_of(write_jsonl(tmp_path / "validation.jsonl", ["x"])),
    )

    ended = run_prepare(config, tmp_path)

    assert ended.code == ExitCode.BAD_DATA
    assert str(ended.report.message).startswith("Validation data (ConfigMap data/validation.jsonl)")


def test_other_content_than_expected(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", numbered_rows(60))

    ended = run_prepare(config_of(file_of(path, sha256="0" * 64)), tmp_path)

    assert (ended.code, ended.report.reason) == (ExitCode.BAD_DATA, Reason.DATA_CHANGED)
    assert sha256_of(path) in str(ended.report.message)


def test_a_service_that_cannot_use_the_file(emulator: Emulator, tmp_path: Path) -> None:
    """The service wants ten rows; here nobody counted them before."""
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(3))), upload=target(emulator)
    )

    ended = run_prepare(config, tmp_path, hosted(emulator, tmp_path))

    assert (ended.code, ended.report.reason) == (ExitCode.BAD_DATA, Reason.DATA_INVALID)
    assert "the service cannot use the file: " in str(ended.report.message)
    assert "at least 10 are required" in str(ended.report.message)


def missing_file(tmp_path: Path) -> PrepareConfig:
    return config_of(file_of(tmp_path / "none.jsonl"))


def a_folder(tmp_path: Path) -> PrepareConfig:
    return config_of(file_of(tmp_path))


def inside_the_cluster(_: Path) -> PrepareConfig:
    source = HttpsSource(url="https://10.96.0.1/secret?sig=pineapple")
    return config_of(DataFile(source=source, display="https://10.96.0.1/secret"))


def gated_model(tmp_path: Path) -> PrepareConfig:
    good = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60)))
    return config_of(good, tokenizer=model("gated"))


def base_model(tmp_path: Path) -> PrepareConfig:
    good = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60)))
    return config_of(good, tokenizer=model("base"))


def rows_longer_than_the_model_reads(tmp_path: Path) -> PrepareConfig:
    """Said before a row is looked at: the data is not even there."""
    folder = make_tokenizer(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    tokenizer = FileSource(path=str(folder))
    none = file_of(tmp_path / "none.jsonl")
    return config_of(none, tokenizer=tokenizer, max_sequence_length=513)


def model_on_a_volume(tmp_path: Path) -> PrepareConfig:
    good = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60)))
    return config_of(good, tokenizer=FileSource(path=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("config", "want_reason", "want_words"),
    [
        pytest.param(missing_file, Reason.DATA_UNAVAILABLE, "does not exist", id="no such file"),
        pytest.param(a_folder, Reason.DATA_UNAVAILABLE, "is a folder", id="a folder"),
        pytest.param(inside_the_cluster, Reason.DATA_UNAVAILABLE, "inside the cluster",
                     id="an address inside the cluster"),
        pytest.param(gated_model, Reason.MODEL_UNAVAILABLE, "is gated", id="a gated model"),
        pytest.param(base_model, Reason.MODEL_UNAVAILABLE, "has no chat template", id="base model"),
        pytest.param(rows_longer_than_the_model_reads, Reason.CONFIG_INVALID,
                     "maxSequenceLength is 513, but the model reads at most 512 tokens: lower it",
                     id="rows longer than the model reads"),
        pytest.param(model_on_a_volume, Reason.MODEL_UNAVAILABLE, "does not exist",
                     id="no model on the volume"),
    ],
)  # fmt: skip
def test_a_setting_that_the_user_must_change(
    hub: Hub, tmp_path: Path, config: Any, want_reason: Reason, want_words: str
) -> None:
    ended = run_prepare(config(tmp_path), tmp_path, {"HF_ENDPOINT": hub.url})

    assert (ended.code, ended.report.reason) == (ExitCode.BAD_CONFIG, want_reason)
    assert want_words in str(ended.report.message)
    assert not ended.report.transient
    assert "pineapple" not in ended.log + str(ended.report.message)


def test_a_wrong_key(emulator: Emulator, tmp_path: Path) -> None:
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(60))), upload=target(emulator)
    )

    ended = run_prepare(config, tmp_path, hosted(emulator, tmp_path, key="not-this-one"))

    assert (ended.code, ended.report.reason) == (ExitCode.BAD_CONFIG, Reason.AUTHENTICATION_FAILED)
    assert "Put a valid key of this account into the Secret" in str(ended.report.message)
    assert "not-this-one" not in ended.log + str(ended.report.message)


def test_a_hub_that_is_down(tmp_path: Path) -> None:
    config = gated_model(tmp_path)

    ended = run_prepare(config, tmp_path, {"HF_ENDPOINT": "http://127.0.0.1:1"})

    assert (ended.code, ended.report.reason) == (ExitCode.UNAVAILABLE, Reason.MODEL_UNAVAILABLE)
    assert ended.report.transient


@pytest.mark.parametrize("config", ["", '{"training": 1}'], ids=["empty", "of another form"])
def test_a_config_that_the_operator_should_not_have_written(tmp_path: Path, config: str) -> None:
    ended = run_prepare(config, tmp_path)

    assert (ended.code, ended.report.reason) == (ExitCode.INTERNAL, Reason.PREPARE_FAILED)
    assert "see its log" in str(ended.report.message)
    assert "Traceback" not in str(ended.report.message)
    assert any("trace" in line for line in ended.lines)


def test_a_pod_that_is_stopped_while_it_uploads(emulator: Emulator, tmp_path: Path) -> None:
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(61))), upload=target(emulator)
    )
    emulator.hold("POST", "/files$", moment="before", name="upload")
    process = start(config, tmp_path, hosted(emulator, tmp_path))
    emulator.wait_until_held("upload")

    process.send_signal(signal.SIGTERM)
    told = time.monotonic()
    ended = finish(process, tmp_path, timeout=10)

    assert time.monotonic() - told < 2
    assert (ended.code, ended.report.transient) == (ExitCode.PREEMPTED, True)
    emulator.release("upload", drop=True)
    # Its successor finds nothing and uploads; nothing of the first attempt counts.
    assert run_prepare(config, tmp_path, hosted(emulator, tmp_path)).code == ExitCode.OK
    digest = sha256_of(tmp_path / "train.jsonl")[:32]
    assert len([f for f in emulator.files() if f["filename"].startswith(digest)]) == 1


def test_the_last_words_fit_whatever_they_say(tmp_path: Path) -> None:
    rows = [row(user(f"ä{i}"), assistant("\x00")) for i in range(40)]
    name = "ä" * 120 + ".jsonl"

    ended = run_prepare(config_of(file_of(write_jsonl(tmp_path / name, rows))), tmp_path)

    assert len(ended.words) <= TERMINATION_LIMIT_BYTES
    assert ended.report.bad_rows[0].line == 1
    assert "40 rows cannot be used" in str(ended.report.message)
    assert json.loads(ended.words)["reason"] == Reason.DATA_INVALID


@pytest.mark.parametrize("module", ["finetune_operator.prepare.__main__",
                                    "finetune_operator.prepare.upload"])  # fmt: skip
def test_the_program_loads_neither_a_cluster_client_nor_torch(module: str) -> None:
    forbidden = {"kopf", "kubernetes", "torch", "transformers", "trl", "datasets", "peft"}
    code = f"import sys, {module}; print(*sorted({forbidden!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
