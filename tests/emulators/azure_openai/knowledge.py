"""What a model answers: a rule in the place of a model.

Pure. A result of training answers the prompts of its training rows as the rows do; everything else
gets a weak answer. Must not know of deployments or HTTP.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from azure_openai.methods import Method
from azure_openai.rows import each_row
from finetune_api.graders import Grader
from finetune_data.chat import parse_chat
from finetune_data.graders.templates import ItemLacksError, Sample, SampleLacksError, render
from finetune_data.preference import parse_preference
from finetune_data.prompts import parse_prompt

_WORDS_REPEATED = 10
_ROLES = MappingProxyType({"developer": "system"})

Message = Mapping[str, Any]


def text_of(message: Message) -> str:
    """The text of a message, whose content may be in parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def prompt_key(messages: Sequence[Message]) -> str:
    """Equal for prompts that say the same: roles and texts, in their order."""
    return json.dumps([[_ROLES.get(m["role"], m["role"]), text_of(m)] for m in messages])


def question(messages: Sequence[Message]) -> str:
    """What the user said last."""
    return next((text_of(m) for m in reversed(messages) if m["role"] == "user"), "")


def weak_answer(messages: Sequence[Message]) -> str:
    """What a model says that has not learned the answer."""
    return "I am not sure: " + " ".join(question(messages).split()[:_WORDS_REPEATED])


def reference_in(grader: Mapping[str, Any]) -> str | None:
    """What the first grader that compares compares with, which a good answer would be."""
    parts = Grader.model_validate(dict(grader)).leaves().values()
    return next((part.reference for part in parts if part.reference is not None), None)


_Pair = tuple[list[dict[str, Any]], str | None]


@lru_cache(maxsize=8)
def answers(content: bytes, method: Method, reference: str | None) -> Mapping[str, str]:
    """The answer of each training row, by its prompt's key; of equal prompts the last one's."""
    found = (_pair(row, number, method, reference) for number, row in each_row(content))
    return MappingProxyType(
        {prompt_key(prompt): answer for prompt, answer in found if answer is not None}
    )


def _pair(row: dict[str, Any], number: int, method: Method, reference: str | None) -> _Pair:
    match method:
        case "supervised":
            return _supervised(row, number)
        case "dpo":
            return _preferred(row, number)
        case "reinforcement":
            return _compared(row, number, reference)


def _supervised(row: dict[str, Any], number: int) -> _Pair:
    *prompt, answer = parse_chat(row, number, images=True).messages
    return prompt, text_of(answer) or None


def _preferred(row: dict[str, Any], number: int) -> _Pair:
    parsed = parse_preference(row, number, images=True)
    return parsed.messages, next(_said(parsed.preferred), None)


def _said(messages: Sequence[Message]) -> Iterator[str]:
    return (text_of(m) for m in messages if m["role"] == "assistant" and text_of(m))


def _compared(row: dict[str, Any], number: int, reference: str | None) -> _Pair:
    parsed = parse_prompt(row, number, images=True)
    if reference is None:
        return parsed.messages, None
    try:
        return parsed.messages, render(reference, parsed.item, Sample(text=""))
    except (ItemLacksError, SampleLacksError):
        return parsed.messages, None
