"""Rows, graders and jobs of preference and reinforcement training at the hosted service.

Must not know of the operator.
"""

import json
from collections.abc import Iterable
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob

from support.azure_account import MODEL, upload

REASONING_MODEL = "o4-mini-2025-04-16"
EXACT: dict[str, Any] = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}


def jsonl(rows: Iterable[Any]) -> bytes:
    """One line for each row."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def preference_row(number: int) -> dict[str, Any]:
    """A question with a good and a bad answer."""
    return {
        "input": {"messages": [{"role": "user", "content": f"How many? ({number})"}]},
        "preferred_output": [{"role": "assistant", "content": f"{number} of them."}],
        "non_preferred_output": [{"role": "assistant", "content": "Who knows."}],
    }


def prompt_row(number: int) -> dict[str, Any]:
    """A question, and the answer that a grader compares with."""
    return {
        "messages": [{"role": "user", "content": f"How many? ({number})"}],
        "answer": str(number),
    }


async def submit_dpo(
    client: openai.AsyncOpenAI, rows: Iterable[Any] = (), **hyperparameters: Any
) -> FineTuningJob:
    """Upload preference rows and train on them."""
    content = jsonl(rows or [preference_row(number) for number in range(20)])
    training = await upload(client, content)
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}
    return await client.fine_tuning.jobs.create(
        model=MODEL, training_file=training.id, method=method
    )


async def submit_reinforcement(
    client: openai.AsyncOpenAI,
    *,
    grader: Any = EXACT,
    rows: Iterable[Any] = (),
    validation: bytes | None = None,
    hyperparameters: dict[str, Any] | None = None,
    **more: Any,
) -> FineTuningJob:
    """Upload prompts and train on them with a grader."""
    content = jsonl(rows or [prompt_row(number) for number in range(20)])
    training = await upload(client, content)
    validating = await upload(client, validation or content, name="valid.jsonl")
    method: Any = {"grader": grader, "hyperparameters": hyperparameters or {}, **more}
    return await client.fine_tuning.jobs.create(
        model=REASONING_MODEL,
        training_file=training.id,
        validation_file=validating.id,
        method={"type": "reinforcement", "reinforcement": method},
    )
