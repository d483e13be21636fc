"""A ServiceAccount of the job's namespace, federated with an identity at Entra.

Asks the API server for one short-lived token of that ServiceAccount and exchanges it. Tokens live
in memory until shortly before they expire and are in no message.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientAssertionCredential

from finetune_api.backends import WorkloadIdentity
from finetune_api.constants import AZURE_TOKEN_AUDIENCE
from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import SERVICE_ACCOUNTS
from finetune_operator.backends.azure_openai.grants import Grant
from finetune_operator.backends.azure_openai.ports import Cached, Cluster
from finetune_operator.backends.azure_openai.tls import tls_context
from finetune_operator.core.azure_errors import (
    identity_caller,
    no_tokens,
    quotable,
    unreachable,
)
from finetune_operator.core.errors import Transient

_EARLY_SECONDS = 300.0
"""How long before its end a token is replaced."""
_ASSERTION_SECONDS = 600
"""The shortest life that the API server gives a token."""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Where tokens are exchanged, and what its certificate is checked against."""

    host: str
    ca_file: str | None
    timeout: float
    """Seconds for one exchange."""


class FederatedIdentity:
    """A ServiceAccount of the job's namespace, exchanged for a token of its Entra identity."""

    def __init__(
        self,
        namespace: str,
        ref: WorkloadIdentity,
        cluster: Cluster,
        authority: Authority,
        operator: str,
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
        self._authority, self._operator, self._clock = authority, operator, clock
        self._tokens: dict[str, Cached] = {}

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

    async def _exchange(self, assertion: str, scope: str) -> Cached:
        """The assertion against a token: one request, because waiting is the caller's business."""
        connector = aiohttp.TCPConnector(ssl=tls_context(self._authority.ca_file))
        credential = ClientAssertionCredential(
            self._ref.tenant_id,
            self._ref.client_id,
            lambda: assertion,
            authority=self._authority.host,
            retry_total=0,
            transport=AioHttpTransport(
                session=aiohttp.ClientSession(connector=connector, trust_env=True)
            ),
        )
        try:
            async with asyncio.timeout(self._authority.timeout), credential:
                token = await credential.get_token(scope)
        except ClientAuthenticationError as error:
            status = error.response.status_code if error.response is not None else None
            raise no_tokens(self._authority.host, status) or self._refused(error) from None
        except (AzureError, TimeoutError) as error:
            raise unreachable(self._authority.host, untrusted=_is_untrusted(error)) from None
        lifetime = token.expires_on - self._clock()
        return Cached(token.token, self._clock() + max(lifetime - _EARLY_SECONDS, lifetime / 2))

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
        grant = Grant(
            namespace=namespace,
            resource="serviceaccounts/token",
            verb="create",
            name=name,
            tenant_key="serviceAccountNames",
        )
        return Transient(
            Reason.PERMISSION_DENIED,
            f"The operator may not request tokens of ServiceAccount `{name}` in namespace"
            f" {namespace}: {grant.advice(self._operator)}",
            waits_for_user=True,
        )


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.__cause__
    return error is not None
