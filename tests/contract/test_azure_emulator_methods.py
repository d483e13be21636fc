"""Methods of training at the emulator: what each takes, how each fails, and what each tells."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from support.azure_account import MODEL, chat_rows, dated_client, submit, upload
from support.azure_rows import (
    EXACT,
    REASONING_MODEL,
    jsonl,
    preference_row,
    prompt_row,
    submit_dpo,
    submit_reinforcement,
)
from support.emulator import Emulator

GRADED = {"grader": EXACT}
FOREVER = 10_000_000
TWO_GRADERS = {
    "type": "multi",
    "name": "both",
    "graders": {"exact": EXACT, "short": {**EXACT, "name": "short", "operation": "like"}},
    "calculate_output": "0.5 * exact + 0.5 * short",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    options = ["--pending-polls=0", "--queue-seconds=100", "--step-seconds=10"]
    folder = tmp_path_factory.mktemp("azure")
    with Emulator(folder, speed=0, options=options) as emulator:
        yield emulator


async def as_sent(client: openai.AsyncOpenAI, path: str) -> Any:
    return (await client.get(path, cast_to=httpx2.Response)).json()


async def results(client: openai.AsyncOpenAI, job_id: str) -> list[dict[str, str]]:
    job = await client.fine_tuning.jobs.retrieve(job_id)
    text = (await client.files.content(job.result_files[0])).text
    return list(csv.DictReader(io.StringIO(text)))


class TestPreference:
    async def test_hyperparameters_are_open_until_it_runs(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit_dpo(client, beta=0.5, l2_multiplier=0.2)
        path = f"/fine_tuning/jobs/{job.id}"
        common = {"batch_size": -1, "learning_rate_multiplier": -1, "n_epochs": -1}
        own = {"beta": 0.5, "l2_multiplier": 0.2}
        shown = await as_sent(client, path)
        assert shown["hyperparameters"] == common
        assert shown["method"] == {"type": "dpo", "dpo": {"hyperparameters": {**common, **own}}}

        emulator.advance(100)
        shown = await as_sent(client, path)
        found = shown["method"]["dpo"]["hyperparameters"]
        assert found == {"batch_size": 1, "learning_rate_multiplier": 1.0, "n_epochs": 3, **own}

    async def test_what_nobody_asked_for_is_automatic_or_not_shown(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit_dpo(client)
        path = f"/fine_tuning/jobs/{job.id}"
        before = (await as_sent(client, path))["method"]["dpo"]["hyperparameters"]
        emulator.advance(100)
        after = (await as_sent(client, path))["method"]["dpo"]["hyperparameters"]
        assert (before["beta"], after["beta"]) == (-1, 0.1)
        assert "l2_multiplier" not in after

    async def test_it_tells_the_losses_that_supervised_training_tells(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit_dpo(client)
        emulator.advance(FOREVER)
        rows = await results(client, job.id)
        assert float(rows[0]["train_loss"]) == pytest.approx(0.69, abs=0.1)
        assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
        events = (await client.fine_tuning.jobs.list_events(job.id)).data
        assert events[-3].message.startswith("Step 10: training loss=0.")


class TestReinforcement:
    async def test_the_method_is_echoed_whole(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
        response_format = {"type": "json_schema", "json_schema": schema}
        job = await submit_reinforcement(
            client,
            hyperparameters={"reasoning_effort": "low", "compute_multiplier": "auto"},
            response_format=response_format,
        )
        path = f"/fine_tuning/jobs/{job.id}"
        method = (await as_sent(client, path))["method"]["reinforcement"]
        assert method["grader"] == EXACT
        assert method["response_format"] == response_format
        automatic = dict.fromkeys(
            ("batch_size", "compute_multiplier", "eval_interval", "eval_samples"), -1
        )
        automatic |= {"learning_rate_multiplier": -1, "n_epochs": -1}
        assert method["hyperparameters"] == {**automatic, "reasoning_effort": "low"}

        emulator.advance(100)
        method = (await as_sent(client, path))["method"]["reinforcement"]
        assert method["hyperparameters"] == {
            "batch_size": 1,
            "compute_multiplier": 1.0,
            "eval_interval": 5,
            "eval_samples": 1,
            "learning_rate_multiplier": 1.0,
            "n_epochs": 3,
            "reasoning_effort": "low",
        }

    async def test_it_tells_rewards(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        job = await submit_reinforcement(client, grader=TWO_GRADERS)
        emulator.advance(FOREVER)
        events = (await client.fine_tuning.jobs.list_events(job.id)).data
        assert [event.message.split(":")[0] for event in events[:4]] == [
            "Completed results file",
            "Model Evaluation Passed.",
            "Job succeeded.",
            "Step 60",
        ]
        data: Any = events[3].data
        assert set(data["scores"]) == {"train_reward_mean", "valid_reward_mean", "graders"}
        assert set(data["scores"]["graders"]) == {"exact", "short"}
        assert set(data["usage"]["samples"]) == {
            "train_reasoning_tokens_mean",
            "valid_reasoning_tokens_mean",
        }
        assert data["errors"] == {"graders": {"exact": 0, "short": 0}}

        rows = await results(client, job.id)
        assert float(rows[-1]["train_mean_reward"]) == data["scores"]["train_reward_mean"]
        assert float(rows[-1]["train_mean_reward"]) > float(rows[0]["train_mean_reward"])
        validated = [int(row["step"]) for row in rows if row["full_valid_mean_reward"]]
        assert validated == list(range(5, 61, 5))

        [last, *_] = (await as_sent(client, f"/fine_tuning/jobs/{job.id}/checkpoints"))["data"]
        assert last["metrics"]["full_valid_mean_reward"] == data["scores"]["valid_reward_mean"]

    @pytest.mark.parametrize(
        ("method", "want"),
        [
            pytest.param({}, "needs a grader", id="no options at all"),
            pytest.param({"reinforcement": {}}, "grader", id="no grader"),
            pytest.param(
                {"reinforcement": {"grader": {**EXACT, "operation": "is"}}},
                "grader is not valid",
                id="an operation that there is not",
            ),
            pytest.param(
                {"reinforcement": {"grader": {**EXACT, "reference": "{{answer}}"}}},
                "begin with `item.`",
                id="a placeholder that names nothing",
            ),
            pytest.param(
                {"reinforcement": {"grader": EXACT, "response_format": {"type": "text"}}},
                "response_format",
                id="a response format without a schema",
            ),
            pytest.param(
                {
                    "reinforcement": {
                        "grader": EXACT,
                        "hyperparameters": {"compute_multiplier": 0},
                    }
                },
                "compute_multiplier",
                id="a hyperparameter out of range",
            ),
        ],
    )
    async def test_refusals(self, client: openai.AsyncOpenAI, method: Any, want: str) -> None:
        file = await upload(client, jsonl(prompt_row(number) for number in range(10)))
        method = {"type": "reinforcement", **method}
        with pytest.raises(openai.BadRequestError, match=want) as refused:
            await client.fine_tuning.jobs.create(
                model=REASONING_MODEL,
                training_file=file.id,
                validation_file=file.id,
                method=method,
            )
        assert refused.value.code == "invalidPayload"

    async def test_it_needs_a_validation_file(self, client: openai.AsyncOpenAI) -> None:
        file = await upload(client, jsonl(prompt_row(number) for number in range(10)))
        method: Any = {"type": "reinforcement", "reinforcement": GRADED}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.fine_tuning.jobs.create(
                model=REASONING_MODEL, training_file=file.id, method=method
            )
        assert refused.value.param == "validation_file"


PREFERENCES = [preference_row(number) for number in range(10)]
PROMPTS = [prompt_row(number) for number in range(10)]
ANSWERED = {"role": "assistant", "content": "42"}


class TestRows:
    """Rows that a method cannot use fail the job before its training, and are told by line."""

    @pytest.mark.parametrize(
        ("row", "want"),
        [
            pytest.param(PROMPTS[0], "`input`", id="a row of another method"),
            pytest.param(
                {**PREFERENCES[0], "preferred_output": []}, "at least one message", id="no answer"
            ),
            pytest.param(
                {**PREFERENCES[0], "non_preferred_output": PREFERENCES[0]["preferred_output"]},
                "the same",
                id="two equal answers",
            ),
        ],
    )
    async def test_preference(
        self, emulator: Emulator, client: openai.AsyncOpenAI, row: Any, want: str
    ) -> None:
        job = await submit_dpo(client, [*PREFERENCES, row])
        await self.fails(emulator, client, job.id, "line 11: ", want)

    @pytest.mark.parametrize(
        ("row", "want"),
        [
            pytest.param({"messages": PROMPTS[0]["messages"]}, "item.answer", id="no item"),
            pytest.param(
                {**PROMPTS[0], "messages": [*PROMPTS[0]["messages"], ANSWERED]},
                "must be the user's",
                id="an answer at the end",
            ),
        ],
    )
    async def test_reinforcement(
        self, emulator: Emulator, client: openai.AsyncOpenAI, row: Any, want: str
    ) -> None:
        job = await submit_reinforcement(client, rows=[*PROMPTS, row])
        await self.fails(emulator, client, job.id, "line 11: ", want)

    async def test_validation_rows_count_too(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job = await submit_reinforcement(client, validation=chat_rows(10))
        await self.fails(emulator, client, job.id, "line 1: ", "must be the user's")

    @staticmethod
    async def fails(
        emulator: Emulator, client: openai.AsyncOpenAI, job_id: str, line: str, want: str
    ) -> None:
        assert (await client.fine_tuning.jobs.retrieve(job_id)).status == "pending"
        emulator.advance(100)
        job = await client.fine_tuning.jobs.retrieve(job_id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error.code == "jsonlValidationFailed"
        assert job.error.message.startswith(f"Validation of jsonl file failed: {line}")
        assert want in job.error.message


class TestModels:
    @pytest.mark.parametrize(
        ("model", "method", "training_type", "want"),
        [
            pytest.param("gpt-4.1-nano", "dpo", None, None, id="preferences"),
            pytest.param("gpt-4o-mini", "dpo", None, "", id="a model without preferences"),
            pytest.param("o4-mini", "reinforcement", None, None, id="a model that reasons"),
            pytest.param("o4-mini", "supervised", None, "", id="a model that only reasons"),
            pytest.param("gpt-4.1", "reinforcement", None, "", id="a model that does not reason"),
            pytest.param("gpt-5", "reinforcement", "GlobalStandard", None, id="by invitation"),
            pytest.param(
                "gpt-5",
                "reinforcement",
                "developerTier",
                " with DeveloperTier TrainingType",
                id="not at the developer tier",
            ),
            pytest.param("Ministral-3B", "supervised", "globalstandard", None, id="open, global"),
            pytest.param(
                "Ministral-3B",
                "supervised",
                None,
                " with Standard TrainingType",
                id="open, and no type said",
            ),
            pytest.param("gpt-oss-120b", "reinforcement", "developerTier", None, id="open, graded"),
        ],
    )
    async def test_methods_and_types(
        self,
        client: openai.AsyncOpenAI,
        model: str,
        method: Any,
        training_type: str | None,
        want: str | None,
    ) -> None:
        file = await upload(client, chat_rows(10))
        options: Any = {method: GRADED if method == "reinforcement" else {}}
        request: Any = {
            "model": model,
            "training_file": file.id,
            "validation_file": file.id,
            "method": {"type": method, **options},
            "extra_body": {} if training_type is None else {"trainingType": training_type},
        }
        if want is None:
            job = await client.fine_tuning.jobs.create(**request)
            assert job.model.startswith(model)
            return
        with pytest.raises(openai.BadRequestError) as refused:
            await client.fine_tuning.jobs.create(**request)
        body: Any = refused.value.body
        assert body["message"] == (f"The specified base model does not support fine-tuning{want}.")

    async def test_training_goes_on_from_results_and_checkpoints(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        first = await submit(client, suffix="one")
        emulator.advance(FOREVER)
        found = (await client.fine_tuning.jobs.checkpoints.list(first.id)).data
        names = [checkpoint.fine_tuned_model_checkpoint for checkpoint in found]
        assert len(names) == 2
        for name in names:
            job = await submit(client, model=name, suffix="two")
            assert job.model == name
            emulator.advance(FOREVER)
            job = await client.fine_tuning.jobs.retrieve(job.id)
            hexadecimal = job.id.removeprefix("ftjob-")
            assert job.fine_tuned_model == f"{MODEL}.ft-{hexadecimal}-two"

    async def test_a_model_outlives_its_job(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        first = await submit(client)
        emulator.advance(FOREVER)
        name = (await client.fine_tuning.jobs.retrieve(first.id)).fine_tuned_model
        async with dated_client(emulator) as dated:
            await dated.delete(f"/fine_tuning/jobs/{first.id}", cast_to=object)
        assert (await submit(client, model=name)).model == name

    @pytest.mark.parametrize(
        ("base", "seconds", "ending"),
        [
            pytest.param({}, 0, "", id="a model that is not there yet"),
            pytest.param({}, FOREVER, ":ckpt-step-7", id="a checkpoint that never was"),
            pytest.param(
                {"model": "Qwen3-32B", "extra_body": {"trainingType": "globalStandard"}},
                FOREVER,
                "",
                id="a result of an open model",
            ),
        ],
    )
    async def test_what_training_cannot_go_on_from(
        self,
        emulator: Emulator,
        client: openai.AsyncOpenAI,
        base: dict[str, Any],
        seconds: int,
        ending: str,
    ) -> None:
        job = await submit(client, **base)
        emulator.advance(seconds)
        name = f"{job.model}.ft-{job.id.removeprefix('ftjob-')}{ending}"
        with pytest.raises(openai.BadRequestError, match="does not support fine-tuning"):
            await submit(client, **{**base, "model": name})
