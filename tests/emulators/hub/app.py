"""The hub's HTTP surface, as far as downloads go: info, tree, resolve, and the errors' headers.

Follows what the client reads: X-Repo-Commit, ETag, Content-Length, ranges, X-Error-Code. Must not
know the command line.
"""

from dataclasses import dataclass

from aiohttp import web

from hub.repository import Repository, Shelf


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may read what. Repositories are public unless they are `gated`."""

    gated: frozenset[str]
    """ORG/NAME; information is public, files need a token of `tokens`."""
    tokens: frozenset[str]
    visitor_tokens: frozenset[str]
    """Valid, but not on the list of any gated repository."""


SHELF = web.AppKey("shelf", Shelf)
ACCESS = web.AppKey("access", Access)


def build_app(shelf: Shelf, access: Access) -> web.Application:
    """The application over a folder."""
    app = web.Application()
    app[SHELF] = shelf
    app[ACCESS] = access
    repo = "/{organisation}/{name}"
    app.router.add_get("/_health", _health)
    for kind in ("models", "datasets"):
        api = f"/api/{{kind:{kind}}}{repo}"
        app.router.add_get(api, _info)
        app.router.add_get(f"{api}/revision/{{revision}}", _info)
        app.router.add_get(f"{api}/tree/{{revision}}", _tree)
    app.router.add_get(f"/{{kind:datasets}}{repo}/resolve/{{revision}}/{{path:.+}}", _resolve)
    app.router.add_get(f"{repo}/resolve/{{revision}}/{{path:.+}}", _resolve)
    return app


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _info(request: web.Request) -> web.Response:
    repository = _repository(request)
    match = request.match_info
    full_name = f"{match['organisation']}/{match['name']}"
    return web.json_response(
        {
            "_id": repository.commit()[:24],
            "id": full_name,
            "modelId": full_name,
            "sha": repository.commit(),
            "private": False,
            "disabled": False,
            "gated": "manual" if full_name in request.app[ACCESS].gated else False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": file.path} for file in repository.files()],
        }
    )


async def _tree(request: web.Request) -> web.Response:
    files = _repository(request).files()
    return web.json_response(
        [{"type": "file", "path": f.path, "size": f.size, "oid": f.oid} for f in files]
    )


async def _resolve(request: web.Request) -> web.StreamResponse:
    repository = _repository(request)
    _check_gate(request)
    path = repository.file(request.match_info["path"])
    if path is None:
        raise _error(web.HTTPNotFound, "EntryNotFound", "Entry not found")
    # FileResponse answers HEAD and ranges and sets ETag by itself.
    return web.FileResponse(path, headers={"X-Repo-Commit": repository.commit()})


def _repository(request: web.Request) -> Repository:
    match = request.match_info
    known = _is_known(request)
    kind = match.get("kind", "models")
    repository = request.app[SHELF].find(kind, match["organisation"], match["name"])
    if repository is None:
        # Strangers are not told whether a repository is missing or private.
        kind_of_answer = web.HTTPNotFound if known else web.HTTPUnauthorized
        raise _error(kind_of_answer, "RepoNotFound", "Repository not found")
    if not repository.has_revision(match.get("revision", "main")):
        raise _error(web.HTTPNotFound, "RevisionNotFound", "Invalid rev id")
    return repository


def _check_gate(request: web.Request) -> None:
    access = request.app[ACCESS]
    full_name = f"{request.match_info['organisation']}/{request.match_info['name']}"
    if full_name not in access.gated or _token(request) in access.tokens:
        return
    answer = web.HTTPForbidden if _is_known(request) else web.HTTPUnauthorized
    raise _error(answer, "GatedRepo", f"Access to {full_name} is restricted")


def _is_known(request: web.Request) -> bool:
    """Whether the caller has a token; a token that nobody issued is refused at once."""
    token = _token(request)
    if token is None:
        return False
    access = request.app[ACCESS]
    if token not in access.tokens | access.visitor_tokens:
        raise _error(web.HTTPUnauthorized, None, "Invalid credentials in Authorization header")
    return True


def _token(request: web.Request) -> str | None:
    header = request.headers.get("Authorization")
    return None if header is None else header.removeprefix("Bearer ")


def _error(kind: type[web.HTTPError], code: str | None, message: str) -> web.HTTPError:
    headers = {"X-Error-Message": message}
    if code is not None:
        headers["X-Error-Code"] = code
    return kind(headers=headers, text=message)
