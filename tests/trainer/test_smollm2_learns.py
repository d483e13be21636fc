"""A real model learns something real: SmolLM2-135M, through the supervisor, as in a pod."""

from pathlib import Path

import pytest

import smollm2
from support.chat_rows import assistant, row, user, write_jsonl
from support.training import config, data_file, events, losses, run_pod

pytestmark = pytest.mark.torch


def test_smollm2_learns_a_format(tmp_path: Path) -> None:
    rows = [row(user(f"{n} + 2"), assistant(f"<<{n}+2={n + 2}>> {n + 2}!")) for n in range(24)]
    held_out = write_jsonl(tmp_path / "held-out.jsonl", rows[20:])
    task = config(
        tmp_path,
        smollm2.ensure(smollm2.default_directory()),
        epochs=None,
        maxSteps=6,
        batchSize=4,
        learningRate=1e-3,
        training=data_file(write_jsonl(tmp_path / "rows.jsonl", rows[:20])),
        validation=data_file(held_out),
    )

    ended = run_pod(task, tmp_path)

    assert ended.code == 0, ended.errors
    before, after = (line["loss"] for line in events(ended.log, "validation"))
    assert after < before / 2
    assert losses(ended.log)[6] < losses(ended.log)[1]
    assert ended.report["resolved"]["attention"]["value"] == "segments"
