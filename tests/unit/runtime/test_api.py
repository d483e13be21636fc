"""The client against a server that answers as the API server does."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from finetune_api.reasons import Reason
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.connection import BearerToken, Connection
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import AlreadyExists, Expired, NamespaceTerminating
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, PODS, SECRETS
from finetune_operator.core.errors import Conflict, OperatorError, Terminal, Transient

Json = dict[str, Any]

# The server speaks HTTP; reading the machine's certificates takes 50 ms a time.
_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class FakeServer:
    """Gives the answers it was told, in turn, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, str, Json | None, str | None]] = []
        self.hang = False

    def will_say(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body if body is not None else {}, headers))

    async def answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.asked.append(
            (
                request.method,
                request.path_qs,
                json.loads(raw) if raw else None,
                request.headers.get("Authorization"),
            )
        )
        if self.hang:
            await asyncio.sleep(30)
        status, body, headers = self.answers.pop(0)
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)


class World:
    def __init__(self, server: FakeServer, url: str) -> None:
        self.server = server
        self.metrics = Metrics()
        connection = Connection(server=url, tls=_UNUSED, token=BearerToken(value="secret"))
        self.api = Api(connection, self.metrics, max_connections=4, timeout=0.3)

    def requests(self, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value("finetune_api_requests_total", labels)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    fake = FakeServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    async with TestServer(app) as server:
        world = World(fake, str(server.make_url("")).rstrip("/"))
        yield world
        await world.api.close()


def a_status(reason: str, message: str = "no", **details: Any) -> Json:
    return {"kind": "Status", "reason": reason, "message": message, "details": details}


async def test_a_request_names_who_asks_and_is_counted(world: World) -> None:
    world.server.will_say(200, {"metadata": {"name": "tune"}})

    got = await world.api.get(FINETUNEJOBS, "team-a", "tune")

    assert got == {"metadata": {"name": "tune"}}
    path = "/apis/finetune.dev/v1alpha1/namespaces/team-a/finetunejobs/tune"
    assert world.server.asked == [("GET", path, None, "Bearer secret")]
    assert world.requests(verb="get", resource="finetunejobs", code="200") == 1


@pytest.mark.parametrize(
    ("status", "answer", "want", "want_reason"),
    [
        pytest.param(409, a_status("Conflict"), Conflict, Reason.API_ERROR, id="changed meanwhile"),
        pytest.param(
            422,
            a_status("Invalid", "spec: Forbidden"),
            Terminal,
            Reason.REQUEST_REFUSED,
            id="the schema refuses",
        ),
        pytest.param(
            403, a_status("Forbidden"), Transient, Reason.PERMISSION_DENIED, id="no such right"
        ),
        pytest.param(
            403,
            a_status("Forbidden", 'jobs "a" is forbidden: exceeded quota: small'),
            Transient,
            Reason.QUOTA_EXCEEDED,
            id="the quota is used up",
        ),
        pytest.param(
            403,
            a_status("Forbidden", causes=[{"reason": "NamespaceTerminating"}]),
            NamespaceTerminating,
            Reason.API_ERROR,
            id="the namespace is being deleted",
        ),
        pytest.param(500, a_status("InternalError"), Transient, Reason.API_ERROR, id="its failure"),
        pytest.param(502, b"<html>", Transient, Reason.API_ERROR, id="a proxy's page"),
        pytest.param(401, a_status("Unauthorized"), Transient, Reason.API_ERROR, id="old token"),
    ],
)
async def test_refusals(
    world: World, status: int, answer: Any, want: type[OperatorError], want_reason: Reason
) -> None:
    world.server.will_say(status, answer)

    with pytest.raises(want) as caught:
        await world.api.merge_patch(FINETUNEJOBS, "team-a", "tune", {"status": {}})

    assert caught.value.reason == want_reason
    assert world.requests(verb="patch", resource="finetunejobs", code=str(status)) == 1


async def test_a_busy_server_is_obeyed(world: World) -> None:
    world.server.will_say(429, {}, **{"Retry-After": "7"})

    with pytest.raises(Transient) as caught:
        await world.api.get(JOBS, "team-a", "tune")

    assert caught.value.retry_after == 7


async def test_a_refused_secret_is_called_by_the_callers_reason(world: World) -> None:
    world.server.will_say(403, a_status("Forbidden"))

    with pytest.raises(Transient) as caught:
        await world.api.get(SECRETS, "team-a", "key", denied=Reason.SECRET_ACCESS_DENIED)

    assert caught.value.reason == Reason.SECRET_ACCESS_DENIED
    assert caught.value.waits_for_user


async def test_a_name_that_is_taken_is_a_signal_of_its_own(world: World) -> None:
    world.server.will_say(409, a_status("AlreadyExists"))

    with pytest.raises(AlreadyExists):
        await world.api.create(JOBS, "team-a", {"metadata": {"name": "tune-1"}})


async def test_a_rehearsal_says_so(world: World) -> None:
    world.server.will_say(201, {"kind": "Job"})

    await world.api.create(JOBS, "team-a", {"metadata": {"name": "tune-1"}}, dry_run=True)

    assert world.server.asked[0][1] == "/apis/batch/v1/namespaces/team-a/jobs?dryRun=All"


async def test_a_field_that_nobody_knows_can_be_refused(world: World) -> None:
    world.server.will_say(201, {"kind": "Job"})

    await world.api.create(JOBS, "team-a", {"metadata": {"name": "tune-1"}}, strict=True)

    assert world.server.asked[0][1].endswith("/jobs?fieldValidation=Strict")


async def test_what_is_not_there_is_none(world: World) -> None:
    for _ in range(4):
        world.server.will_say(404, a_status("NotFound"))

    assert await world.api.get(JOBS, "team-a", "x") is None
    assert await world.api.merge_patch(JOBS, "team-a", "x", {}) is None
    assert await world.api.delete(JOBS, "team-a", "x") is False
    assert await world.api.create_subresource(SECRETS, "team-a", "x", "token", {}) is None


async def test_a_precondition_goes_with_the_patch(world: World) -> None:
    world.server.will_say(200)
    body = {"metadata": {"finalizers": ["a"]}}

    await world.api.merge_patch(FINETUNEJOBS, "team-a", "tune", body, version="12")

    (_, _, sent, _) = world.server.asked[0]
    assert sent == {"metadata": {"finalizers": ["a"], "resourceVersion": "12"}}
    assert body == {"metadata": {"finalizers": ["a"]}}


@pytest.mark.parametrize(
    ("status", "want"),
    [
        pytest.param(200, True, id="deleted"),
        pytest.param(409, False, id="another object of that name: spared"),
    ],
)
async def test_deleting_one_uid(world: World, status: int, want: bool) -> None:
    world.server.will_say(status, a_status("Conflict"))

    deleted = await world.api.delete(JOBS, "team-a", "tune-1", uid="uid-1")

    assert deleted is want
    (_, _, sent, _) = world.server.asked[0]
    assert sent == {"propagationPolicy": "Background", "preconditions": {"uid": "uid-1"}}


async def test_no_answer_is_transient(world: World) -> None:
    world.server.hang = True

    with pytest.raises(Transient, match=r"did not answer within 0\.3 s"):
        await world.api.get(JOBS, "team-a", "tune")

    assert world.requests(verb="get", resource="jobs", code="timeout") == 1


async def test_no_server_is_transient() -> None:
    connection = Connection(server="http://127.0.0.1:9", tls=_UNUSED, token=BearerToken())
    api = Api(connection, Metrics(), max_connections=1)

    with pytest.raises(Transient, match="could not be reached"):
        await api.get(JOBS, "team-a", "tune")

    await api.close()


async def test_long_lists_come_in_chunks(world: World) -> None:
    first = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [{"a": 1}]}
    rest = {"metadata": {"resourceVersion": "9"}, "items": [{"a": 2}]}
    world.server.will_say(200, first)
    world.server.will_say(200, rest)

    items = await world.api.list_all(PODS, None, labels="x=y")

    assert items == [{"a": 1}, {"a": 2}]
    assert "continue=more" in world.server.asked[1][1]
    assert "labelSelector=x%3Dy" in world.server.asked[1][1]


async def watched(world: World) -> list[Json]:
    events = world.api.watch(PODS, None, labels="", version=5, seconds=60, silence=0.3)
    return [event async for event in events]


async def test_a_watch_yields_its_lines_however_long(world: World) -> None:
    long = {"type": "ADDED", "object": {"text": "x" * 300_000}}
    lines = [{"type": "BOOKMARK", "object": {}}, long]
    world.server.will_say(200, b"\n".join(json.dumps(line).encode() for line in lines) + b"\n")

    assert await watched(world) == lines


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(410, a_status("Expired"), id="refused at once"),
        pytest.param(
            200, b'{"type": "ERROR", "object": {"code": 410}}\n', id="told within the stream"
        ),
    ],
)
async def test_an_old_version_means_list_again(world: World, status: int, body: Any) -> None:
    world.server.will_say(status, body)

    with pytest.raises(Expired):
        await watched(world)


async def test_a_silent_watch_is_given_up(world: World) -> None:
    world.server.hang = True

    with pytest.raises(Transient):
        await watched(world)
