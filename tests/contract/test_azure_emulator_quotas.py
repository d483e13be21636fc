"""What the emulated account has room for: running and queued jobs, kept jobs, files."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from azure_openai.settings import ACCOUNT_LIMITS
from support.azure_account import MODEL, chat_rows, dated_client, upload
from support.emulator import Emulator

QUEUE, STEP, SILENCE = 100, 10, 1000
LIFE = 10 * STEP + SILENCE
"""Of a job on ten rows, once its turn has come."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    options = [
        "--account-limits",
        "--pending-polls=0",
        f"--queue-seconds={QUEUE}",
        f"--step-seconds={STEP}",
        f"--silent-seconds={SILENCE}",
    ]
    folder = tmp_path_factory.mktemp("azure")
    with Emulator(folder, speed=0, options=options) as emulator:
        yield emulator


@pytest.fixture
async def training(client: openai.AsyncOpenAI) -> str:
    return (await upload(client, chat_rows(10))).id


async def create(client: openai.AsyncOpenAI, training: str, *, tier: str = "Standard") -> str:
    hyperparameters: Any = {"n_epochs": 1, "batch_size": 1}
    job = await client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=training,
        hyperparameters=hyperparameters,
        extra_body={"trainingType": tier},
    )
    return job.id


async def create_all(client: openai.AsyncOpenAI, training: str, count: int) -> list[str]:
    return [await create(client, training) for _ in range(count)]


async def statuses(client: openai.AsyncOpenAI, jobs: list[str]) -> list[str]:
    found = [(await client.fine_tuning.jobs.retrieve(job)).status for job in jobs]
    return [str(status) for status in found]


class TestRunning:
    async def test_the_fourth_waits_for_the_first_to_end(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        jobs = await create_all(client, training, 5)
        emulator.advance(QUEUE)
        assert await statuses(client, jobs) == ["running"] * 3 + ["pending"] * 2
        emulator.advance(LIFE - 1)
        assert await statuses(client, jobs) == ["running"] * 3 + ["pending"] * 2
        emulator.advance(1)
        assert await statuses(client, jobs) == ["succeeded"] * 3 + ["running"] * 2

    async def test_turns_come_in_time_even_if_nobody_looks(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        jobs = await create_all(client, training, 7)
        emulator.advance(QUEUE + 3 * LIFE)
        ends = [(await client.fine_tuning.jobs.retrieve(job)) for job in jobs]
        first = ends[0].created_at
        assert [(job.finished_at or 0) - first - QUEUE for job in ends] == [
            *(LIFE,) * 3,
            *(2 * LIFE,) * 3,
            3 * LIFE,
        ]

    async def test_a_cancelled_job_makes_room(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        jobs = await create_all(client, training, 5)
        emulator.advance(QUEUE + STEP)
        await client.fine_tuning.jobs.cancel(jobs[0])
        await client.fine_tuning.jobs.cancel(jobs[3])
        assert await statuses(client, jobs[:4]) == ["cancelled", "running", "running", "cancelled"]
        assert await statuses(client, jobs[4:]) == ["running"]
        events = (await client.fine_tuning.jobs.list_events(jobs[4])).data
        assert events[0].message == "Job started."
        assert events[0].created_at == events[1].created_at + QUEUE + STEP

    async def test_a_paused_job_keeps_its_place(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        jobs = await create_all(client, training, 4)
        emulator.advance(QUEUE + STEP)
        for job in jobs[:3]:
            await client.fine_tuning.jobs.pause(job)
        emulator.advance(100_000)
        assert await statuses(client, jobs) == ["paused"] * 3 + ["pending"]

    async def test_the_developer_tier_has_a_queue_of_its_own(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        jobs = await create_all(client, training, 3)
        jobs += [await create(client, training, tier="developerTier") for _ in range(6)]
        emulator.advance(QUEUE)
        assert await statuses(client, jobs) == ["running"] * 8 + ["pending"]


class TestRefusals:
    async def refused(self, request: Any, want: str) -> None:
        with pytest.raises(openai.RateLimitError, match=want) as refused:
            await request
        assert refused.value.status_code == 429
        assert refused.value.code == "quotaExceeded"

    async def test_a_full_queue(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        await create_all(client, training, ACCOUNT_LIMITS["queued_jobs"])
        await self.refused(create(client, training), "20 queued fine-tuning jobs")
        assert len(emulator.jobs()) == 20
        emulator.advance(QUEUE)
        await create_all(client, training, 3)
        await self.refused(create(client, training), "20 queued fine-tuning jobs")

    async def test_only_a_deletion_makes_room_for_another_kept_job(
        self, emulator: Emulator, client: openai.AsyncOpenAI, training: str
    ) -> None:
        emulator.configure(kept_jobs=2)
        first, _ = await create_all(client, training, 2)
        emulator.advance(1_000_000)
        await self.refused(create(client, training), "2 fine-tuning jobs")
        async with dated_client(emulator) as dated:
            await dated.delete(f"/fine_tuning/jobs/{first}", cast_to=object)
        await create(client, training)

    async def test_too_many_files(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        emulator.configure(fine_tune_files=1)
        file = await upload(client, chat_rows(10))
        await self.refused(upload(client, chat_rows(10)), "1 files for fine-tuning")
        other = await client.files.create(file=("a", b"x"), purpose="batch")
        assert other.purpose == "batch"
        await client.files.delete(file.id)
        await upload(client, chat_rows(10))

    async def test_too_many_bytes(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        content = chat_rows(10)
        emulator.configure(fine_tune_bytes=2 * len(content) - 1)
        await upload(client, content)
        await self.refused(upload(client, content), "bytes of files")
        async with dated_client(emulator) as dated:
            begun = await dated.uploads.create(
                bytes=len(content),
                filename="train.jsonl",
                mime_type="application/jsonl",
                purpose="fine-tune",
            )
            part = await dated.uploads.parts.create(begun.id, data=content)
            await self.refused(
                dated.uploads.complete(begun.id, part_ids=[part.id]), "bytes of files"
            )
