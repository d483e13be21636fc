"""The operations that try a grader out before a job depends on it.

Must not grade by itself: the project's one implementation does.
"""

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from azure_openai import catalogue
from azure_openai.context import CONTEXT
from azure_openai.errors import invalid_body
from azure_openai.graders import endpoint_headers, normalised, read_grader
from azure_openai.outside import Reach
from finetune_api.graders import Grader, GraderType
from finetune_data.graders.grading import Grade, GradingError, grade
from finetune_data.graders.templates import Sample

_TRUNCATED = "truncated_observation_error"
_EXPLAINED = {
    GradingError.PYTHON_SERVER: "python_grader_server_error_type",
    GradingError.PYTHON_RUNTIME: "python_grader_runtime_error_details",
    GradingError.MODEL_SERVER: "model_grader_server_error_details",
}


class _ValidateRequest(BaseModel):
    grader: dict[str, Any]


class _RunRequest(_ValidateRequest):
    model_sample: str
    item: dict[str, Any] = Field(default_factory=dict)


async def validate(request: web.Request) -> web.Response:
    """POST /fine_tuning/alpha/graders/validate: the grader as the service has understood it."""
    try:
        sent = _ValidateRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    grader = read_grader(sent.grader, "grader")
    return web.json_response({"grader": normalised(grader, sent.grader)})


async def run(request: web.Request) -> web.Response:
    """POST /fine_tuning/alpha/graders/run: one sample's grade; a grader's failure is no error."""
    context = request.app[CONTEXT]
    try:
        sent = _RunRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    grader = read_grader(sent.grader, "grader")
    reach = Reach(
        answer=sent.model_sample,
        item=sent.item,
        python_seconds=context.settings.python_grader_seconds,
        endpoint_ca=context.endpoint_ca,
        headers=endpoint_headers(sent.grader),
    )
    began = time.monotonic()
    found = await grade(grader, sent.item, Sample(text=sent.model_sample), reach)
    return web.json_response(_graded(grader, found, time.monotonic() - began))


def _graded(grader: Grader, found: Grade, seconds: float) -> dict[str, Any]:
    parts = {name: part.reward for name, part in found.parts.items() if part.reward is not None}
    spent = {catalogue.judge_name(model): tokens for model, tokens in found.tokens.items()}
    judged = grader.type == GraderType.SCORE_MODEL
    return {
        "reward": 0.0 if found.reward is None else found.reward,
        "metadata": {
            "name": grader.name,
            "type": grader.type,
            "errors": _errors([found, *found.parts.values()]),
            "execution_time": seconds,
            "scores": parts,
            "token_usage": sum(spent.values()) if spent else None,
            "sampled_model_name": catalogue.judge_name(grader.model or "") if judged else None,
        },
        "sub_rewards": parts,
        "model_grader_token_usage_per_model": spent,
    }


def _errors(grades: list[Grade]) -> Mapping[str, bool | str | None]:
    """Every kind of failure by its name, and what is known of those that are explained."""
    met = {found.error: found.message for found in reversed(grades) if found.error is not None}
    flags: dict[str, bool | str | None] = {kind.value: kind in met for kind in GradingError}
    explained = {name: met.get(kind) for kind, name in _EXPLAINED.items()}
    return {_TRUNCATED: False, **flags, **explained}
