"""The emulator's surface, as the official client sees it: versions, keys, files, jobs, lists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from support.azure_account import (
    MODEL,
    chat_rows,
    dated_client,
    http_client,
    project_client,
    submit,
    upload,
    v1_client,
)
from support.emulator import API_KEY, Emulator

WIRE = Path(__file__).parents[1] / "fixtures" / "azure"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("azure"), speed=0) as emulator:
        yield emulator


def wire(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


def shape(value: Any) -> Any:
    """Keys, kinds of values and the pattern of ids: what must be as on the wire."""
    match value:
        case dict():
            return {key: shape(part) for key, part in value.items()}
        case list():
            return [shape(part) for part in value]
        case str() if re.search(r"[0-9a-f]{32}", value):
            return re.sub(r"[0-9a-f]{32}", "<hex>", value)
        case bool() | None:
            return value
        case int() | float():
            return "number"
    return "text"


async def as_sent(client: openai.AsyncOpenAI, path: str) -> Any:
    """The JSON of a reply before the client's models have touched it."""
    return (await client.get(path, cast_to=httpx2.Response)).json()


WELL_FORMED_SUFFIX = "gsm8k-0a1b2c3d4e"


class TestWireShapes:
    async def test_created_job_with_a_method(self, client: openai.AsyncOpenAI) -> None:
        method = {"learning_rate_multiplier": 1.5, "n_epochs": 2}
        job = await submit(
            client,
            suffix=WELL_FORMED_SUFFIX,
            seed=105,
            method={"type": "supervised", "supervised": {"hyperparameters": method}},
            extra_body={"trainingType": "GlobalStandard"},
        )
        want = wire("job_created_method")
        found = await as_sent(client, f"/fine_tuning/jobs/{job.id}")
        assert shape(found) == shape(want)
        assert found["hyperparameters"] == want["hyperparameters"]
        assert (found["status"], found["suffix"], found["seed"], found["trainingType"]) == (
            "pending",
            WELL_FORMED_SUFFIX,
            105,
            "globalStandard",
        )

    async def test_created_job_without_a_method(self, client: openai.AsyncOpenAI) -> None:
        job = await submit(
            client,
            model="gpt-4.1-nano",
            suffix=WELL_FORMED_SUFFIX,
            method=openai.omit,
            hyperparameters={"learning_rate_multiplier": 0.1},
            extra_body={"trainingType": "developertier"},
        )
        want = wire("job_created_plain")
        found = await as_sent(client, f"/fine_tuning/jobs/{job.id}")
        assert shape(found) == shape(want)
        assert found["hyperparameters"] == want["hyperparameters"]
        assert found["model"] == want["model"]
        assert found["trainingType"] == want["trainingType"]

    @pytest.mark.parametrize(
        ("suffix", "fixture"),
        [
            pytest.param(WELL_FORMED_SUFFIX, "job_succeeded", id="with a suffix"),
            pytest.param(openai.omit, "job_succeeded_no_suffix", id="without one"),
        ],
    )
    async def test_succeeded_job(
        self, emulator: Emulator, client: openai.AsyncOpenAI, suffix: Any, fixture: str
    ) -> None:
        job = await submit(client, model="gpt-4.1", suffix=suffix, method=openai.omit)
        emulator.advance(10_000_000)
        found = await as_sent(client, f"/fine_tuning/jobs/{job.id}")
        assert shape(found) == shape(wire(fixture))
        hexadecimal = job.id.removeprefix("ftjob-")
        assert found["fine_tuned_model"].startswith(f"gpt-4.1-2025-04-14.ft-{hexadecimal}")

    async def test_events(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        job = await submit(client, rows=20, batch_size=1, epochs=3)
        emulator.advance(1_000_000)
        found = await as_sent(client, f"/fine_tuning/jobs/{job.id}/events?limit=6")
        want = wire("events")
        assert shape(found["data"][4]) == shape(want["data"][4])
        assert shape(found["data"][5]) == shape(want["data"][5])
        assert shape(found) == shape(want)
        assert [event["message"].split(":")[0] for event in found["data"]] == [
            event["message"].split(":")[0] for event in want["data"]
        ]

    async def test_checkpoints(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        job = await submit(client, model="gpt-4.1", rows=20, batch_size=1, epochs=3)
        emulator.advance(1_000_000)
        found = await as_sent(client, f"/fine_tuning/jobs/{job.id}/checkpoints")
        assert shape(found) == shape(wire("checkpoints"))

    async def test_the_refusal_of_a_wrong_key(self, emulator: Emulator) -> None:
        async with dated_client(emulator, api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.files.list()
        assert refused.value.response.json() == wire("error_access_denied")


class TestAccess:
    async def test_v1_takes_the_key_as_bearer_and_as_api_key(self, emulator: Emulator) -> None:
        async with v1_client(emulator) as client:
            assert (await client.files.list()).data == []
        async with v1_client(
            emulator, api_key="unused", default_headers={"api-key": API_KEY}
        ) as client:
            assert (await client.files.list()).data == []

    @pytest.mark.parametrize(
        ("path", "want_status", "want_text"),
        [
            pytest.param("/openai/v1/files", 200, "", id="v1 without a version"),
            pytest.param("/openai/v1/files?api-version=preview", 200, "", id="v1, preview"),
            pytest.param(
                "/openai/v1/files?api-version=2025-04-01-preview",
                400,
                "api-version not allowed",
                id="v1 with a date",
            ),
            pytest.param("/openai/files?api-version=2025-04-01-preview", 200, "", id="dated"),
            pytest.param("/openai/files", 404, "Resource not found", id="dated without a date"),
            pytest.param("/openai/v1/uploads", 404, "Resource not found", id="not on v1"),
        ],
    )
    async def test_api_version(
        self, emulator: Emulator, path: str, want_status: int, want_text: str
    ) -> None:
        async with http_client(emulator) as http:
            reply = await http.get(f"{emulator.url}{path}", headers={"api-key": API_KEY})
        assert reply.status_code == want_status
        assert want_text in reply.text
        assert "apim-request-id" in reply.headers

    async def test_new_things_answer_201_with_their_address_on_the_dated_surface(
        self, emulator: Emulator
    ) -> None:
        async with dated_client(emulator) as client:
            made = await client.files.with_raw_response.create(
                file=("train.jsonl", chat_rows(10)), purpose="fine-tune"
            )
        assert made.http_response.status_code == 201
        assert made.parse().id in made.headers["Location"]

    async def test_a_job_is_deleted_only_on_the_dated_surface_and_only_when_over(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit(client)
        path = f"/fine_tuning/jobs/{job.id}"
        with pytest.raises(openai.APIStatusError) as refused:
            await client.delete(path, cast_to=object)
        assert refused.value.status_code == 405
        async with dated_client(emulator) as dated:
            with pytest.raises(openai.ConflictError):
                await dated.delete(path, cast_to=object)
            await dated.fine_tuning.jobs.cancel(job.id)
            reply = await dated.delete(path, cast_to=httpx2.Response)
            assert reply.status_code == 204
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.retrieve(job.id)


class TestProject:
    async def test_it_is_a_door_to_the_same_account(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        async with project_client(emulator, "p-1") as project:
            job = await submit(project)
            assert (await client.fine_tuning.jobs.retrieve(job.id)).id == job.id
            made = await project.files.with_raw_response.create(
                file=("train.jsonl", chat_rows(10)), purpose="fine-tune"
            )
        assert made.http_response.status_code == 200

    @pytest.mark.parametrize(
        ("method", "path", "want_status"),
        [
            pytest.param("GET", "files", 200, id="files"),
            pytest.param("POST", "uploads", 404, id="no uploads"),
            pytest.param("DELETE", "fine_tuning/jobs/x", 405, id="no deletion of jobs"),
            pytest.param("GET", "files?api-version=2025-04-01-preview", 400, id="no dates"),
        ],
    )
    async def test_operations(
        self, emulator: Emulator, method: str, path: str, want_status: int
    ) -> None:
        url = f"{emulator.url}/api/projects/p-1/openai/v1/{path}"
        async with http_client(emulator) as http:
            reply = await http.request(method, url, headers={"api-key": API_KEY})
        assert reply.status_code == want_status

    async def test_a_key_is_asked_for(self, emulator: Emulator) -> None:
        async with project_client(emulator, "p-1", api_key="wrong") as project:
            with pytest.raises(openai.AuthenticationError, match=r"https://ai\.azure\.com"):
                await project.files.list()


class TestFiles:
    async def test_a_file_is_pending_for_some_looks(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        emulator.configure(pending_polls=2)
        file = await client.files.create(file=("train.jsonl", chat_rows(10)), purpose="fine-tune")
        seen = [file.status]
        seen += [(await client.files.retrieve(file.id)).status for _ in range(3)]
        assert seen == ["pending", "pending", "pending", "processed"]

    @pytest.mark.parametrize(
        ("content", "want"),
        [
            pytest.param(chat_rows(9), "9 examples", id="nine rows"),
            pytest.param(chat_rows(20) + b"{oops\n", "line 21 is not", id="a broken row"),
            pytest.param(b"[1]\n" + chat_rows(20), "line 1 is not", id="a row that is a list"),
            pytest.param(b"", "0 examples", id="empty"),
        ],
    )
    async def test_bad_content_ends_as_error(
        self, client: openai.AsyncOpenAI, content: bytes, want: str
    ) -> None:
        file = await upload(client, content)
        assert file.status == "error"
        assert file.status_details is not None
        assert file.status_details.startswith("Validation of jsonl file failed: ")
        assert want in file.status_details
        with pytest.raises(openai.BadRequestError, match="is error, not processed"):
            await client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)

    async def test_a_byte_order_mark_is_tolerated(self, client: openai.AsyncOpenAI) -> None:
        assert (await upload(client, b"\xef\xbb\xbf" + chat_rows(10))).status == "processed"

    async def test_lists_are_filtered_ordered_and_paged(self, client: openai.AsyncOpenAI) -> None:
        names = [f"{number}.jsonl" for number in range(5)]
        for name in names:
            await client.files.create(file=(name, chat_rows(10)), purpose="fine-tune")
        await client.files.create(file=("other.jsonl", chat_rows(10)), purpose="batch")
        first = await client.files.list(purpose="fine-tune", limit=2)
        assert [file.filename for file in first.data] == ["4.jsonl", "3.jsonl"]
        paged = [file.filename async for file in client.files.list(purpose="fine-tune", limit=2)]
        assert paged == names[::-1]
        oldest = await client.files.list(purpose="fine-tune", order="asc", limit=1)
        assert [file.filename for file in oldest.data] == ["0.jsonl"]

    async def test_content_and_deletion(self, client: openai.AsyncOpenAI) -> None:
        file = await upload(client, chat_rows(10))
        assert (await client.files.content(file.id)).content == chat_rows(10)
        assert (await client.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(file.id)


class TestCreate:
    @pytest.mark.parametrize(
        ("change", "want"),
        [
            pytest.param(
                {"model": "gpt-3"}, "base model does not support fine-tuning", id="unknown model"
            ),
            pytest.param({"suffix": "a.b"}, "reserved character", id="a dot in the suffix"),
            pytest.param({"suffix": "x" * 41}, "1 to 40", id="a long suffix"),
            pytest.param({"seed": -1}, "seed", id="a negative seed"),
            pytest.param({"extra_body": {"trainingType": "Slow"}}, "Slow", id="training type"),
            pytest.param({"training_file": "file-none"}, "was not found", id="no such file"),
            pytest.param({"validation_file": "file-none"}, "was not found", id="no validation"),
            pytest.param(
                {"hyperparameters": {"n_epochs": 51}}, "between 1 and 50", id="too many epochs"
            ),
            pytest.param({"method": {"type": "sft"}}, "method.type", id="an unknown method"),
        ],
    )
    async def test_refusals(
        self, emulator: Emulator, client: openai.AsyncOpenAI, change: dict[str, Any], want: str
    ) -> None:
        training = await upload(client, chat_rows(10))
        request = {"model": MODEL, "training_file": training.id, **change}
        with pytest.raises(openai.BadRequestError, match=want) as refused:
            await client.fine_tuning.jobs.create(**request)
        assert refused.value.code == "invalidPayload"
        assert emulator.jobs() == []

    async def test_a_job_on_a_file_that_is_still_pending_is_refused(
        self, client: openai.AsyncOpenAI
    ) -> None:
        file = await client.files.create(file=("train.jsonl", chat_rows(10)), purpose="fine-tune")
        with pytest.raises(openai.BadRequestError, match="is pending, not processed"):
            await client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)

    async def test_the_service_picks_a_seed(self, client: openai.AsyncOpenAI) -> None:
        job = await submit(client)
        assert 0 <= job.seed <= 2_147_483_647


class TestLists:
    async def test_jobs_come_newest_first_in_pages(self, client: openai.AsyncOpenAI) -> None:
        training = await upload(client, chat_rows(10))
        made = [
            (await client.fine_tuning.jobs.create(model=MODEL, training_file=training.id)).id
            for _ in range(5)
        ]
        first = await client.fine_tuning.jobs.list(limit=2)
        assert [job.id for job in first.data] == made[:2:-1]
        assert first.has_more
        everything = [job.id async for job in client.fine_tuning.jobs.list(limit=2)]
        assert everything == made[::-1]
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.list(after="ftjob-none")
        with pytest.raises(openai.BadRequestError):
            await client.fine_tuning.jobs.list(limit=0)

    async def test_events_are_paged_to_the_first_one(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit(client, rows=100, batch_size=1)
        emulator.advance(1_000_000)
        events = client.fine_tuning.jobs.list_events(job.id, limit=5)
        messages = [event.message async for event in events]
        assert messages[0].startswith("Training tokens billed: ")
        assert messages[-2:] == [
            "Job started.",
            "Job enqueued. Waiting for jobs ahead to complete.",
        ]
        assert len(messages) == 4 + 20 + 2
