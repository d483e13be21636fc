"""What a plain user of an Azure OpenAI account does, with the official client.

Must not know of the operator.
"""

import json
import ssl
from typing import Any

import openai
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob

from support.emulator import API_KEY
from support.emulator_control import EmulatorControl

MODEL = "gpt-4.1-mini-2025-04-14"
DATED_VERSION = "2025-04-01-preview"


def http_client(emulator: EmulatorControl) -> openai.DefaultAsyncHttpxClient:
    """An HTTP client that trusts the emulator's CA; close it, or the client that takes it."""
    return openai.DefaultAsyncHttpxClient(verify=ssl.create_default_context(cafile=emulator.ca))


def v1_client(emulator: EmulatorControl, **options: Any) -> openai.AsyncOpenAI:
    """A client of the v1 surface that never retries by itself."""
    chosen: dict[str, Any] = {"api_key": API_KEY, "max_retries": 0, **options}
    return openai.AsyncOpenAI(
        base_url=emulator.base_url, http_client=http_client(emulator), **chosen
    )


def project_client(emulator: EmulatorControl, project: str, **options: Any) -> openai.AsyncOpenAI:
    """A client of one Foundry project of the account."""
    chosen: dict[str, Any] = {"api_key": API_KEY, "max_retries": 0, **options}
    return openai.AsyncOpenAI(
        base_url=f"{emulator.url}/api/projects/{project}/openai/v1/",
        http_client=http_client(emulator),
        **chosen,
    )


def dated_client(emulator: EmulatorControl, **options: Any) -> openai.AsyncAzureOpenAI:
    """A client of the dated surface that never retries by itself."""
    chosen: dict[str, Any] = {"api_key": API_KEY, "api_version": DATED_VERSION, **options}
    return openai.AsyncAzureOpenAI(
        azure_endpoint=emulator.url, http_client=http_client(emulator), max_retries=0, **chosen
    )


def chat_rows(count: int, *, text: str = "How many?") -> bytes:
    """`count` rows of supervised chat data as JSONL, no two alike."""
    return b"".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"{text} ({number})"},
                    {"role": "assistant", "content": f"{number} of them."},
                ]
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


async def upload(
    client: openai.AsyncOpenAI, content: bytes, *, name: str = "train.jsonl"
) -> FileObject:
    """Upload for fine-tuning and look until the service has judged the file."""
    file = await client.files.create(file=(name, content), purpose="fine-tune")
    return await client.files.wait_for_processing(file.id, poll_interval=0.01)


async def submit(
    client: openai.AsyncOpenAI,
    *,
    rows: int = 40,
    epochs: int | None = 2,
    batch_size: int | None = 4,
    validate: bool = True,
    **options: Any,
) -> FineTuningJob:
    """Upload data and create a supervised job on it."""
    training = await upload(client, chat_rows(rows))
    if validate:
        validation = await upload(client, chat_rows(12, text="And now?"), name="valid.jsonl")
        options["validation_file"] = validation.id
    asked = {"n_epochs": epochs, "batch_size": batch_size}
    known = {name: value for name, value in asked.items() if value is not None}
    options.setdefault("model", MODEL)
    options.setdefault("method", {"type": "supervised", "supervised": {"hyperparameters": known}})
    return await client.fine_tuning.jobs.create(training_file=training.id, **options)
