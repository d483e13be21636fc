"""Files that arrive in pieces at the emulator's dated surface, with the official client."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.azure_account import chat_rows, dated_client, http_client
from support.emulator import API_KEY, Emulator

CONTENT = chat_rows(10)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("azure")
    with Emulator(folder, speed=0, options=["--pending-polls=0"]) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with dated_client(emulator) as client:
        yield client


async def begin(client: openai.AsyncOpenAI, **change: Any) -> Any:
    request: dict[str, Any] = {
        "bytes": len(CONTENT),
        "filename": "train.jsonl",
        "mime_type": "application/jsonl",
        "purpose": "fine-tune",
    }
    return await client.uploads.create(**{**request, **change})


async def begin_with_parts(client: openai.AsyncOpenAI) -> tuple[str, list[str]]:
    """An upload whose parts came last part first, and their ids in the file's order."""
    upload = await begin(client)
    parts = [
        (await client.uploads.parts.create(upload.id, data=piece)).id
        for piece in (CONTENT[100:], CONTENT[:100])
    ]
    return upload.id, parts[::-1]


async def test_pieces_become_a_file(client: openai.AsyncOpenAI) -> None:
    upload_id, parts = await begin_with_parts(client)
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    upload = await client.uploads.complete(upload_id, part_ids=parts, md5=md5)
    assert upload.status == "completed"
    assert upload.file is not None
    assert upload.file.status == "processed"
    assert (await client.files.content(upload.file.id)).content == CONTENT
    job = await client.fine_tuning.jobs.create(model="gpt-4.1", training_file=upload.file.id)
    assert job.training_file == upload.file.id


async def test_the_official_client_splits_a_file(
    client: openai.AsyncOpenAI, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)
    upload = await client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="fine-tune", part_size=300
    )
    assert upload.file is not None
    assert (await client.files.content(upload.file.id)).content == CONTENT


async def test_shapes(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    made = await client.uploads.with_raw_response.create(
        bytes=4, filename="a", mime_type="text/plain", purpose="batch"
    )
    upload = made.http_response.json()
    assert made.http_response.status_code == 200
    assert made.headers["Location"] == f"{emulator.url}/openai/uploads/{upload['id']}"
    assert upload.pop("expires_at") == upload.pop("created_at") + 2 * 60 * 60
    assert upload.pop("id").startswith("upload_")
    assert upload == {
        "object": "upload",
        "bytes": 4,
        "filename": "a",
        "purpose": "batch",
        "status": "pending",
    }
    part = await client.uploads.parts.with_raw_response.create(made.parse().id, data=b"1234")
    assert set(part.http_response.json()) == {
        "id",
        "object",
        "upload_id",
        "azure_block_id",
        "created_at",
    }


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param({"bytes": 0}, "bytes", id="nothing"),
        pytest.param({"bytes": 9 * 10**9 + 1}, "bytes", id="more than nine gigabytes"),
        pytest.param({"purpose": "fun"}, "purpose", id="no purpose that there is"),
        pytest.param({"filename": ""}, "filename", id="no name"),
    ],
)
async def test_what_cannot_begin(
    client: openai.AsyncOpenAI, change: dict[str, Any], want: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=want):
        await begin(client, **change)


@pytest.mark.parametrize(
    ("chosen", "more", "want"),
    [
        pytest.param([0], {}, "were announced", id="a part that is left out"),
        pytest.param([0, 0], {}, "were announced", id="a part twice"),
        pytest.param([0, 1], {"md5": "0" * 32}, "MD5", id="another checksum"),
    ],
)
async def test_what_cannot_be_completed(
    client: openai.AsyncOpenAI, chosen: list[int], more: Any, want: str
) -> None:
    upload_id, parts = await begin_with_parts(client)
    with pytest.raises(openai.BadRequestError, match=want):
        await client.uploads.complete(upload_id, part_ids=[parts[i] for i in chosen], **more)
    assert (await client.uploads.complete(upload_id, part_ids=parts)).status == "completed"


async def test_parts_of_another_upload_are_refused(client: openai.AsyncOpenAI) -> None:
    upload_id, _ = await begin_with_parts(client)
    _, others = await begin_with_parts(client)
    with pytest.raises(openai.BadRequestError, match="not of this upload"):
        await client.uploads.complete(upload_id, part_ids=others)


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
async def test_an_upload_that_is_over_takes_nothing(
    emulator: Emulator, client: openai.AsyncOpenAI, end: str
) -> None:
    upload_id, parts = await begin_with_parts(client)
    if end == "completed":
        await client.uploads.complete(upload_id, part_ids=parts)
    elif end == "cancelled":
        assert (await client.uploads.cancel(upload_id)).status == "cancelled"
    else:
        emulator.advance(2 * 60 * 60)
    for late in (
        client.uploads.parts.create(upload_id, data=b"x"),
        client.uploads.complete(upload_id, part_ids=parts),
        client.uploads.cancel(upload_id),
    ):
        with pytest.raises(openai.ConflictError, match=f"The upload is {end}") as refused:
            await late
        assert refused.value.code == "unexpectedEntityState"


async def test_an_unknown_upload(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.uploads.cancel("upload_none")


@pytest.mark.parametrize(
    ("path", "want_status", "want_text"),
    [
        pytest.param("/openai/v1/uploads", 404, "Resource not found", id="not on v1"),
        pytest.param("/openai/uploads", 404, "Resource not found", id="without a version"),
        pytest.param(
            "/openai/uploads?api-version=1999-01-01", 404, "Resource not found", id="an old version"
        ),
    ],
)
async def test_surfaces(emulator: Emulator, path: str, want_status: int, want_text: str) -> None:
    async with http_client(emulator) as http:
        reply = await http.post(f"{emulator.url}{path}", headers={"api-key": API_KEY})
    assert (reply.status_code, want_text in reply.text) == (want_status, True)
