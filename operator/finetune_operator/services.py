"""What the runtime hands to whoever reconciles, and what it needs of them.

Knows neither: it is where the two meet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from finetune_operator.adapters.api import Api
from finetune_operator.adapters.authority import Authority
from finetune_operator.adapters.events import Events
from finetune_operator.adapters.lease import Leadership
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.queue import WorkQueue
from finetune_operator.adapters.store import Key, Store
from finetune_operator.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Services:
    """What a controller acts through."""

    settings: Settings
    api: Api
    store: Store
    queue: WorkQueue[Key]
    leadership: Leadership
    events: Events
    metrics: Metrics
    authority: Authority


class Controller(Protocol):
    """What the runtime needs of whoever reconciles."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring one FineTuneJob a step further; seconds after which to look again."""

    async def close(self) -> None:
        """Let go of connections and tasks."""


Build = Callable[[Services], Controller]
