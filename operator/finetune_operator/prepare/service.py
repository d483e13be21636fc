"""The client of the hosted service, with the tenant's key or identity; its errors become ours.

Nothing but this file knows the client library. No redirect is followed: a key goes to one host.
Both the service and Entra are reached through the proxy of the environment, if it names one.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientAssertionCredential

from finetune_api.pods import UploadTarget
from finetune_api.reasons import Reason
from finetune_operator.backends.azure_openai.answers import answer
from finetune_operator.core.azure_errors import (
    ROLE,
    Call,
    Caller,
    no_answer,
    no_tokens,
    quotable,
    refusal,
    unreachable,
)
from finetune_operator.core.azure_refusals import Purpose
from finetune_operator.core.errors import Transient
from finetune_operator.prepare.places import Places

T = TypeVar("T")

_log = logging.getLogger(__name__)

TIMEOUT = httpx2.Timeout(60.0, connect=15.0, write=300.0, read=300.0)
"""Seconds. Reading waits for the answer to an upload, which the service stores first."""

_PUBLIC_AUTHORITY = "login.microsoftonline.com"


@asynccontextmanager
async def connect(target: UploadTarget, places: Places) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of the account, authenticated as `target` says."""
    trust = _trust(places)
    async with AsyncExitStack() as stack:
        key = await _key(target, places, trust, stack)
        http = await stack.enter_async_context(
            httpx2.AsyncClient(
                verify=trust,
                timeout=TIMEOUT,
                follow_redirects=False,
                event_hooks={"response": [_left_to_patience]},
            )
        )
        yield openai.AsyncOpenAI(
            base_url=target.base_url, api_key=key, http_client=http, timeout=TIMEOUT
        )


async def _left_to_patience(response: httpx2.Response) -> None:
    """The client would wait for minutes, unseen; it tries again at once where no time is told."""
    if "retry-after" in response.headers or "retry-after-ms" in response.headers:
        response.headers["x-should-retry"] = "false"


def _trust(places: Places) -> ssl.SSLContext:
    """The system's CAs, and the chart's if there is one."""
    context = ssl.create_default_context()
    if places.azure_ca.is_file():
        context.load_verify_locations(places.azure_ca)
    return context


async def _key(
    target: UploadTarget, places: Places, trust: ssl.SSLContext, stack: AsyncExitStack
) -> str | Callable[[], Awaitable[str]]:
    if target.client_id is None or target.tenant_id is None:
        return _api_key(places)
    session = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust), trust_env=True)
    )
    credential = await stack.enter_async_context(
        ClientAssertionCredential(
            target.tenant_id,
            target.client_id,
            places.azure_token.read_text,
            authority=target.authority_host or _PUBLIC_AUTHORITY,
            # Another authority than the public one is not in the public list of authorities.
            disable_instance_discovery=target.authority_host is not None,
            transport=AioHttpTransport(session=session, session_owner=False),
        )
    )

    async def token() -> str:
        with _explained_identity(target):
            return (await credential.get_token(target.token_scope)).token

    return token


def _api_key(places: Places) -> str:
    key = places.api_key.read_text().strip() if places.api_key.is_file() else ""
    if not key or not key.isascii() or not key.isprintable():
        raise Transient(
            Reason.AUTHENTICATION_FAILED,
            "The Secret of auth.apiKeySecretRef holds no API key: put the account's key into it.",
            waits_for_user=True,
        )
    return key


@contextmanager
def _explained_identity(target: UploadTarget) -> Iterator[None]:
    authority = target.authority_host or _PUBLIC_AUTHORITY
    try:
        yield
    except ClientAuthenticationError as error:
        status = error.response.status_code if error.response is not None else None
        if (outage := no_tokens(authority, status)) is not None:
            raise outage from error
        raise Transient(
            Reason.AUTHENTICATION_FAILED,
            f"Entra gives the identity {target.client_id} no token: check clientID, tenantID and"
            " the federated credential of the ServiceAccount in auth.workloadIdentity. Entra says: "
            f"{quotable(error.message)}",
            waits_for_user=True,
        ) from error
    except AzureError as error:
        raise unreachable(authority) from error


@contextmanager
def explained(target: UploadTarget) -> Iterator[None]:
    """Turns the client's errors into the operator's own."""
    call = _call(target)
    try:
        yield
    except openai.APIStatusError as error:
        raise refusal(answer(error), call) from error
    except openai.APITimeoutError as error:
        raise no_answer(call) from error
    except openai.APIConnectionError as error:
        raise _no_connection(call, error) from error


class Patience:
    """How long the pod waits because the service is busy: for all of its requests together.

    Little, since nobody sees it wait: status tells what ended the pod, and when the next one tries.
    """

    def __init__(self, target: UploadTarget, seconds: float) -> None:
        self._call = _call(target)
        self._left = seconds

    async def ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """The answer; asked again when the service says, as long as patience lasts.

        An account without a free place is nothing to wait for here: status shall say so at once.
        """
        while True:
            try:
                return await request()
            except openai.APIStatusError as error:
                busy = self._busy(error)
                if busy is None:
                    raise
                if busy.retry_after > self._left:
                    raise busy from error
            _log.info("The service is busy; asking again in %.0f seconds", busy.retry_after)
            self._left -= busy.retry_after
            await asyncio.sleep(busy.retry_after)

    def _busy(self, error: openai.APIStatusError) -> Transient | None:
        """The refusal, if it says when to ask again and passes by itself."""
        said = answer(error)
        found = refusal(said, self._call)
        if said.retry_after is None or not isinstance(found, Transient):
            return None
        if found.waits_for_user or found.reason is Reason.QUOTA_EXCEEDED:
            return None
        until = datetime.now(UTC) + timedelta(seconds=found.retry_after)
        message = f"{found.message} It is busy until {until:%H:%M:%S} UTC."
        return Transient(found.reason, message, retry_after=found.retry_after)


def _no_connection(call: Call, error: openai.APIConnectionError) -> Transient:
    said = str(error.__cause__)
    return unreachable(
        call.host,
        untrusted="CERTIFICATE_VERIFY_FAILED" in said,
        unknown_host="Name or service not known" in said,
    )


def _call(target: UploadTarget) -> Call:
    return Call(
        purpose=Purpose.LIST, host=urlsplit(target.base_url).hostname or "", caller=_caller(target)
    )


def _caller(target: UploadTarget) -> Caller:
    if target.client_id is None:
        return Caller(
            credential="the API key of auth.apiKeySecretRef",
            if_unknown="Put a valid key of this account into the Secret",
            if_forbidden="Allow access with keys on the account, or use auth.workloadIdentity",
        )
    role = f"the role '{ROLE}' on the account (a new assignment takes up to 30 minutes)"
    return Caller(
        credential=f"the identity {target.client_id} of auth.workloadIdentity",
        if_unknown=f"Check clientID and tenantID, and that the identity has {role}",
        if_forbidden=f"Give the identity {role}",
    )
