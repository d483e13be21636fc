"""Chat completions of deployed models, and those that a client wanted to be kept.

Must not know how an answer comes about.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError, field_validator

from azure_openai import knowledge, models, rows
from azure_openai.context import CONTEXT, Context
from azure_openai.errors import ServiceError, invalid_body, missing
from azure_openai.lifecycle import Job
from azure_openai.paging import read_page
from azure_openai.store import Deployment, StoredCompletion, StoredMessage, page

_OVERHEAD_PER_MESSAGE = 4
_CHARACTERS_PER_TOKEN = 4
_MAXIMUM_PAGE = 100
_METADATA = re.compile(r"metadata\[(.+)\]")
_HARMS = ("hate", "self_harm", "sexual", "violence")
_SAFE = {harm: {"filtered": False, "severity": "safe"} for harm in _HARMS}
_NO_DEPLOYMENT = (
    "The API deployment for this resource does not exist. If you created the deployment within "
    "the last 5 minutes, please wait a moment and try again."
)

Json = dict[str, Any]


class _MetadataRequest(BaseModel):
    metadata: dict[str, str] | None = Field(default=None, max_length=16)

    @field_validator("metadata")
    @classmethod
    def _short(cls, pairs: dict[str, str] | None) -> dict[str, str] | None:
        for key, value in (pairs or {}).items():
            if len(key) > 64 or len(value) > 512:
                raise ValueError("a key may have 64 and a value 512 characters")
        return pairs


class _Message(BaseModel, extra="allow"):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None


class _ChatRequest(_MetadataRequest):
    model: str = ""
    messages: list[_Message] = Field(min_length=1)
    n: int = Field(default=1, ge=1, le=128)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    store: bool | None = None
    stream: Literal[False] | None = None


async def complete(request: web.Request) -> web.Response:
    """POST chat/completions; the deployment is in the path (dated) or the body (v1)."""
    context = request.app[CONTEXT]
    try:
        sent = _ChatRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    deployment = context.store.deployments.get(request.match_info.get("deployment", sent.model))
    if deployment is None:
        raise ServiceError(404, "DeploymentNotFound", _NO_DEPLOYMENT)
    messages = [message.model_dump(exclude_unset=True) for message in sent.messages]
    answer = _answer(deployment, messages, context)
    body = _completion(deployment, messages, answer, sent, int(context.clock.now()))
    if sent.store:
        context.store.completions[body["id"]] = StoredCompletion(
            id=body["id"], body=body, messages=messages, metadata=sent.metadata or {}
        )
    return web.json_response(body)


async def list_stored(request: web.Request) -> web.Response:
    """GET /chat/completions: what was kept, oldest first unless asked otherwise."""
    wanted = read_page(request, default=20, maximum=_MAXIMUM_PAGE)
    asked_for = {
        found[1]: value
        for key, value in request.query.items()
        if (found := _METADATA.fullmatch(key))
    }
    kept = [
        stored
        for stored in request.app[CONTEXT].store.completions.values()
        if request.query.get("model", stored.body["model"]) == stored.body["model"]
        and asked_for.items() <= stored.metadata.items()
    ]
    if request.query.get("order", "asc") == "desc":
        kept.reverse()
    try:
        shown, has_more = page(kept, after=wanted.after, limit=wanted.limit)
    except KeyError as error:
        raise missing(f"completion '{wanted.after}'") from error
    return _listed([_stored_json(stored) for stored in shown], has_more=has_more)


async def get_stored(request: web.Request) -> web.Response:
    """GET /chat/completions/{completion}."""
    return web.json_response(_stored_json(_find(request)))


async def list_messages(request: web.Request) -> web.Response:
    """GET /chat/completions/{completion}/messages: the prompt, first message first."""
    wanted, stored = read_page(request, default=20, maximum=_MAXIMUM_PAGE), _find(request)
    try:
        shown, has_more = page(stored.prompt(), after=wanted.after, limit=wanted.limit)
    except KeyError as error:
        raise missing(f"message '{wanted.after}'") from error
    return _listed([_message_json(message) for message in shown], has_more=has_more)


async def change_stored(request: web.Request) -> web.Response:
    """POST /chat/completions/{completion}: new metadata in the place of the old."""
    try:
        sent = _MetadataRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    stored = replace(_find(request), metadata=sent.metadata or {})
    request.app[CONTEXT].store.completions[stored.id] = stored
    return web.json_response(_stored_json(stored))


async def delete_stored(request: web.Request) -> web.Response:
    """DELETE /chat/completions/{completion}."""
    stored = _find(request)
    del request.app[CONTEXT].store.completions[stored.id]
    return web.json_response(
        {"id": stored.id, "object": "chat.completion.deleted", "deleted": True}
    )


def _answer(deployment: Deployment, messages: Sequence[Json], context: Context) -> str:
    told = deployment.answers.get(knowledge.question(messages))
    if told is not None:
        return told
    key, now = knowledge.prompt_key(messages), context.clock.now()
    job = models.maker(deployment.model, context.store, now)
    while job is not None:
        learned = _learned(job, context)
        if key in learned:
            return learned[key]
        job = models.maker(job.model, context.store, now)
    return knowledge.weak_answer(messages)


def _learned(job: Job, context: Context) -> Mapping[str, str]:
    own = job.reinforcement
    reference = None if own is None else knowledge.reference_in(own.grader)
    return knowledge.answers(context.store.lesson(job.id), job.course.method, reference)


def _completion(
    deployment: Deployment, messages: Sequence[Json], answer: str, sent: _ChatRequest, now: int
) -> Json:
    limit = sent.max_completion_tokens or sent.max_tokens
    said = answer if limit is None else answer[: limit * _CHARACTERS_PER_TOKEN]
    choice: Json = {
        "content_filter_results": _SAFE,
        "finish_reason": "stop" if said == answer else "length",
        "logprobs": None,
        "message": {"annotations": [], "content": said, "refusal": None, "role": "assistant"},
    }
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": now,
        "model": deployment.model,
        "choices": [{**choice, "index": index} for index in range(sent.n)],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
        "system_fingerprint": "fp_emulator",
        "usage": _usage(messages, said, sent.n),
    }


def _usage(messages: Sequence[Json], said: str, count: int) -> Json:
    texts = [knowledge.text_of(message) for message in messages]
    prompt = sum(rows.tokens(text) + _OVERHEAD_PER_MESSAGE for text in texts)
    completion = rows.tokens(said) * count
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _stored_json(stored: StoredCompletion) -> Json:
    return {**stored.body, "metadata": dict(stored.metadata)}


def _message_json(message: StoredMessage) -> Json:
    content = message.sent.get("content")
    in_parts = isinstance(content, list)
    return {
        "name": None,
        **message.sent,
        "id": message.id,
        "content": knowledge.text_of(message.sent) if in_parts else content,
        "content_parts": content if in_parts else None,
    }


def _listed(data: Sequence[Json], *, has_more: bool) -> web.Response:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return web.json_response({"object": "list", "data": list(data), **ends, "has_more": has_more})


def _find(request: web.Request) -> StoredCompletion:
    completion_id = request.match_info["completion"]
    try:
        return request.app[CONTEXT].store.completions[completion_id]
    except KeyError as error:
        raise missing(f"completion '{completion_id}'") from error
