"""What every request passes on its way to a handler: the log, faults, errors, access.

Must not know what a handler does.
"""

import hmac
import re
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from azure_openai import queueing
from azure_openai.context import CONTEXT, Context, is_service_path
from azure_openai.errors import ServiceError
from azure_openai.faults import apply, cut
from azure_openai.identity import DATA_PLANE_SCOPE, PROJECT_SCOPE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

V1_PREFIX = "/openai/v1"
DATED_PREFIX = "/openai"
PROJECT_PREFIX = "/api/projects/{project}/openai/v1"
_PROJECT = re.compile(r"/api/projects/[^/]+/openai/v1/")
_V1_VERSIONS = ("v1", "preview")
_DATED_VERSIONS = ("2024-10-21", "2025-04-01-preview")
_DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint for your "
    "resource."
)
_BAD_TOKEN = (
    "Access token is missing, invalid, audience is incorrect ({audience}), or have expired."
)


def is_v1(request: web.Request) -> bool:
    """Whether the request came through the surface without dates."""
    return request.path.startswith(f"{V1_PREFIX}/") or _is_project(request)


def _is_project(request: web.Request) -> bool:
    return _PROJECT.match(request.path) is not None


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log the request when it is answered and mark the answer as the gateway does."""
    # A reset must not see requests that were there before it: they stay in the old log.
    traffic = request.app[CONTEXT].traffic
    response = await handler(request)
    response.headers["apim-request-id"] = str(uuid.uuid4())
    response.headers["x-ms-region"] = "Sweden Central"
    if is_service_path(request.path):
        traffic.note(request, response.status)
    return response


@web.middleware
async def meet_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let the rules in force spoil the request, before or after it has done its work."""
    if not is_service_path(request.path):
        return await handler(request)
    board = request.app[CONTEXT].faults
    before, after = board.meeting(request)
    if before:
        await _receive(request)
    for fault in before:
        spoiled = await apply(fault, request)
        if spoiled is not None:
            return spoiled
    if request.app[CONTEXT].faults is not board:
        return cut(request)  # there was a reset while it waited: it has no effect any more
    response = await handler(request)
    for fault in after:
        response = await apply(fault, request) or response
    return response


@web.middleware
async def write_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, and paths that do not exist, into the service's envelope."""
    try:
        return await handler(request)
    except ServiceError as error:
        return error.response()
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        return ServiceError(error.status, str(error.status), "Resource not found").response()


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Ask for a key or token and for the right api-version on the account's own paths."""
    if request.path.startswith(f"{DATED_PREFIX}/") or _is_project(request):
        _check_version(request)
        _check_credentials(request, request.app[CONTEXT])
    return await handler(request)


@web.middleware
async def move_queue(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let jobs begin whose turn has come, before anything looks at them or changes them."""
    context = request.app[CONTEXT]
    queueing.admit(context.store, context.settings, context.clock.now())
    return await handler(request)


async def _receive(request: web.Request) -> None:
    """Take the whole body in: what happens later must not depend on the client being alive."""
    if request.content_type.startswith("multipart/"):
        await request.post()
    else:
        await request.read()


def _check_version(request: web.Request) -> None:
    version = request.query.get("api-version")
    if is_v1(request):
        if version is not None and version not in _V1_VERSIONS:
            raise ServiceError(400, "BadRequest", "api-version not allowed")
    elif version not in _DATED_VERSIONS:
        raise ServiceError(404, "404", "Resource not found")


def _check_credentials(request: web.Request, context: Context) -> None:
    key = request.headers.get("api-key")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if key is not None and _is_key(key, context):
        return
    bearer = scheme.lower() == "bearer"
    wanted = PROJECT_SCOPE if _is_project(request) else DATA_PLANE_SCOPE
    if bearer and (_is_key(token, context) or context.directory.admits(token, wanted)):
        return
    message = _DENIED
    if key is None and bearer:
        message = _BAD_TOKEN.format(audience=wanted.removesuffix("/.default"))
    raise ServiceError(401, "401", message)


def _is_key(candidate: str, context: Context) -> bool:
    sent = candidate.encode()
    return any(hmac.compare_digest(sent, key.encode()) for key in context.api_keys)
