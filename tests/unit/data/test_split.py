"""Validation rows taken from the training data: which, how many, and by everybody the same."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import Split, TrainerConfig, UploadTarget
from finetune_data.chat import ChatRow, parse_chat, read_chat_rows
from finetune_data.split import split_rows
from finetune_operator.prepare.data import CheckedData, prepare_data
from finetune_operator.prepare.failure import Failure
from finetune_trainer import data as trainer
from support.chat_rows import assistant, image, numbered_rows, row, text, user, write_jsonl
from support.prepare import config_of, file_of

UPLOAD = UploadTarget(base_url="https://x.test/openai/v1/", token_scope="s")


def parsed(rows: list[Any]) -> list[ChatRow]:
    return [parse_chat(each, line) for line, each in enumerate(rows, start=1)]


def questions(rows: list[ChatRow]) -> list[str]:
    return [each.messages[-2]["content"] for each in rows]


@pytest.mark.parametrize(
    ("rows", "split", "want"),
    [
        pytest.param(100, Split(percent=5), 5, id="five per cent"),
        pytest.param(449, Split(percent=10), 45, id="rounded"),
        pytest.param(1000, Split(percent=50), 500, id="half"),
        pytest.param(10, Split(percent=1), 1, id="one at least"),
        pytest.param(100, Split(percent=5, at_least=10), 10, id="the service's minimum"),
        pytest.param(4, Split(percent=1, at_least=10), 4, id="fewer than the minimum"),
    ],
)
def test_so_many_rows_are_held_out(rows: int, split: Split, want: int) -> None:
    training, validation = split_rows(parsed(numbered_rows(rows)), split)

    assert len(validation) == want
    assert len(training) == rows - want


def test_the_order_of_the_file_changes_nothing() -> None:
    rows = numbered_rows(200)
    shuffled = random.Random(1).sample(rows, len(rows))

    held_out = [split_rows(parsed(each), Split(percent=10))[1] for each in (rows, shuffled)]

    assert sorted(questions(held_out[0])) == sorted(questions(held_out[1]))


def test_another_seed_holds_out_other_rows() -> None:
    rows = parsed(numbered_rows(200))

    held_out = [set(questions(split_rows(rows, Split(percent=10, seed=s))[1])) for s in (1, 2)]

    assert len(held_out[0] & held_out[1]) < 10


def test_a_row_more_moves_few_of_the_others() -> None:
    rows = numbered_rows(201)

    before, after = (
        set(questions(split_rows(parsed(each), Split(percent=10))[1])) for each in (rows[1:], rows)
    )

    assert len(before ^ after) <= 2


def test_equal_rows_stay_together() -> None:
    rows = parsed(numbered_rows(100) * 3)

    training, validation = split_rows(rows, Split(percent=10))

    assert len(validation) == 30
    assert not set(questions(training)) & set(questions(validation))


def prepared(folder: Path, path: Path, split: Split, *, hosted: bool, **more: Any) -> CheckedData:
    folder.mkdir()
    return prepare_data(
        config_of(file_of(path, **more), split=split, upload=UPLOAD if hosted else None), folder
    )


def test_all_pods_split_alike(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [*numbered_rows(300), *numbered_rows(20)])
    split = Split(percent=10, seed=7)
    hosted = prepared(tmp_path / "hosted", path, split, hosted=True)
    checked = prepared(tmp_path / "cluster", path, split, hosted=False)
    config = TrainerConfig.model_validate(
        {
            "job": "a/b", "attempt": 1, "model": {"kind": "file", "path": "/m"},
            "model_display": "m", "training": file_of(path), "split": split, "output_dir": "/o",
        }
    )  # fmt: skip

    rows = trainer.load(config, tmp_path / "scratch")

    for name in ("training", "validation"):
        part = getattr(hosted, name)
        assert questions(read_chat_rows(part.path)) == questions(rows[name].rows)
        assert part.check.examples == getattr(checked, name).check.examples == len(rows[name].rows)
    assert len(rows["validation"].rows) == pytest.approx(32, abs=2)


def test_digests_are_those_of_what_is_used(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", numbered_rows(200))
    source = file_of(path)
    hosted, checked = (
        prepared(tmp_path / name, path, Split(percent=10), hosted=name == "hosted")
        for name in ("hosted", "cluster")
    )

    parts = [part for part in (hosted.training, hosted.validation) if part]
    assert [part.check.size for part in parts] == [part.path.stat().st_size for part in parts]
    assert len({part.check.sha256 for part in parts}) == 2
    whole = checked.training.check.sha256
    again = source.model_copy(update={"sha256": whole})
    assert checked.validation is not None
    assert checked.validation.check.sha256 == whole
    assert prepare_data(config_of(again, split=Split(percent=10)), tmp_path).validation


def test_what_is_uploaded_is_spelt_as_it_was(tmp_path: Path) -> None:
    lines = [
        json.dumps(row(user([text("?"), image(f"https://x.test/{i}")]), assistant("\u00e9")),
                   ensure_ascii=False)
        for i in range(40)
    ]  # fmt: skip
    path = write_jsonl(tmp_path / "train.jsonl", lines)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    hosted = prepared(tmp_path / "hosted", path, Split(percent=10), hosted=True)

    assert hosted.validation is not None
    written = [part.path.read_text().splitlines() for part in (hosted.training, hosted.validation)]
    assert sorted([*written[0], *written[1]]) == sorted(lines)
    assert hosted.validation.what == "Validation data (10% of ConfigMap data/train.jsonl)"


def test_lines_that_are_told_are_those_of_the_file(tmp_path: Path) -> None:
    rows: list[Any] = numbered_rows(40)
    rows[36] = "{"
    path = write_jsonl(tmp_path / "train.jsonl", rows)

    with pytest.raises(Failure) as caught:
        prepared(tmp_path / "hosted", path, Split(percent=10), hosted=True)

    assert "(ConfigMap data/train.jsonl): 1 row cannot be used; line 37: " in caught.value.message


def test_too_few_rows_are_left(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", numbered_rows(15))
    config = config_of(file_of(path), split=Split(percent=5, at_least=10), min_examples=10)

    with pytest.raises(Failure) as caught:
        prepare_data(config, tmp_path)

    assert caught.value.message == (
        "Training data (ConfigMap data/train.jsonl) has 5 examples, without 10 that are held out"
        " for validation; at least 10 are needed, and fifty or more are sensible"
    )
