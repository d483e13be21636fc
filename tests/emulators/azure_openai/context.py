"""Everything that a handler may need, in one value.

Must not contain behaviour.
"""

from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from azure_openai.clock import ServiceClock
from azure_openai.faults import FaultBoard
from azure_openai.identity import Directory
from azure_openai.settings import Settings
from azure_openai.store import Store
from azure_openai.traffic import TrafficLog


@dataclass(kw_only=True)
class Context:
    """One running account; a reset puts new parts into the same context."""

    api_keys: frozenset[str]
    clock: ServiceClock
    settings: Settings
    store: Store
    faults: FaultBoard
    traffic: TrafficLog
    directory: Directory
    endpoint_ca: Path | None = None
    """Whom to trust when a grader's endpoint is called; None: the system's authorities."""


CONTEXT: web.AppKey[Context] = web.AppKey("context")


def is_service_path(path: str) -> bool:
    """Whether a request is traffic of the service: neither a probe nor a test's own control."""
    return not path.startswith(("/_control/", "/_health"))
