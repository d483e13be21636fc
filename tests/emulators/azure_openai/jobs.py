"""The fine-tuning job operations of the account.

Must not know how a job lives: that is asked of the pure modules, with the clock's time.
"""

import itertools
import random
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from azure_openai import catalogue, history, lifecycle, methods, models, queueing, wire
from azure_openai.catalogue import Trainable
from azure_openai.context import CONTEXT, Context
from azure_openai.errors import ServiceError, invalid, missing, quota_exceeded
from azure_openai.files import created
from azure_openai.learning import Course
from azure_openai.lifecycle import Fate, Job, JobError, UnexpectedStateError
from azure_openai.paging import read_page
from azure_openai.rows import Dataset, row_problem
from azure_openai.store import page
from azure_openai.submission import Submission, read_submission

_MAXIMUM_PAGE = 1000


def job_body(job: Job, context: Context) -> dict[str, Any]:
    """A job as shown now, without the keys that a test wants to be absent."""
    shown = wire.job_json(job, context.clock.now())
    return {key: value for key, value in shown.items() if key not in context.settings.absent_keys}


def find_job(request: web.Request) -> Job:
    """The job that the path names."""
    job_id = request.match_info["job"]
    try:
        return request.app[CONTEXT].store.job(job_id)
    except KeyError as error:
        raise missing(f"job '{job_id}'") from error


async def create_job(request: web.Request) -> web.Response:
    """POST /fine_tuning/jobs."""
    context = request.app[CONTEXT]
    submission = read_submission(await request.read())
    model = _model(submission, context)
    files = [_usable(submission.training_file, "training_file", context)]
    if submission.validation_file is not None:
        files.append(_usable(submission.validation_file, "validation_file", context))
    _check_quota(context)
    job = _new_job(submission, model, files, context)
    context.store.add_job(job)
    queueing.admit(context.store, context.settings, job.created_at)
    job = context.store.job(job.id)
    return created(request, job_body(job, context))


async def list_jobs(request: web.Request) -> web.Response:
    """GET /fine_tuning/jobs: newest first; a very new job may not be visible yet."""
    context = request.app[CONTEXT]
    wanted = read_page(request, default=20, maximum=_MAXIMUM_PAGE)
    try:
        known = context.store.jobs(before=wanted.after)
    except KeyError as error:
        raise missing(f"job '{wanted.after}'") from error
    now = time.monotonic()
    visible = (job for job in known if job.listed_from <= now)
    found = list(itertools.islice(visible, wanted.limit + 1))
    data = [job_body(job, context) for job in found[: wanted.limit]]
    return web.json_response(wire.list_json(data, has_more=len(found) > wanted.limit))


async def get_job(request: web.Request) -> web.Response:
    """GET /fine_tuning/jobs/{job}."""
    return web.json_response(job_body(find_job(request), request.app[CONTEXT]))


async def cancel_job(request: web.Request) -> web.Response:
    """POST /fine_tuning/jobs/{job}/cancel."""
    return _change(request, lifecycle.cancel)


async def pause_job(request: web.Request) -> web.Response:
    """POST /fine_tuning/jobs/{job}/pause."""
    return _change(request, lifecycle.pause)


async def resume_job(request: web.Request) -> web.Response:
    """POST /fine_tuning/jobs/{job}/resume."""
    return _change(request, lifecycle.resume)


async def delete_job(request: web.Request) -> web.Response:
    """DELETE /fine_tuning/jobs/{job}: only jobs that are over, only on the dated surface."""
    context = request.app[CONTEXT]
    job = find_job(request)
    found = lifecycle.status(job, context.clock.now())
    if found not in lifecycle.TERMINAL:
        raise _unexpected(f"The job is {found} and cannot be deleted; cancel it first.")
    context.store.remove_job(job.id)
    return web.Response(status=204)


async def list_events(request: web.Request) -> web.Response:
    """GET /fine_tuning/jobs/{job}/events: newest first."""
    wanted = read_page(request, default=20, maximum=_MAXIMUM_PAGE)
    events = history.events(find_job(request), request.app[CONTEXT].clock.now())
    try:
        shown, has_more = page(events, after=wanted.after, limit=wanted.limit)
    except KeyError as error:
        raise missing(f"event '{wanted.after}'") from error
    return web.json_response(
        wire.list_json([wire.event_json(event) for event in shown], has_more=has_more)
    )


async def list_checkpoints(request: web.Request) -> web.Response:
    """GET /fine_tuning/jobs/{job}/checkpoints: newest first."""
    wanted = read_page(request, default=10, maximum=_MAXIMUM_PAGE)
    job = find_job(request)
    saved = history.checkpoints(job, request.app[CONTEXT].clock.now())
    try:
        shown, has_more = page(saved, after=wanted.after, limit=wanted.limit)
    except KeyError as error:
        raise missing(f"checkpoint '{wanted.after}'") from error
    data = [wire.checkpoint_json(job, checkpoint) for checkpoint in shown]
    return web.json_response(wire.list_json(data, has_more=has_more))


def _change(request: web.Request, change: Callable[[Job, float], Job]) -> web.Response:
    context = request.app[CONTEXT]
    try:
        job = change(find_job(request), context.clock.now())
    except UnexpectedStateError as error:
        raise _unexpected(str(error)) from error
    context.store.replace_job(job)
    return web.json_response(job_body(job, context))


def _unexpected(message: str) -> ServiceError:
    return ServiceError(409, "unexpectedEntityState", message)


def _check_quota(context: Context) -> None:
    """Refuse one job more than the account has room for."""
    settings, store = context.settings, context.store
    if settings.kept_jobs is not None and store.count_jobs() >= settings.kept_jobs:
        raise quota_exceeded("fine-tuning jobs", settings.kept_jobs)
    if settings.queued_jobs is not None:
        waiting = store.count_pending(context.clock.now())
        if waiting >= settings.queued_jobs:
            raise quota_exceeded("queued fine-tuning jobs", settings.queued_jobs)


def _model(submission: Submission, context: Context) -> Trainable:
    """How the model can be trained; refuses one that cannot be trained as asked."""
    model = models.trainable(submission.model, context.store, context.clock.now())
    if model is None:
        raise invalid(catalogue.NO_FINE_TUNING, param="model")
    if refused := catalogue.refusal(model, submission.method, submission.training_type):
        raise invalid(refused, param="model")
    return model


@dataclass(frozen=True, kw_only=True)
class _Usable:
    """A file that may be trained on."""

    content: bytes
    dataset: Dataset


def _usable(file_id: str, param: str, context: Context) -> _Usable:
    try:
        file = context.store.file(file_id)
    except KeyError as error:
        raise invalid(f"The specified file '{file_id}' was not found.", param=param) from error
    if file.dataset is None:
        raise invalid(f"The file '{file_id}' was not uploaded for fine-tuning.", param=param)
    if file.status != "processed":
        raise invalid(f"The file '{file_id}' is {file.status}, not processed.", param=param)
    return _Usable(content=file.content, dataset=file.dataset)


def _new_job(
    submission: Submission, model: Trainable, files: list[_Usable], context: Context
) -> Job:
    method, asked, training = submission.method, submission.asked(), files[0].dataset
    resolved = methods.resolve(method, asked, rate=model.automatic_rate, rows=training.rows)
    seed = random.randrange(2**31) if submission.seed is None else submission.seed
    return Job(
        id=f"ftjob-{uuid.uuid4().hex}",
        serial=context.store.next_serial(),
        created_at=context.clock.now(),
        listed_from=time.monotonic() + context.settings.list_lag_seconds,
        model=submission.model,
        training_file=submission.training_file,
        validation_file=submission.validation_file,
        suffix=submission.suffix,
        seed=seed,
        training_type=submission.training_type,
        asked=asked,
        resolved=resolved,
        method_sent=submission.sent_method is not None,
        reinforcement=submission.reinforcement(),
        course=Course(
            method=method,
            rows=training.rows,
            epochs=int(resolved["n_epochs"]),
            batch_size=int(resolved["batch_size"]),
            learning_rate_multiplier=float(resolved["learning_rate_multiplier"]),
            seed=seed,
            digest=training.digest,
            validated=submission.validation_file is not None,
            eval_interval=int(resolved.get("eval_interval", 0)) or None,
        ),
        tokens_per_epoch=training.tokens,
        billable_tokens_per_epoch=training.content_tokens,
        pace=context.settings.pace(),
        fate=_fate(submission, files, context),
    )


def _fate(submission: Submission, files: list[_Usable], context: Context) -> Fate | None:
    """Bad rows fail a job before its training; a test may have decided on another end."""
    members = submission.members()
    for file in files:
        if problem := row_problem(file.content, submission.method, members):
            message = f"Validation of jsonl file failed: {problem}."
            error = JobError(code="jsonlValidationFailed", message=message)
            return Fate(stage="Validation", error=error)
    for rule in context.store.fates:
        if rule.times > 0 and re.search(rule.suffix, submission.suffix or ""):
            rule.times -= 1
            return rule.fate
    return None
