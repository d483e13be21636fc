"""Bad days on demand: rules that spoil, cut, delay or hold chosen requests.

Must not know what the requests do. A rule acts before the handler (nothing has happened yet) or
after it (it has happened, the answer is on its way). All times are real seconds.
"""

import asyncio
import re
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from azure_openai.errors import error_body

Moment = Literal["before", "after"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reply(_Strict):
    """Answer with this status instead."""

    kind: Literal["reply"] = "reply"
    status: int = Field(ge=400, le=599)
    code: str = "serviceUnavailable"
    message: str = "The service has a bad day."
    headers: dict[str, str] = {}


class Cut(_Strict):
    """Close the connection without an answer."""

    kind: Literal["cut"] = "cut"


class Delay(_Strict):
    """Answer later."""

    kind: Literal["delay"] = "delay"
    seconds: float = Field(gt=0)


class Hold(_Strict):
    """A barrier: go on only when it is released."""

    kind: Literal["hold"] = "hold"


class FaultSpec(_Strict):
    """Which requests are met by what."""

    name: str
    method: str
    path: str
    """A regular expression, searched in the path without its query."""
    nth: int = Field(default=1, ge=1)
    """The first matching request that is met; 1 is the next one."""
    times: int | None = Field(default=1, ge=1)
    """How many matching requests are met; null: all from then on."""
    moment: Moment = "before"
    effect: Annotated[Reply | Cut | Delay | Hold, Field(discriminator="kind")]


class Fault:
    """A rule and what has come of it."""

    def __init__(self, spec: FaultSpec) -> None:
        """Wait for the first match."""
        self.spec = spec
        self.drop_on_release = False
        self._path = re.compile(spec.path)
        self._seen = 0
        self._met = 0
        self._holding = 0
        self._somebody_held = asyncio.Event()
        self._gate = asyncio.Event()

    def meets(self, request: web.Request) -> bool:
        """Count the request if it matches; True if it is one of those to be met."""
        if request.method != self.spec.method or not self._path.search(request.path):
            return False
        self._seen += 1
        late_enough = self._seen >= self.spec.nth
        if not late_enough or (self.spec.times is not None and self._met >= self.spec.times):
            return False
        self._met += 1
        return True

    async def hold(self) -> None:
        """Wait at the barrier."""
        self._holding += 1
        self._somebody_held.set()
        try:
            await self._gate.wait()
        finally:
            self._holding -= 1

    async def wait_until_held(self) -> None:
        """Return as soon as a request has come to the barrier, now or earlier."""
        await self._somebody_held.wait()

    def release(self, *, drop: bool) -> None:
        """Open the barrier for good; with `drop` those behind it lose their connection."""
        self.drop_on_release = drop
        self._gate.set()

    def report(self) -> dict[str, Any]:
        """How often it matched, as JSON."""
        counts = {"seen": self._seen, "met": self._met, "holding": self._holding}
        return {"name": self.spec.name, **counts, "released": self._gate.is_set()}


class FaultBoard:
    """The rules in force, by name."""

    def __init__(self) -> None:
        """Start without any."""
        self._faults: dict[str, Fault] = {}

    def add(self, spec: FaultSpec) -> Fault:
        """Put a rule in force; one of the same name is released and replaced."""
        self.remove(spec.name)
        self._faults[spec.name] = Fault(spec)
        return self._faults[spec.name]

    def get(self, name: str) -> Fault:
        """A rule; KeyError if there is none."""
        return self._faults[name]

    def remove(self, name: str) -> None:
        """Take a rule out of force and let go whom it holds."""
        fault = self._faults.pop(name, None)
        if fault is not None:
            fault.release(drop=False)

    def clear(self, *, drop: bool = False) -> None:
        """Take all rules out of force and let go whom they hold."""
        for fault in self._faults.values():
            fault.release(drop=drop)
        self._faults.clear()

    def report(self) -> list[dict[str, Any]]:
        """All rules, as JSON."""
        return [fault.report() for fault in self._faults.values()]

    def meeting(self, request: web.Request) -> tuple[list[Fault], list[Fault]]:
        """The rules that this request meets before and after its handler."""
        met = [fault for fault in self._faults.values() if fault.meets(request)]
        return _at("before", met), _at("after", met)


async def apply(fault: Fault, request: web.Request) -> web.StreamResponse | None:
    """Let the rule act; an answer from it takes the place of the real one."""
    match fault.spec.effect:
        case Reply() as reply:
            body = error_body(reply.code, reply.message)
            return web.json_response(body, status=reply.status, headers=reply.headers)
        case Cut():
            return cut(request)
        case Delay(seconds=seconds):
            await asyncio.sleep(seconds)
        case Hold():
            await fault.hold()
            if fault.drop_on_release:
                return cut(request)
    return None


def cut(request: web.Request) -> web.StreamResponse:
    """Abort the transport; the response that is returned has nowhere to go."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


def _at(moment: Moment, faults: list[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.spec.moment == moment]
