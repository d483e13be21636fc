"""Stands between one operator and the API server, and holds chosen requests.

So an operator can be ended at each of its requests to the API server, with or without the effect,
without a hook in it. It forwards everything else, watches included, and judges nothing.
"""

import asyncio
import re
import ssl
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp
import yaml
from aiohttp import web

from cluster.controlplane import ControlPlane

Moment = Literal["before", "after"]

_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length"})
_STARTS_S = 10


@dataclass(kw_only=True)
class Barrier:
    """Holds the first request that matches; opened once."""

    method: str
    path: re.Pattern[str]
    body: re.Pattern[str]
    moment: Moment
    held: threading.Event = field(default_factory=threading.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False
    status: "Future[int]" = field(default_factory=Future)
    """What the API server answered."""

    def meets(self, method: str, path: str, body: str) -> bool:
        """Whether this request is the one."""
        return (
            not self.held.is_set()
            and method == self.method
            and bool(self.path.search(path) and self.body.search(body))
        )


class ApiGate:
    """A plain HTTP server on 127.0.0.1 that acts at the API server as its administrator."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        """Serve; `kubeconfig` leads here."""
        self._upstream = plane.server
        self._tls = ssl.create_default_context(cafile=str(plane.authority.certificate))
        self._tls.load_cert_chain(plane.admin.certificate, plane.admin.key)
        self._barriers: list[Barrier] = []
        self._ended = asyncio.Event()
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._run(started),), name="api gate"
        )
        self._thread.start()
        folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = folder / "gate.kubeconfig"
        self.kubeconfig.write_text(_kubeconfig(started.result(_STARTS_S)))

    def hold(self, method: str, path: str, *, body: str = "", moment: Moment = "before") -> Barrier:
        """Hold the next matching request; `path` and `body` are searched for expressions."""
        barrier = Barrier(
            method=method, path=re.compile(path), body=re.compile(body), moment=moment
        )
        self._barriers.append(barrier)
        return barrier

    def release(self, barrier: Barrier, *, drop: bool = False) -> None:
        """Let the held request go on; with `drop` it has no (further) effect."""
        barrier.dropped = drop
        self._loop.call_soon_threadsafe(barrier.gate.set)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for barrier in self._barriers:
            self.release(barrier, drop=True)
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _run(self, started: "Future[int]") -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            app = web.Application(client_max_size=1 << 24)
            app.router.add_route("*", "/{path:.*}", partial(self._forward, session))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._loop = asyncio.get_running_loop()
            started.set_result(runner.addresses[0][1])
            await self._ended.wait()
            await runner.cleanup()

    async def _forward(
        self, session: aiohttp.ClientSession, request: web.Request
    ) -> web.StreamResponse:
        body = await request.read()
        barrier = self._met(request, body.decode(errors="replace"))
        if barrier and barrier.moment == "before":
            await _stand(barrier)
            if barrier.dropped:
                return _cut(request)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        try:
            async with session.request(
                request.method,
                self._upstream + request.raw_path,
                data=body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                if "watch" in request.query:
                    return await _stream(request, answer)
                content = await answer.read()
        except aiohttp.ClientError:
            return _cut(request)
        if barrier:
            barrier.status.set_result(answer.status)
            if barrier.moment == "after":
                await _stand(barrier)
        return web.Response(status=answer.status, body=content, headers=_kept(answer))

    def _met(self, request: web.Request, body: str) -> Barrier | None:
        found = (b for b in self._barriers if b.meets(request.method, request.path, body))
        return next(found, None)


async def _stand(barrier: Barrier) -> None:
    barrier.held.set()
    await barrier.gate.wait()


async def _stream(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """A watch, piece by piece."""
    response = web.StreamResponse(status=answer.status, headers=_kept(answer))
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    return response


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}


def _cut(request: web.Request) -> web.Response:
    """No answer at all."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _kubeconfig(port: int) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "gate",
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
            "clusters": [{"name": "gate", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "gate", "user": {}}],
        }
    )
