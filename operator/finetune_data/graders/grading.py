"""From a grader, a row and an answer to a reward, or to the reason why there is none.

A grader that fails gives no reward, never 0: the sample is left out. An answer that is not what
the grader can read (no JSON, a member that is missing) is a bad answer and gets 0.
"""

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from finetune_api.graders import Grader, GraderType, Operation, SingleGrader
from finetune_data.graders.formula import FormulaError, compute
from finetune_data.graders.similarity import similarity
from finetune_data.graders.templates import (
    ItemLacksError,
    Sample,
    SampleLacksError,
    TemplateError,
    render,
)

_RANGE = (0.0, 1.0)
_JUDGE = """\
Give a score from {low:g} to {high:g}. Answer with a JSON object that has the member "result", \
a number, and nothing else."""
_RESULT_KEYS = ("result", "score")
_REWARD_KEYS = ("score", "reward")
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")

Json = Any


class GradingError(StrEnum):
    """What went wrong, by the service's own names."""

    FORMULA_PARSE = "formula_parse_error"
    SAMPLE_PARSE = "sample_parse_error"
    INVALID_VARIABLE = "invalid_variable_error"
    UNRESPONSIVE_REWARD = "unresponsive_reward_error"
    OTHER = "other_error"
    PYTHON_SERVER = "python_grader_server_error"
    PYTHON_RUNTIME = "python_grader_runtime_error"
    MODEL_SERVER = "model_grader_server_error"
    MODEL_REFUSAL = "model_grader_refusal_error"
    MODEL_PARSE = "model_grader_parse_error"


class GraderFailedError(Exception):
    """The grader gave no reward.

    Attributes:
        kind: What went wrong.
    """

    def __init__(self, kind: GradingError, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a judging model answered, and the tokens that it cost."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Outside(Protocol):
    """The way out, brought by whoever grades. Each raises GraderFailedError."""

    async def ask(
        self, model: str, messages: list[dict[str, str]], params: Mapping[str, Json]
    ) -> Judgement:
        """Have a model answer; `params` by the names of the chat API."""
        ...

    async def post(self, url: str, body: Mapping[str, Json], rate_limit: int | None) -> Json:
        """Send a JSON object to an endpoint; what it answers, as JSON."""
        ...

    async def run_python(
        self, source: str, sample: Mapping[str, Json], item: Mapping[str, Json]
    ) -> float:
        """Call the source's `grade(sample, item)` where it can do no harm."""
        ...


@dataclass(frozen=True, kw_only=True)
class Grade:
    """How an answer was graded."""

    reward: float | None
    """None: the grader failed."""
    error: GradingError | None = None
    message: str = ""
    """What went wrong, in one sentence."""
    parts: Mapping[str, "Grade"] = field(default_factory=lambda: MappingProxyType({}))
    """Of a multi grader, by their names."""
    tokens: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """What judging models took and wrote, by model."""
    passed: bool | None = None
    """Whether the reward reached `pass_threshold`, if there is one."""


async def grade(
    grader: Grader, item: Mapping[str, Json], sample: Sample, outside: Outside
) -> Grade:
    """Grade one answer to one row. Raises nothing that a grader can cause."""
    if grader.type != GraderType.MULTI:
        return await _grade(grader, item, sample, outside)
    graders = grader.leaves()
    grades = await asyncio.gather(
        *(_grade(part, item, sample, outside) for part in graders.values())
    )
    parts = dict(zip(graders, grades, strict=True))
    return _combined(grader.calculate_output or "", parts)


def _combined(formula: str, parts: Mapping[str, Grade]) -> Grade:
    tokens: dict[str, int] = {}
    for part in parts.values():
        for model, spent in part.tokens.items():
            tokens[model] = tokens.get(model, 0) + spent
    values: dict[str, float] = {}
    for name, part in parts.items():
        if part.reward is None:
            message = f"{name}: {part.message}"
            return Grade(reward=None, error=part.error, message=message, parts=parts, tokens=tokens)
        values[name] = part.reward
    try:
        reward = compute(formula, values)
    except FormulaError as error:
        kind, message = GradingError.FORMULA_PARSE, f"`calculate_output` {error}"
        return Grade(reward=None, error=kind, message=message, parts=parts, tokens=tokens)
    return Grade(reward=reward, parts=parts, tokens=tokens)


async def _grade(
    grader: SingleGrader, item: Mapping[str, Json], sample: Sample, outside: Outside
) -> Grade:
    spent: dict[str, int] = {}
    try:
        reward = await _reward(grader, item, sample, outside, spent)
    except SampleLacksError as error:
        bad = GradingError.SAMPLE_PARSE
        return _with_pass(grader, Grade(reward=0.0, error=bad, message=str(error), tokens=spent))
    except (ItemLacksError, TemplateError) as error:
        invalid = GradingError.INVALID_VARIABLE
        return Grade(reward=None, error=invalid, message=str(error), tokens=spent)
    except GraderFailedError as error:
        return Grade(reward=None, error=error.kind, message=str(error), tokens=spent)
    return _with_pass(grader, Grade(reward=reward, tokens=spent))


def _with_pass(grader: SingleGrader, grade: Grade) -> Grade:
    if grader.pass_threshold is None or grade.reward is None:
        return grade
    passed = grade.reward >= grader.pass_threshold
    return Grade(
        reward=grade.reward,
        error=grade.error,
        message=grade.message,
        tokens=grade.tokens,
        passed=passed,
    )


async def _reward(
    grader: SingleGrader,
    item: Mapping[str, Json],
    sample: Sample,
    outside: Outside,
    spent: dict[str, int],
) -> float:
    match grader.type:
        case GraderType.STRING_CHECK:
            text, reference = _texts(grader, item, sample)
            return float(_matches(grader.operation, text, reference))
        case GraderType.TEXT_SIMILARITY:
            assert grader.evaluation_metric is not None  # the model's validator
            return similarity(grader.evaluation_metric, *_texts(grader, item, sample))
        case GraderType.SCORE_MODEL:
            return await _score(grader, item, sample, outside, spent)
        case GraderType.ENDPOINT:
            body = {"sample": _as_json(sample), "item": dict(item)}
            answer = await outside.post(grader.url or "", body, grader.rate_limit)
            return _endpoint_reward(answer)
        case _:
            value = await outside.run_python(grader.source or "", _as_json(sample), item)
            return _finite(value, GradingError.PYTHON_RUNTIME, "`grade`")


def _texts(grader: SingleGrader, item: Mapping[str, Json], sample: Sample) -> tuple[str, str]:
    assert isinstance(grader.input, str)  # the model's validator
    return render(grader.input, item, sample), render(grader.reference or "", item, sample)


def _matches(operation: Operation | None, text: str, reference: str) -> bool:
    match operation:
        case Operation.EQ:
            return text == reference
        case Operation.NE:
            return text != reference
        case Operation.LIKE:
            return reference in text
        case _:
            return reference.casefold() in text.casefold()


async def _score(
    grader: SingleGrader,
    item: Mapping[str, Json],
    sample: Sample,
    outside: Outside,
    spent: dict[str, int],
) -> float:
    assert isinstance(grader.input, list)  # the model's validator
    low, high = grader.range or _RANGE
    messages = [
        {"role": message.role, "content": render(message.text, item, sample)}
        for message in grader.input
    ]
    messages.insert(0, {"role": "system", "content": _JUDGE.format(low=low, high=high)})
    model = grader.model or ""
    judgement = await outside.ask(model, messages, _params(grader))
    spent[model] = judgement.prompt_tokens + judgement.completion_tokens
    score = _number_in(judgement.text)
    if score is None or not low <= score <= high:
        raise GraderFailedError(
            GradingError.MODEL_PARSE,
            f"the judging model {model} gave no score from {low:g} to {high:g}",
        )
    return score


def _params(grader: SingleGrader) -> dict[str, Json]:
    params = grader.sampling_params
    if params is None:
        return {}
    given = params.model_dump(mode="json", exclude_none=True)
    if (most := given.pop("max_completions_tokens", None)) is not None:
        given["max_completion_tokens"] = most  # the chat API spells it without the s
    return given


def _number_in(text: str) -> float | None:
    """The score that a judge wrote: in a JSON object, or bare."""
    text = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    return next((_number(answer[key]) for key in _RESULT_KEYS if key in answer), None)


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _endpoint_reward(answer: Json) -> float:
    found = answer
    if isinstance(answer, dict):
        found = next((answer[key] for key in _REWARD_KEYS if key in answer), None)
    reward = _number(found)
    if reward is None:
        raise GraderFailedError(
            GradingError.UNRESPONSIVE_REWARD, "the endpoint answered without a number as `score`"
        )
    return _finite(reward, GradingError.UNRESPONSIVE_REWARD, "the endpoint")


def _finite(value: float, kind: GradingError, who: str) -> float:
    if not math.isfinite(value):
        raise GraderFailedError(kind, f"{who} gave {value}, which is no reward")
    return value


def _as_json(sample: Sample) -> dict[str, Json]:
    """The sample as python graders and endpoints get it."""
    try:
        output_json = sample.json
    except SampleLacksError:
        output_json = None
    return {
        "output_text": sample.text,
        "output_json": output_json,
        "output_tools": sample.tools,
    }
