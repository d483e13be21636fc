"""A job's life at the emulator, moved by its clock: from pending to each of its ends."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from support.azure_account import chat_rows, submit, upload
from support.emulator import RAI_AFTER_TRAINING, RAI_BEFORE_TRAINING, Emulator

QUEUE, STEP, SILENCE, PAUSING, RESUMING = 100, 10, 1000, 60, 30


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pace = [
        f"--queue-seconds={QUEUE}",
        f"--step-seconds={STEP}",
        f"--silent-seconds={SILENCE}",
        f"--pausing-seconds={PAUSING}",
        f"--resuming-seconds={RESUMING}",
        "--pending-polls=0",
    ]
    with Emulator(tmp_path_factory.mktemp("azure"), speed=0, options=pace) as emulator:
        yield emulator


async def twenty_steps(client: openai.AsyncOpenAI, **options: Any) -> FineTuningJob:
    """40 rows in batches of 4, twice."""
    return await submit(client, rows=40, batch_size=4, epochs=2, **options)


async def status(client: openai.AsyncOpenAI, job: FineTuningJob) -> str:
    return (await client.fine_tuning.jobs.retrieve(job.id)).status


async def messages(client: openai.AsyncOpenAI, job: FineTuningJob) -> list[str]:
    """Oldest first."""
    events = await client.fine_tuning.jobs.list_events(job.id, limit=1000)
    return [event.message for event in events.data][::-1]


async def checkpoint_names(client: openai.AsyncOpenAI, job: FineTuningJob) -> list[str]:
    found = await client.fine_tuning.jobs.checkpoints.list(job.id)
    return [checkpoint.fine_tuned_model_checkpoint for checkpoint in found.data]


async def test_from_pending_to_succeeded(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await twenty_steps(client, suffix="abc")
    name = f"{job.model}.ft-{job.id.removeprefix('ftjob-')}-abc"
    assert job.status == "pending"
    assert await messages(client, job) == ["Job enqueued. Waiting for jobs ahead to complete."]
    assert job.hyperparameters is not None
    assert job.hyperparameters.learning_rate_multiplier == -1

    emulator.advance(QUEUE)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "running"
    assert job.hyperparameters is not None
    assert job.hyperparameters.learning_rate_multiplier == 1
    assert await checkpoint_names(client, job) == []

    emulator.advance(STEP * 19)
    told = await messages(client, job)
    assert [text.split(":")[0] for text in told[1:]] == ["Job started.", "Step 10"]
    assert await checkpoint_names(client, job) == [f"{name}:ckpt-step-10"]

    emulator.advance(STEP + SILENCE - 1)
    assert await status(client, job) == "running"
    assert (await messages(client, job))[-1].startswith("Step 20: training loss=")

    emulator.advance(1)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model == name
    assert job.finished_at == job.created_at + QUEUE + 20 * STEP + SILENCE
    closing = (await messages(client, job))[-5:]
    assert [text.split(":")[0] for text in closing] == [
        "Step 20",
        "Job succeeded.",
        "Model Evaluation Passed.",
        "Completed results file",
        "Training tokens billed",
    ]
    assert await checkpoint_names(client, job) == [name, f"{name}:ckpt-step-10"]


async def test_the_result_file(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await twenty_steps(client)
    emulator.advance(100_000)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    [result] = (await client.files.list(purpose="fine-tune-results")).data
    assert job.result_files == [result.id]
    text = (await client.files.content(result.id)).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert [row["step"] for row in rows if row["full_valid_loss"]] == ["10", "20"]
    events = (await client.fine_tuning.jobs.list_events(job.id, limit=1000)).data
    told = {row["step"]: row["train_loss"] for row in rows}
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [data["train_loss"] for data in metrics] == [float(told["20"]), float(told["10"])]  # type: ignore[index]


async def test_trained_tokens_are_those_of_the_content_times_epochs(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    once, thrice = [await submit(client, rows=40, epochs=epochs) for epochs in (1, 3)]
    more = await submit(client, rows=80, epochs=1)
    emulator.advance(100_000)
    counted = [
        (await client.fine_tuning.jobs.retrieve(job.id)).trained_tokens or 0
        for job in (once, thrice, more)
    ]
    assert counted[1] == 3 * counted[0]
    assert counted[2] == 2 * counted[0]


async def test_only_the_three_newest_checkpoints_are_kept(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    job = await submit(client, rows=10, batch_size=1, epochs=5)
    emulator.advance(100_000)
    found = (await client.fine_tuning.jobs.checkpoints.list(job.id)).data
    assert [checkpoint.step_number for checkpoint in found] == [50, 40, 30]
    assert found[0].fine_tuned_model_checkpoint.endswith(job.id.removeprefix("ftjob-"))


async def test_events_keep_their_ids(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await twenty_steps(client)
    emulator.advance(QUEUE + STEP * 10)
    before = [event.id for event in (await client.fine_tuning.jobs.list_events(job.id)).data]
    emulator.advance(100_000)
    after = [event.id for event in (await client.fine_tuning.jobs.list_events(job.id)).data]
    assert after[-len(before) :] == before
    assert len(set(after)) == len(after)


async def test_pause_and_resume(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    jobs = client.fine_tuning.jobs
    job = await twenty_steps(client)
    emulator.advance(QUEUE + STEP * 5)
    assert (await jobs.pause(job.id)).status == "pausing"
    with pytest.raises(openai.ConflictError):
        await jobs.resume(job.id)
    emulator.advance(PAUSING)
    assert await status(client, job) == "paused"
    assert (await checkpoint_names(client, job))[0].endswith(":ckpt-step-5")
    emulator.advance(50_000)
    assert await status(client, job) == "paused"
    assert (await jobs.resume(job.id)).status == "resuming"
    emulator.advance(RESUMING)
    assert await status(client, job) == "running"
    emulator.advance(STEP * 15 + SILENCE - 1)
    assert await status(client, job) == "running"
    emulator.advance(1)
    assert await status(client, job) == "succeeded"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0, id="in the queue"),
        pytest.param(QUEUE + STEP - 1, id="before the first step"),
        pytest.param(QUEUE + STEP * 20, id="after the last step"),
        pytest.param(100_000, id="when over"),
    ],
)
async def test_pause_is_refused(
    emulator: Emulator, client: openai.AsyncOpenAI, seconds: int
) -> None:
    job = await twenty_steps(client)
    emulator.advance(seconds)
    with pytest.raises(openai.ConflictError) as refused:
        await client.fine_tuning.jobs.pause(job.id)
    assert refused.value.code == "unexpectedEntityState"


@pytest.mark.parametrize(
    ("seconds", "want_checkpoints"),
    [
        pytest.param(0, 0, id="in the queue"),
        pytest.param(QUEUE + STEP * 10, 1, id="while training"),
        pytest.param(QUEUE + STEP * 20 + 1, 2, id="in the silence before its end"),
    ],
)
async def test_cancel_ends_a_job_for_good(
    emulator: Emulator, client: openai.AsyncOpenAI, seconds: int, want_checkpoints: int
) -> None:
    job = await twenty_steps(client)
    emulator.advance(seconds)
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
    emulator.advance(100_000)
    assert await status(client, job) == "cancelled"
    assert len(await checkpoint_names(client, job)) == want_checkpoints
    with pytest.raises(openai.ConflictError) as refused:
        await client.fine_tuning.jobs.cancel(job.id)
    assert refused.value.code == "unexpectedEntityState"


async def test_cancel_while_paused(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await twenty_steps(client)
    emulator.advance(QUEUE + STEP * 5)
    await client.fine_tuning.jobs.pause(job.id)
    emulator.advance(PAUSING)
    assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"


async def test_cancel_refused_on_a_succeeded_job(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    job = await twenty_steps(client)
    emulator.advance(100_000)
    with pytest.raises(openai.ConflictError) as refused:
        await client.fine_tuning.jobs.cancel(job.id)
    assert refused.value.code == "unexpectedEntityState"


async def test_bad_chat_rows_fail_the_job_before_its_training(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    training = await upload(client, b'{"prompt": "a"}\n' * 12)
    job = await client.fine_tuning.jobs.create(model="gpt-4.1", training_file=training.id)
    emulator.advance(QUEUE)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "jsonlValidationFailed"
    assert job.error.message.startswith("Validation of jsonl file failed: line 1: ")


@pytest.mark.parametrize(
    ("stage", "message", "want_checkpoints"),
    [
        pytest.param("Validation", RAI_BEFORE_TRAINING, 0, id="before training"),
        pytest.param("Evaluation", RAI_AFTER_TRAINING, 2, id="after training"),
    ],
)
async def test_a_doomed_job_fails_at_its_stage(
    emulator: Emulator,
    client: openai.AsyncOpenAI,
    stage: Any,
    message: str,
    want_checkpoints: int,
) -> None:
    emulator.doom(stage, message, suffix="^bad-")
    good = await twenty_steps(client, suffix="good")
    job = await twenty_steps(client, suffix="bad-1")
    emulator.advance(100_000)
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.message == message
    assert (await messages(client, job))[-1] == message
    assert job.fine_tuned_model is None
    assert len(await checkpoint_names(client, job)) == want_checkpoints
    assert await status(client, good) == "succeeded"


async def test_a_running_job_fails_when_told(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    job = await twenty_steps(client)
    emulator.advance(QUEUE + STEP)
    emulator.fail_job(job.id, RAI_BEFORE_TRAINING, code="contentFilter")
    job = await client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("contentFilter", RAI_BEFORE_TRAINING)


async def test_the_speed_can_be_changed_on_the_way(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    job = await twenty_steps(client)
    emulator.run_at(1_000_000)
    while await status(client, job) != "succeeded":
        pass
    finished = emulator.jobs()[0]["finished_at"]
    assert finished == job.created_at + QUEUE + 20 * STEP + SILENCE


async def test_a_file_may_be_deleted_while_its_job_runs(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    job = await twenty_steps(client)
    await client.files.delete(job.training_file)
    emulator.advance(100_000)
    assert await status(client, job) == "succeeded"


async def test_two_jobs_on_the_same_data_and_seed_learn_alike(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    training = await upload(client, chat_rows(30))
    losses = []
    for _ in range(2):
        job = await client.fine_tuning.jobs.create(
            model="gpt-4.1", training_file=training.id, seed=7
        )
        emulator.advance(100_000)
        event = (await client.fine_tuning.jobs.list_events(job.id, limit=5)).data[-1]
        losses.append(event.data)
    assert losses[0] == losses[1]
    assert losses[0]
