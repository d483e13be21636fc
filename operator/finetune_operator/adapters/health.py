"""Liveness, readiness and metrics over HTTP.

/livez answers from the event loop, so that a stuck loop does not answer; nothing else makes it
fail, an outage of the API server least of all. It must not know what the sources of age are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from finetune_operator.adapters.metrics import Metrics

SILENCE_LIMIT = 150.0
"""Two bookmarks and a half: a watch silent for longer delivers nothing any more."""


@dataclass(kw_only=True)
class Health:
    """What the probes see. A standby watches nothing and is ready."""

    metrics: Metrics
    leading: bool = False
    ages: dict[str, Callable[[], float]] = field(default_factory=dict)
    """Seconds since a watch was last heard of, by its kind; of several namespaces the worst."""

    def silent(self) -> str:
        """Why the leader is not ready, or an empty string."""
        ages = {name: age() for name, age in self.ages.items()}
        for name, age in ages.items():
            self.metrics.watch_age.labels(watch=name).set(age)
        return _silence(ages) if self.leading else ""


def _silence(ages: Mapping[str, float]) -> str:
    late = [f"{name}: {age:.0f} s" for name, age in sorted(ages.items()) if age > SILENCE_LIMIT]
    return f"No event or bookmark on the watch of {'; '.join(late)}" if late else ""


def app(health: Health) -> web.Application:
    """The HTTP application for probes and scrapes."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        silent = health.silent()
        if silent:
            return web.Response(status=503, text=silent + "\n")
        return web.Response(text="leader\n" if health.leading else "standby\n")

    async def metrics(_: web.Request) -> web.Response:
        health.silent()
        return web.Response(body=health.metrics.text(), content_type="text/plain", charset="utf-8")

    application = web.Application()
    application.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return application
