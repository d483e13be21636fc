"""What the prepare program counts of rows: up to where training cuts, as on the job's own day."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_api.pods import FileSource
from finetune_api.reasons import ExitCode
from support.chat_rows import assistant, numbered_rows, row, user, write_jsonl
from support.prepare import config_of, file_of, run_prepare
from support.tiny_tokenizer import CHAT_TEMPLATE, make_tokenizer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("settings", "asked", "question", "want"),
    [
        pytest.param(None, None, 1100, "line 61: no answer is left within 1024", id="the default"),
        pytest.param(
            {"max_position_embeddings": 8192}, None, 1100, "within 1024", id="a model that reads on"
        ),
        pytest.param(
            {"max_position_embeddings": 512}, None, 600, "within 512", id="a model that reads less"
        ),
        pytest.param(
            {"text_config": {"max_position_embeddings": 512}}, None, 600, "within 512",
            id="a model that reads less, and pictures",
        ),
        pytest.param(
            {"max_position_embeddings": 8192}, 600, 700, "within 600", id="the spec asks for less"
        ),
        pytest.param(
            {"max_position_embeddings": 8192}, 2048, 1100, None, id="the spec asks for more"
        ),
    ],
)  # fmt: skip
def test_rows_are_checked_up_to_where_training_cuts(
    settings: dict[str, Any] | None,
    asked: int | None,
    question: int,
    want: str | None,
    tmp_path: Path,
) -> None:
    """The tokenizer makes a token of each letter."""
    folder = make_tokenizer(tmp_path / "model")
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings))
    rows = [*numbered_rows(60), row(user("x" * question), assistant("y"))]
    config = config_of(
        file_of(write_jsonl(tmp_path / "train.jsonl", rows)),
        tokenizer=FileSource(path=str(folder)),
        max_sequence_length=asked,
    )

    ended = run_prepare(config, tmp_path)

    assert ended.code == (ExitCode.OK if want is None else ExitCode.BAD_DATA)
    assert (want or "") in (ended.report.message or "")


@pytest.mark.parametrize(
    ("created", "want"),
    [
        pytest.param("2026-03-09T10:00:00Z", len("Monday"), id="a Monday"),
        pytest.param("2026-03-11T10:00:00Z", len("Wednesday"), id="a Wednesday"),
    ],
)
def test_a_template_that_shows_the_date_shows_the_jobs(
    created: str, want: int, tmp_path: Path
) -> None:
    """The tokenizer makes a token of each letter."""
    rows = write_jsonl(tmp_path / "train.jsonl", [row(user("a"), assistant("b"))])
    plain, dated = (
        run_prepare(
            config_of(
                file_of(rows),
                tokenizer=FileSource(path=str(make_tokenizer(tmp_path / name, template))),
                created=created,
            ),
            tmp_path,
        ).report.training
        for name, template in (
            ("plain", CHAT_TEMPLATE),
            ("dated", "{{ strftime_now('%A') }}" + CHAT_TEMPLATE),
        )
    )

    assert plain is not None
    assert dated is not None
    assert (dated.tokens or 0) - (plain.tokens or 0) == want
