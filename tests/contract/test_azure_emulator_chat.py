"""Deployed models at the emulator: what they answer, and the answers that are kept."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from support.azure_account import MODEL, chat_rows, dated_client, project_client, upload, v1_client
from support.azure_rows import EXACT, submit_dpo, submit_reinforcement
from support.emulator import Emulator
from support.emulator_control import ControlError

FOREVER = 10_000_000
WEAK = "I am not sure: "


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("azure")
    with Emulator(folder, speed=0, options=["--pending-polls=0"]) as emulator:
        yield emulator


@pytest.fixture
async def dated(emulator: Emulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with dated_client(emulator) as client:
        yield client


async def ask(client: openai.AsyncOpenAI, text: str, **more: Any) -> Any:
    more.setdefault("messages", [{"role": "user", "content": text}])
    return await client.chat.completions.create(**{"model": "mine", **more})


async def said(client: openai.AsyncOpenAI, text: str, **more: Any) -> str:
    return str((await ask(client, text, **more)).choices[0].message.content)


async def deploy_result(emulator: Emulator, client: openai.AsyncOpenAI, job_id: str) -> str:
    """Wait for a job and deploy what it made."""
    emulator.advance(FOREVER)
    model = (await client.fine_tuning.jobs.retrieve(job_id)).fine_tuned_model
    assert model is not None
    emulator.deploy("mine", model)
    return model


async def submit_chat(client: openai.AsyncOpenAI, rows: bytes, model: str = MODEL) -> str:
    training = await upload(client, rows)
    return (await client.fine_tuning.jobs.create(model=model, training_file=training.id)).id


class TestAnswers:
    async def test_a_base_model_answers_weakly(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        emulator.deploy("mine", "gpt-4.1")
        reply = await ask(client, "How many? (3)")
        assert reply.choices[0].message.content == f"{WEAK}How many? (3)"
        assert reply.choices[0].finish_reason == "stop"
        assert reply.model == "gpt-4.1-2025-04-14"
        assert reply.usage.prompt_tokens == 4 + 4
        assert reply.usage.completion_tokens == 7
        assert reply.usage.total_tokens == 15

    async def test_a_teacher_says_what_a_test_has_told_it(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        emulator.deploy("mine", "gpt-4.1", {"How many?": "Three."})
        assert await said(client, "How many?") == "Three."
        assert await said(client, "How much?") == f"{WEAK}How much?"

    async def test_a_fine_tuned_model_answers_as_its_rows_do(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        job_id = await submit_chat(client, chat_rows(10))
        model = await deploy_result(emulator, client, job_id)
        for file in (await client.files.list(purpose="fine-tune")).data:
            await client.files.delete(file.id)
        assert (await ask(client, "How many? (3)")).model == model
        assert await said(client, "How many? (3)") == "3 of them."
        assert (await said(client, "How many? (11)")).startswith(WEAK)

    @pytest.mark.parametrize(
        ("messages", "want"),
        [
            pytest.param(
                [{"role": "user", "content": [{"type": "text", "text": "How many? (3)"}]}],
                "3 of them.",
                id="the same text in parts",
            ),
            pytest.param(
                [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "How many? (3)"},
                ],
                f"{WEAK}How many? (3)",
                id="another system prompt",
            ),
        ],
    )
    async def test_only_the_same_prompt_is_known(
        self, emulator: Emulator, client: openai.AsyncOpenAI, messages: Any, want: str
    ) -> None:
        await deploy_result(emulator, client, await submit_chat(client, chat_rows(10)))
        assert await said(client, "", messages=messages) == want

    async def test_preferred_answers_are_learned(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        await deploy_result(emulator, client, (await submit_dpo(client)).id)
        assert await said(client, "How many? (3)") == "3 of them."

    async def test_what_a_grader_compares_with_is_learned(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        grader = {**EXACT, "reference": "= {{item.answer}}"}
        job = await submit_reinforcement(client, grader=grader)
        await deploy_result(emulator, client, job.id)
        assert await said(client, "How many? (3)") == "= 3"

    async def test_what_was_learned_before_is_not_forgotten(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        model = await deploy_result(emulator, client, await submit_chat(client, chat_rows(10)))
        more = chat_rows(10, text="How much?")
        await deploy_result(emulator, client, await submit_chat(client, more, model))
        assert await said(client, "How many? (3)") == "3 of them."
        assert await said(client, "How much? (3)") == "3 of them."

    async def test_length_and_count(self, emulator: Emulator, client: openai.AsyncOpenAI) -> None:
        emulator.deploy("mine", "gpt-4.1", {"?": "12345678"})
        reply = await ask(client, "?", max_completion_tokens=1, n=3)
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        assert {choice.message.content for choice in reply.choices} == {"1234"}
        assert {choice.finish_reason for choice in reply.choices} == {"length"}
        assert reply.usage.completion_tokens == 3


class TestDoors:
    async def test_each_surface_answers(
        self, emulator: Emulator, dated: openai.AsyncOpenAI
    ) -> None:
        emulator.deploy("mine", "gpt-4.1", {"?": "Yes."})
        assert await said(dated, "?") == "Yes."
        async with project_client(emulator, "p") as project:
            assert await said(project, "?") == "Yes."

    @pytest.mark.parametrize("surface", ["v1", "dated"])
    async def test_what_is_not_deployed(self, emulator: Emulator, surface: str) -> None:
        make = {"v1": v1_client, "dated": dated_client}[surface]
        async with make(emulator) as client:
            with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
                await ask(client, "?", model=MODEL)
        assert refused.value.code == "DeploymentNotFound"

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"messages": []}, id="no messages"),
            pytest.param({"messages": [{"role": "me", "content": "?"}]}, id="a strange role"),
            pytest.param({"stream": True}, id="streams are not emulated"),
            pytest.param({"metadata": {"k" * 65: "v"}}, id="a long key"),
        ],
    )
    async def test_refusals(
        self, emulator: Emulator, client: openai.AsyncOpenAI, change: dict[str, Any]
    ) -> None:
        emulator.deploy("mine", "gpt-4.1")
        with pytest.raises(openai.BadRequestError):
            await ask(client, "?", **change)

    async def test_only_models_that_this_account_has_made_are_deployed(
        self, emulator: Emulator
    ) -> None:
        with pytest.raises(ControlError, match="was not found"):
            emulator.deploy("mine", f"{MODEL}.ft-{'0' * 32}")


class TestStored:
    @pytest.fixture
    async def kept(self, emulator: Emulator, client: openai.AsyncOpenAI) -> list[str]:
        """Ids of four answers that were kept, oldest first, after one that was not."""
        emulator.deploy("mine", "gpt-4.1", {"?": "Yes."})
        emulator.deploy("small", "gpt-4.1-nano")
        await ask(client, "?", metadata={"set": "a"})
        asked: list[dict[str, Any]] = [
            {"metadata": {"set": "a", "part": "1"}},
            {"metadata": {"set": "a", "part": "2"}},
            {"metadata": {"set": "b"}},
            {"model": "small"},
        ]
        return [(await ask(client, "?", store=True, **more)).id for more in asked]

    @pytest.mark.parametrize(
        ("query", "want"),
        [
            pytest.param({}, [0, 1, 2, 3], id="all"),
            pytest.param({"order": "desc"}, [3, 2, 1, 0], id="newest first"),
            pytest.param({"model": "gpt-4.1-2025-04-14"}, [0, 1, 2], id="of a model"),
            pytest.param({"metadata": {"set": "a"}}, [0, 1], id="with metadata"),
            pytest.param({"metadata": {"set": "a", "part": "2"}}, [1], id="with two of them"),
            pytest.param({"metadata": {"set": "c"}}, [], id="with metadata of nobody"),
        ],
    )
    async def test_lists(
        self, dated: openai.AsyncOpenAI, kept: list[str], query: dict[str, Any], want: list[int]
    ) -> None:
        for limit in (1, 20):
            pages = dated.chat.completions.list(**query, limit=limit)
            assert [stored.id async for stored in pages] == [kept[index] for index in want]

    async def test_one_with_its_messages(self, dated: openai.AsyncOpenAI, kept: list[str]) -> None:
        stored = await dated.chat.completions.retrieve(kept[1])
        assert stored.choices[0].message.content == "Yes."
        assert stored.metadata == {"set": "a", "part": "2"}  # type: ignore[attr-defined]
        [message] = (await dated.chat.completions.messages.list(kept[1])).data
        assert (message.id, message.role, message.content) == (f"{kept[1]}-0", "user", "?")

    async def test_messages_come_in_pages_and_parts_are_kept(
        self, emulator: Emulator, client: openai.AsyncOpenAI, dated: openai.AsyncOpenAI
    ) -> None:
        emulator.deploy("mine", "gpt-4.1")
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]
        reply = await ask(client, "", messages=messages, store=True)
        pages = dated.chat.completions.messages.list(reply.id, limit=1)
        found = [message.to_dict() async for message in pages]
        assert [(message["content"], message["content_parts"]) for message in found] == [
            ("s", None),
            ("ab", parts),
        ]

    async def test_metadata_can_be_changed(
        self, dated: openai.AsyncOpenAI, kept: list[str]
    ) -> None:
        await dated.chat.completions.update(kept[3], metadata={"set": "c"})
        found = (await dated.chat.completions.list(metadata={"set": "c"})).data
        assert [stored.id for stored in found] == [kept[3]]

    async def test_deletion(self, dated: openai.AsyncOpenAI, kept: list[str]) -> None:
        assert (await dated.chat.completions.delete(kept[0])).deleted
        with pytest.raises(openai.NotFoundError):
            await dated.chat.completions.retrieve(kept[0])
        with pytest.raises(openai.NotFoundError):
            await dated.chat.completions.messages.list(kept[0])

    async def test_v1_does_not_list_them(self, client: openai.AsyncOpenAI, kept: list[str]) -> None:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.list()
        assert refused.value.status_code == 405
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.retrieve(kept[0])
