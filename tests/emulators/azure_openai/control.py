"""What tests may do to the service: time, faults, failures, and a look behind the wire.

Registered only on request, because it has no access check. Must not be used by the operator.
"""

import asyncio
import uuid
from dataclasses import replace
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from azure_openai import catalogue, lifecycle, models, wire
from azure_openai.context import CONTEXT, Context
from azure_openai.errors import ServiceError, invalid, missing
from azure_openai.faults import Fault, FaultBoard, FaultSpec
from azure_openai.identity import Federation
from azure_openai.jobs import find_job
from azure_openai.lifecycle import ExtraEvent, Fate, Job, JobError, UnexpectedStateError
from azure_openai.settings import Settings
from azure_openai.store import Deployment, FateRule, Store
from azure_openai.traffic import TrafficLog


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClockOrder(_Order):
    """A new speed, service seconds to skip, or both."""

    speed: float | None = Field(default=None, ge=0)
    advance: float = Field(default=0, ge=0)


class FailOrder(_Order):
    """Why a job is to fail now."""

    message: str
    code: str = "internalFailure"


class FateOrder(FailOrder):
    """The next jobs with such a suffix fail at this stage."""

    stage: lifecycle.Stage
    suffix: str = ""
    times: int = Field(default=1, ge=1)


class StatusOrder(_Order):
    """A status to show instead of the true one; null: the true one again."""

    status: str | None


class EventOrder(_Order):
    """An event to put into a job's log."""

    type: str
    message: str
    level: Literal["info", "warning", "error"] = "info"
    data: dict[str, object] | None = None


class ReleaseOrder(_Order):
    """How to open a barrier."""

    drop: bool = False


class FederationOrder(_Order):
    """One federated credential."""

    tenant_id: str
    client_id: str
    subject: str


class DeploymentOrder(_Order):
    """A model of this account that is to answer, and what it says to certain last messages."""

    name: str = Field(min_length=1, max_length=64)
    model: str
    answers: dict[str, str] = {}


_O = TypeVar("_O", bound=BaseModel)


def routes(initial: Settings, initial_speed: float) -> list[web.RouteDef]:
    """All routes; a reset goes back to `initial`."""

    async def reset(request: web.Request) -> web.Response:
        """Forget files, jobs, faults and requests; settings and speed as at the start."""
        context = request.app[CONTEXT]
        context.faults.clear(drop=True)
        context.faults, context.traffic, context.store = FaultBoard(), TrafficLog(), Store()
        context.settings = initial.model_copy()
        context.clock.run_at(initial_speed)
        return _done()

    return [
        web.post("/_control/reset", reset),
        web.post("/_control/clock", _set_clock),
        web.patch("/_control/settings", _set_settings),
        web.get("/_control/state", _show_state),
        web.get("/_control/requests", _show_requests),
        web.delete("/_control/requests", _forget_requests),
        web.get("/_control/faults", _show_faults),
        web.post("/_control/faults", _add_fault),
        web.delete("/_control/faults/{name}", _remove_fault),
        web.get("/_control/faults/{name}/held", _wait_until_held),
        web.post("/_control/faults/{name}/release", _release),
        web.post("/_control/fates", _add_fate),
        web.post("/_control/jobs/{job}/fail", _fail_job),
        web.post("/_control/jobs/{job}/status", _show_status),
        web.post("/_control/jobs/{job}/events", _add_event),
        web.post("/_control/federations", _add_federation),
        web.post("/_control/deployments", _deploy),
    ]


async def _set_clock(request: web.Request) -> web.Response:
    context, order = request.app[CONTEXT], await _read(request, ClockOrder)
    context.clock.advance(order.advance)
    if order.speed is not None:
        context.clock.run_at(order.speed)
    return web.json_response({"now": context.clock.now(), "speed": context.clock.speed})


async def _set_settings(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    changes: dict[str, Any] = await request.json()
    try:
        context.settings = Settings.model_validate(context.settings.model_dump() | changes)
    except ValidationError as error:
        raise _refusal(error) from error
    return web.json_response(context.settings.model_dump(mode="json"))


async def _show_state(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    now = context.clock.now()
    context.store.publish_results(now)
    return web.json_response(
        {
            "clock": {"now": now, "speed": context.clock.speed},
            "jobs": [_job_state(job, now) for job in context.store.jobs()],
            "files": [wire.file_json(file) for file in context.store.files()],
        }
    )


def _job_state(job: Job, now: float) -> dict[str, Any]:
    """The job as it is, whatever a test made it look like."""
    shown = wire.job_json(replace(job, shown_status=None), now)
    steps = {"step": lifecycle.steps_done(job, now), "total_steps": job.course.steps}
    return {**shown, **steps}


async def _show_requests(request: web.Request) -> web.Response:
    return web.json_response(request.app[CONTEXT].traffic.report())


async def _forget_requests(request: web.Request) -> web.Response:
    request.app[CONTEXT].traffic = TrafficLog()
    return _done()


async def _show_faults(request: web.Request) -> web.Response:
    return web.json_response({"faults": request.app[CONTEXT].faults.report()})


async def _add_fault(request: web.Request) -> web.Response:
    fault = request.app[CONTEXT].faults.add(await _read(request, FaultSpec))
    return web.json_response(fault.report())


async def _remove_fault(request: web.Request) -> web.Response:
    request.app[CONTEXT].faults.remove(request.match_info["name"])
    return _done()


async def _wait_until_held(request: web.Request) -> web.Response:
    """Answers when a request stands at the barrier; 408 after `timeout` real seconds."""
    fault = _find_fault(request)
    try:
        async with asyncio.timeout(float(request.query.get("timeout", "30"))):
            await fault.wait_until_held()
    except TimeoutError as error:
        raise ServiceError(408, "timeout", "No request has come to the barrier.") from error
    return web.json_response(fault.report())


async def _release(request: web.Request) -> web.Response:
    order = await _read(request, ReleaseOrder)
    fault = _find_fault(request)
    fault.release(drop=order.drop)
    return web.json_response(fault.report())


async def _add_fate(request: web.Request) -> web.Response:
    order = await _read(request, FateOrder)
    fate = Fate(stage=order.stage, error=JobError(code=order.code, message=order.message))
    rule = FateRule(suffix=order.suffix, fate=fate, times=order.times)
    request.app[CONTEXT].store.fates.append(rule)
    return _done()


async def _fail_job(request: web.Request) -> web.Response:
    order, context = await _read(request, FailOrder), request.app[CONTEXT]
    error = JobError(code=order.code, message=order.message)
    try:
        job = lifecycle.fail(find_job(request), context.clock.now(), error)
    except UnexpectedStateError as refused:
        raise ServiceError(409, "unexpectedEntityState", str(refused)) from refused
    return _keep(job, context)


async def _show_status(request: web.Request) -> web.Response:
    order = await _read(request, StatusOrder)
    job = replace(find_job(request), shown_status=order.status)
    return _keep(job, request.app[CONTEXT])


async def _add_event(request: web.Request) -> web.Response:
    order, context, job = await _read(request, EventOrder), request.app[CONTEXT], find_job(request)
    event_id = f"ftevent-{uuid.uuid4().hex}"
    event = ExtraEvent(id=event_id, at=context.clock.now(), **order.model_dump())
    return _keep(replace(job, extra_events=(*job.extra_events, event)), context)


async def _add_federation(request: web.Request) -> web.Response:
    order = await _read(request, FederationOrder)
    request.app[CONTEXT].directory.federations.append(Federation(**order.model_dump()))
    return _done()


async def _deploy(request: web.Request) -> web.Response:
    """Let a model answer at once; a fine-tuned one must have been made by this account."""
    order, context = await _read(request, DeploymentOrder), request.app[CONTEXT]
    made = models.maker(order.model, context.store, context.clock.now())
    if made is None and models.is_result(order.model):
        raise missing(f"model '{order.model}'")
    model = catalogue.dated_name(order.model)
    context.store.deployments[order.name] = Deployment(model=model, answers=order.answers)
    return _done()


def _keep(job: Job, context: Context) -> web.Response:
    context.store.replace_job(job)
    return web.json_response(wire.job_json(job, context.clock.now()))


def _find_fault(request: web.Request) -> Fault:
    name = request.match_info["name"]
    try:
        return request.app[CONTEXT].faults.get(name)
    except KeyError as error:
        raise missing(f"fault '{name}'") from error


def _done() -> web.Response:
    return web.json_response({})


async def _read(request: web.Request, order: type[_O]) -> _O:
    try:
        return order.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> ServiceError:
    return invalid(str(error))
