"""An API key in a Secret of the job's namespace.

Reads that one Secret by name; never lists. The key lives in memory for a minute and is in no
message.
"""

import base64
import binascii
import time
from collections.abc import Callable

from finetune_api.reasons import Reason
from finetune_api.sources import SecretKeyRef
from finetune_operator.adapters.resources import SECRETS
from finetune_operator.backends.azure_openai.grants import Grant
from finetune_operator.backends.azure_openai.ports import Cached, Cluster
from finetune_operator.core.azure_errors import key_caller
from finetune_operator.core.errors import Transient

_KEY_SECONDS = 60.0
"""How long a rotated key may go unnoticed."""


class SecretKey:
    """An API key in a Secret of the job's namespace."""

    def __init__(
        self,
        namespace: str,
        ref: SecretKeyRef,
        cluster: Cluster,
        operator: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = ("key", namespace, ref.name, ref.key)
        self.caller = key_caller(ref.name, ref.key)
        self._namespace, self._ref, self._cluster, self._clock = namespace, ref, cluster, clock
        self._operator = operator
        self._cached: Cached | None = None

    async def bearer(self, scope: str) -> str:
        """The key, at most a minute old."""
        if self._cached is None or self._clock() >= self._cached.until:
            self._cached = Cached(await self._read(), self._clock() + _KEY_SECONDS)
        return self._cached.content

    def forget(self) -> None:
        """Read the Secret anew the next time."""
        self._cached = None

    async def _read(self) -> str:
        name, key = self._ref.name, self._ref.key
        try:
            secret = await self._cluster.get(
                SECRETS, self._namespace, name, denied=Reason.SECRET_ACCESS_DENIED
            )
        except Transient as error:
            raise self._denied() if error.reason is Reason.SECRET_ACCESS_DENIED else error from None
        if secret is None:
            raise self._missing(f"There is no Secret `{name}` in namespace {self._namespace}")
        encoded = (secret.get("data") or {}).get(key)
        if encoded is None:
            raise self._missing(f"The Secret `{name}` has no key `{key}`")
        return self._decoded(encoded)

    def _decoded(self, encoded: str) -> str:
        """The key without the line end that editors leave; it must fit into a header."""
        try:
            content = base64.b64decode(encoded).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError):
            content = ""
        if not content or not content.isprintable():
            raise self._missing(f"Key `{self._ref.key}` of Secret `{self._ref.name}` is no API key")
        return content

    def _missing(self, problem: str) -> Transient:
        return Transient(
            Reason.SECRET_NOT_FOUND,
            f"{problem}: create it with the API key of the account under `{self._ref.key}`.",
            waits_for_user=True,
        )

    def _denied(self) -> Transient:
        namespace, name = self._namespace, self._ref.name
        grant = Grant(
            namespace=namespace,
            resource="secrets",
            verb="get",
            name=name,
            tenant_key="secretNames",
        )
        return Transient(
            Reason.SECRET_ACCESS_DENIED,
            f"The operator may not read Secret `{name}` in namespace {namespace}:"
            f" {grant.advice(self._operator)}",
            waits_for_user=True,
        )
