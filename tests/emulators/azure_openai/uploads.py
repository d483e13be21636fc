"""Files that arrive in pieces; only on the dated surface.

Must not know what is in a file.
"""

import hashlib
import uuid
from dataclasses import replace

from aiohttp import web
from aiohttp.web_request import FileField
from pydantic import BaseModel, Field, ValidationError

from azure_openai import wire
from azure_openai.context import CONTEXT, Context
from azure_openai.errors import ServiceError, invalid, invalid_body, missing
from azure_openai.files import add_file, created, known_purpose
from azure_openai.store import Part, Upload

_MAXIMUM_BYTES = 9 * 10**9
_MAXIMUM_PART = 64 * 1024**2


class _BeginRequest(BaseModel):
    purpose: str
    filename: str = Field(min_length=1)
    bytes: int = Field(ge=1, le=_MAXIMUM_BYTES)
    mime_type: str = Field(min_length=1)


class _CompleteRequest(BaseModel):
    part_ids: list[str]
    md5: str | None = None


async def begin(request: web.Request) -> web.Response:
    """POST /uploads: says what will come."""
    context = request.app[CONTEXT]
    try:
        sent = _BeginRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    upload = Upload(
        id=f"upload_{uuid.uuid4().hex}",
        created_at=context.clock.now(),
        filename=sent.filename,
        purpose=known_purpose(sent.purpose),
        bytes=sent.bytes,
    )
    context.store.uploads[upload.id] = upload
    return created(request, wire.upload_json(upload, context.clock.now()), dated_status=200)


async def add_part(request: web.Request) -> web.Response:
    """POST /uploads/{upload}/parts: one piece; their order is told at the end."""
    context, form = request.app[CONTEXT], await request.post()
    upload, sent = _pending(request), form.get("data")
    if not isinstance(sent, FileField):
        raise invalid("The request needs a 'data' part.", param="data")
    content = sent.file.read()
    if len(content) > _MAXIMUM_PART:
        raise ServiceError(413, "invalidPayload", "A part can have 64 MB at most.", param="data")
    part = Part(id=f"part_{uuid.uuid4().hex}", created_at=context.clock.now(), content=content)
    context.store.uploads[upload.id] = replace(upload, parts=(*upload.parts, part))
    return web.json_response(wire.part_json(upload, part))


async def complete(request: web.Request) -> web.Response:
    """POST /uploads/{upload}/complete: the pieces become a file."""
    try:
        sent = _CompleteRequest.model_validate_json(await request.read())
    except ValidationError as error:
        raise invalid_body(error) from error
    context, upload = request.app[CONTEXT], _pending(request)
    content = _joined(upload, sent)
    file = add_file(context, upload.filename, upload.purpose, content)
    return _keep(replace(upload, ended="completed", parts=(), file=file), context)


async def cancel(request: web.Request) -> web.Response:
    """POST /uploads/{upload}/cancel: the pieces are forgotten."""
    return _keep(replace(_pending(request), ended="cancelled", parts=()), request.app[CONTEXT])


def _joined(upload: Upload, sent: _CompleteRequest) -> bytes:
    known = {part.id: part.content for part in upload.parts}
    unknown = next((part_id for part_id in sent.part_ids if part_id not in known), None)
    if unknown is not None:
        raise invalid(f"The part '{unknown}' is not of this upload.", param="part_ids")
    content = b"".join(known[part_id] for part_id in sent.part_ids)
    if len(content) != upload.bytes:
        raise invalid(
            f"The parts have {len(content)} bytes, but {upload.bytes} were announced.",
            param="part_ids",
        )
    if sent.md5 not in (None, hashlib.md5(content, usedforsecurity=False).hexdigest()):
        raise invalid("The parts do not have this MD5 checksum.", param="md5")
    return content


def _pending(request: web.Request) -> Upload:
    """The upload that the path names, if it still takes anything."""
    context, upload_id = request.app[CONTEXT], request.match_info["upload"]
    upload = context.store.uploads.get(upload_id)
    if upload is None:
        raise missing(f"upload '{upload_id}'")
    status = upload.status(context.clock.now())
    if status != "pending":
        raise ServiceError(409, "unexpectedEntityState", f"The upload is {status}.")
    return upload


def _keep(upload: Upload, context: Context) -> web.Response:
    context.store.uploads[upload.id] = upload
    return web.json_response(wire.upload_json(upload, context.clock.now()))
