"""The file operations of the account.

Must not know of jobs, except that some files are results.
"""

from aiohttp import web
from aiohttp.web_request import FileField

from azure_openai import wire
from azure_openai.context import CONTEXT, Context
from azure_openai.errors import invalid, missing, quota_exceeded
from azure_openai.middleware import is_v1
from azure_openai.paging import read_page
from azure_openai.store import StoredFile, page

_FINE_TUNE = "fine-tune"
_PURPOSES = ("assistants", "batch", _FINE_TUNE, "evals")
_PAGE_SIZE = 10_000


def created(
    request: web.Request, body: dict[str, object], *, dated_status: int = 201
) -> web.Response:
    """The answer to something new: 200 on v1, 201 and its address on the dated surface."""
    if is_v1(request):
        return web.json_response(body)
    location = request.url.join(request.url.with_path(f"{request.path}/{body['id']}"))
    return web.json_response(body, status=dated_status, headers={"Location": str(location)})


def add_file(context: Context, filename: str, purpose: str, content: bytes) -> StoredFile:
    """Take a file in, however it came; refuses one that the account has no room for."""
    if purpose == _FINE_TUNE:
        _check_quota(context, len(content))
    return context.store.add_file(
        filename=filename,
        purpose=purpose,
        content=content,
        now=context.clock.now(),
        pending_polls=context.settings.pending_polls,
    )


def known_purpose(purpose: object) -> str:
    """What the file is for; refuses what files are not for."""
    if purpose not in _PURPOSES:
        raise invalid(f"'purpose' must be one of {', '.join(_PURPOSES)}.", param="purpose")
    return str(purpose)


async def upload(request: web.Request) -> web.Response:
    """POST /files."""
    context = request.app[CONTEXT]
    form = await request.post()
    sent, purpose = form.get("file"), form.get("purpose")
    if not isinstance(sent, FileField):
        raise invalid("The request needs a 'file' part.", param="file")
    file = add_file(context, sent.filename, known_purpose(purpose), sent.file.read())
    return created(request, wire.file_json(file))


async def list_files(request: web.Request) -> web.Response:
    """GET /files."""
    context = request.app[CONTEXT]
    wanted = read_page(request, default=_PAGE_SIZE, maximum=_PAGE_SIZE)
    context.store.publish_results(context.clock.now())
    files = [file for file in context.store.files() if _asked_for(file, request)]
    if request.query.get("order", "desc") == "asc":
        files.reverse()
    try:
        shown, has_more = page(files, after=wanted.after, limit=wanted.limit)
    except KeyError as error:
        raise missing(f"file '{wanted.after}'") from error
    data = [wire.file_json(context.store.look_at(file.id)) for file in shown]
    return web.json_response(wire.list_json(data, has_more=has_more))


async def get_file(request: web.Request) -> web.Response:
    """GET /files/{file}."""
    file = _find(request)
    return web.json_response(wire.file_json(request.app[CONTEXT].store.look_at(file.id)))


async def get_content(request: web.Request) -> web.Response:
    """GET /files/{file}/content."""
    return web.Response(body=_find(request).content, content_type="application/octet-stream")


async def delete_file(request: web.Request) -> web.Response:
    """DELETE /files/{file}: always allowed."""
    file = _find(request)
    request.app[CONTEXT].store.remove_file(file.id)
    return web.json_response({"id": file.id, "object": "file", "deleted": True})


def _check_quota(context: Context, size: int) -> None:
    count, bytes_ = context.settings.fine_tune_files, context.settings.fine_tune_bytes
    if count is None and bytes_ is None:
        return
    held = [len(file.content) for file in context.store.files() if file.purpose == _FINE_TUNE]
    if count is not None and len(held) >= count:
        raise quota_exceeded("files for fine-tuning", count)
    if bytes_ is not None and sum(held) + size > bytes_:
        raise quota_exceeded("bytes of files for fine-tuning, or would have", bytes_)


def _find(request: web.Request) -> StoredFile:
    context = request.app[CONTEXT]
    context.store.publish_results(context.clock.now())
    file_id = request.match_info["file"]
    try:
        return context.store.file(file_id)
    except KeyError as error:
        raise missing(f"file '{file_id}'") from error


def _asked_for(file: StoredFile, request: web.Request) -> bool:
    return request.query.get("purpose", file.purpose) == file.purpose
