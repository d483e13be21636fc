"""What a request authenticates with: the key in a Secret, or a token for a workload's identity.

Reads one Secret by name, or asks for one ServiceAccount's token; never lists either. Knows nothing
of fine-tuning. Keys and tokens live in memory only, for a minute and until shortly before they
expire, and are in no message.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientAssertionCredential

from finetune_api.backends import WorkloadIdentity
from finetune_api.constants import AZURE_TOKEN_AUDIENCE
from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_api.sources import SecretKeyRef
from finetune_operator.adapters.resources import SECRETS, SERVICE_ACCOUNTS, Resource
from finetune_operator.backends.azure_openai.tls import tls_context
from finetune_operator.core.azure_errors import (
    Caller,
    identity_caller,
    key_caller,
    quotable,
    unreachable,
)
from finetune_operator.core.azure_names import hosted
from finetune_operator.core.errors import Transient

_KEY_SECONDS = 60.0
"""How long a rotated key may go unnoticed."""
_EARLY_SECONDS = 300.0
"""How long before its end a token is replaced."""
_ASSERTION_SECONDS = 600
"""The shortest life that the API server gives a token."""

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


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Where tokens are exchanged, and what its certificate is checked against."""

    host: str
    ca_file: str | None
    timeout: float
    """Seconds for one exchange."""


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


def credential_of(job: FineTuneJob, cluster: Cluster, authority: Authority) -> Credential:
    """What this job's spec names."""
    auth, namespace = hosted(job).auth, job.metadata.namespace
    if auth.workload_identity is not None:
        return FederatedIdentity(namespace, auth.workload_identity, cluster, authority)
    if auth.api_key_secret_ref is not None:
        return SecretKey(namespace, auth.api_key_secret_ref, cluster)
    raise ValueError("neither a key nor an identity")


@dataclass(frozen=True)
class _Cached:
    """A key or token and the monotonic time at which it is read anew."""

    content: str
    until: float


class SecretKey:
    """An API key in a Secret of the job's namespace."""

    def __init__(
        self,
        namespace: str,
        ref: SecretKeyRef,
        cluster: Cluster,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = ("key", namespace, ref.name, ref.key)
        self.caller = key_caller(ref.name, ref.key)
        self._namespace, self._ref, self._cluster, self._clock = namespace, ref, cluster, clock
        self._cached: _Cached | None = None

    async def bearer(self, scope: str) -> str:
        """The key, at most a minute old."""
        if self._cached is None or self._clock() >= self._cached.until:
            self._cached = _Cached(await self._read(), self._clock() + _KEY_SECONDS)
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
        return Transient(
            Reason.SECRET_ACCESS_DENIED,
            f"The operator may not read Secret `{name}` in namespace {namespace}: add the namespace"
            " and the Secret to the chart's `tenants`, or create there a Role with the rule"
            f' {{apiGroups: [""], resources: [secrets], resourceNames: [{name}], verbs: [get]}}'
            " and a RoleBinding of it to the operator's ServiceAccount.",
            waits_for_user=True,
        )


class FederatedIdentity:
    """A ServiceAccount of the job's namespace, exchanged for a token of its Entra identity."""

    def __init__(
        self,
        namespace: str,
        ref: WorkloadIdentity,
        cluster: Cluster,
        authority: Authority,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.identity = (
            "identity",
            namespace,
            ref.service_account_name,
            ref.tenant_id,
            ref.client_id,
        )
        self.caller = identity_caller(ref.service_account_name, ref.client_id)
        self._namespace, self._ref, self._cluster = namespace, ref, cluster
        self._authority, self._clock = authority, clock
        self._tokens: dict[str, _Cached] = {}

    async def bearer(self, scope: str) -> str:
        """A token for `scope` with at least some minutes left."""
        cached = self._tokens.get(scope)
        if cached is None or self._clock() >= cached.until:
            cached = self._tokens[scope] = await self._exchange(await self._assertion(), scope)
        return cached.content

    def forget(self) -> None:
        """Exchange anew the next time."""
        self._tokens.clear()

    async def _assertion(self) -> str:
        """A short-lived token of the ServiceAccount, bound to the exchange's audience."""
        name = self._ref.service_account_name
        spec = {"audiences": [AZURE_TOKEN_AUDIENCE], "expirationSeconds": _ASSERTION_SECONDS}
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec,
        }
        try:
            answer = await self._cluster.create_subresource(
                SERVICE_ACCOUNTS,
                self._namespace,
                name,
                "token",
                body,
                denied=Reason.PERMISSION_DENIED,
            )
        except Transient as error:
            raise self._denied() if error.reason is Reason.PERMISSION_DENIED else error from None
        if answer is None:
            raise Transient(
                Reason.SERVICE_ACCOUNT_NOT_FOUND,
                f"There is no ServiceAccount `{name}` in namespace {self._namespace}: create it, or"
                " mend auth.workloadIdentity.serviceAccountName.",
                waits_for_user=True,
            )
        return str(answer["status"]["token"])

    async def _exchange(self, assertion: str, scope: str) -> _Cached:
        """The assertion against a token: one request, because waiting is the caller's business."""
        connector = aiohttp.TCPConnector(ssl=tls_context(self._authority.ca_file))
        credential = ClientAssertionCredential(
            self._ref.tenant_id,
            self._ref.client_id,
            lambda: assertion,
            authority=self._authority.host,
            retry_total=0,
            transport=AioHttpTransport(session=aiohttp.ClientSession(connector=connector)),
        )
        try:
            async with asyncio.timeout(self._authority.timeout), credential:
                token = await credential.get_token(scope)
        except ClientAuthenticationError as error:
            raise self._refused(error) from None
        except (AzureError, TimeoutError) as error:
            raise unreachable(self._authority.host, untrusted=_is_untrusted(error)) from None
        lifetime = token.expires_on - self._clock()
        return _Cached(token.token, self._clock() + max(lifetime - _EARLY_SECONDS, lifetime / 2))

    def _refused(self, error: ClientAuthenticationError) -> Transient:
        subject = f"system:serviceaccount:{self._namespace}:{self._ref.service_account_name}"
        return Transient(
            Reason.AUTHENTICATION_FAILED,
            f"Entra gives {self.caller.credential} no token: check clientID and tenantID, and that"
            f" the identity has a federated credential for {subject} with this cluster's issuer and"
            f" the audience {AZURE_TOKEN_AUDIENCE}. Entra says: {quotable(error.message)}",
            retry_after=60.0,
            waits_for_user=True,
        )

    def _denied(self) -> Transient:
        namespace, name = self._namespace, self._ref.service_account_name
        return Transient(
            Reason.PERMISSION_DENIED,
            f"The operator may not request tokens of ServiceAccount `{name}` in namespace"
            f" {namespace}: add the namespace to the chart's `tenants`, or create there a Role with"
            ' the rule {apiGroups: [""], resources: [serviceaccounts/token], resourceNames:'
            f" [{name}], verbs: [create]}} and a RoleBinding of it to the operator's"
            " ServiceAccount.",
            waits_for_user=True,
        )


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.__cause__
    return error is not None
