"""Rows that are left out as they cannot be used: the same by every pod, told, and never most."""

from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import FileSource, Split, TrainerConfig, UploadTarget
from finetune_data.chat import read_chat_rows
from finetune_data.lines import sha256_of
from finetune_operator.prepare.data import CheckedData, prepare_data
from finetune_operator.prepare.failure import Failure
from finetune_trainer import data as trainer
from support.chat_rows import assistant, numbered_rows, row, system, user, write_jsonl
from support.prepare import config_of, file_of
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

UPLOAD = UploadTarget(base_url="https://x.test/openai/v1/", token_scope="s")
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
)


def spoilt(count: int, *bad: int) -> list[Any]:
    """Rows of which those at the given lines cannot be used."""
    rows: list[Any] = numbered_rows(count)
    for line in bad:
        rows[line - 1] = row(user())
    return rows


def prepared(folder: Path, path: Path, **more: Any) -> CheckedData:
    return prepare_data(config_of(file_of(path), **{"drop_invalid": True, **more}), folder)


def test_rows_are_left_out_and_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", spoilt(100, *range(3, 37, 3)))

    report = prepared(tmp_path, path).training_report()

    assert (report.examples, report.dropped) == (88, 12)
    assert (report.warnings or [])[0] == (
        "left out: 12 rows cannot be used (lines 3, 6, 9, 12, 15, 18, 21, 24, 27, 30 and 2 more);"
        " line 3: the row has no assistant message; add one"
    )


@pytest.mark.parametrize("split", [None, Split(percent=10)], ids=["whole", "split"])
@pytest.mark.parametrize(
    ("rows", "more", "want"),
    [
        pytest.param(spoilt(100, 7), {"drop_invalid": False}, "1 row cannot be used; line 7: ",
                     id="the default is to fail"),
        pytest.param(spoilt(20, *range(1, 12)), {},
                     "more than half, too many to leave out: 11 rows cannot be used (lines 1, 2, ",
                     id="more than half"),
        pytest.param([""], {}, "too many to leave out: 1 row cannot be used; line 1: the file is",
                     id="an empty file"),
        pytest.param(spoilt(14, *range(1, 6)), {"min_examples": 10}, "; at least 10 are needed",
                     id="too few are left"),
    ],
)  # fmt: skip
def test_the_job_fails_nevertheless(
    tmp_path: Path, split: Split | None, rows: list[Any], more: dict[str, Any], want: str
) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", rows)

    with pytest.raises(Failure) as caught:
        prepared(tmp_path, path, split=split, **more)

    assert want in caught.value.message


def test_half_of_the_rows_may_be_left_out(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", spoilt(20, *range(1, 11)))

    assert prepared(tmp_path, path).training.check.examples == 10


@pytest.mark.parametrize("split", [None, Split(percent=10)], ids=["whole", "split"])
def test_only_rows_that_are_kept_are_uploaded(tmp_path: Path, split: Split | None) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", spoilt(100, 3, 50))

    data = prepared(tmp_path, path, upload=UPLOAD, split=split)

    parts = [part for part in (data.training, data.validation) if part]
    assert sum(len(read_chat_rows(part.path)) for part in parts) == 98
    for part in parts:
        assert part.check.sha256 == sha256_of(part.path)
        assert part.check.size == part.path.stat().st_size


def test_a_file_in_order_is_uploaded_as_it_is(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", numbered_rows(20))

    data = prepared(tmp_path, path, upload=UPLOAD)

    assert data.training.path.samefile(path)
    assert data.training_report().dropped is None


@pytest.mark.parametrize("split", [None, Split(percent=10)], ids=["whole", "split"])
def test_the_trainer_leaves_out_the_same_rows(tmp_path: Path, split: Split | None) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", spoilt(100, 3, 50))
    checked = prepared(tmp_path, path, split=split)
    config = TrainerConfig.model_validate(
        {
            "job": "a/b", "attempt": 1, "model": {"kind": "file", "path": "/m"},
            "model_display": "m", "training": file_of(path), "split": split,
            "drop_invalid": True, "output_dir": "/o",
        }
    )  # fmt: skip

    rows = trainer.load(config, tmp_path / "scratch")

    assert len(rows["training"].rows) == checked.training.check.examples
    assert ("validation" in rows) == (split is not None)
    if checked.validation:
        assert len(rows["validation"].rows) == checked.validation.check.examples


def test_what_the_template_refuses_is_left_out_too(tmp_path: Path) -> None:
    rows = [*numbered_rows(20), row(system(), user(), assistant())]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    folder = make_tokenizer(tmp_path / "model", NO_SYSTEM + CHAT_TEMPLATE)

    check = prepared(tmp_path, path, tokenizer=FileSource(path=str(folder))).training.check

    assert (check.examples, [bad.line for bad in check.dropped_rows]) == (20, [21])


def test_a_row_that_is_only_too_long_is_not_left_out(tmp_path: Path) -> None:
    long = row(user("x" * 2000), assistant())
    path = write_jsonl(tmp_path / "train.jsonl", [*numbered_rows(20), long])
    folder = make_tokenizer(tmp_path / "model", CHAT_TEMPLATE)

    with pytest.raises(Failure) as caught:
        prepared(tmp_path, path, tokenizer=FileSource(path=str(folder)))

    assert "1 row cannot be used; line 21: no answer is left" in caught.value.message
