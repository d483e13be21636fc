"""What credentials are made from and what they offer: Protocols, no I/O."""

from dataclasses import dataclass
from typing import Any, Protocol

from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.azure_errors import Caller

Json = dict[str, Any]


class Cluster(Protocol):
    """The part of the API server that credentials come from."""

    async def get(
        self, resource: Resource, namespace: str, name: str, *, denied: Reason
    ) -> Json | None:
        """The object, None if there is none; a 403 has the reason `denied`."""

    async def create_subresource(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: Json,
        *,
        denied: Reason,
    ) -> Json | None:
        """The answer, None if the object is not there; a 403 has the reason `denied`."""


class Credential(Protocol):
    """Something to authenticate with, without its content."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for equal credentials: they share a client and a poller."""

    @property
    def caller(self) -> Caller:
        """How messages name it."""

    async def bearer(self, scope: str) -> str:
        """A key or token for the Authorization header; Transient if there is none."""

    def forget(self) -> None:
        """It was refused: read it anew the next time."""


@dataclass(frozen=True)
class Cached:
    """A key or token and the monotonic time at which it is read anew."""

    content: str
    until: float
