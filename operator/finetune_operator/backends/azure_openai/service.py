"""The fine-tuning jobs of one endpoint, asked with one credential: a method a request.

Every request is sent once: waiting and trying again are the callers' business. Raises core.errors
only. Must not know of FineTuneJobs, polls or statuses.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx2
import openai
from openai.resources.fine_tuning.jobs import AsyncJobsWithRawResponse

from finetune_api.reasons import Reason
from finetune_operator.backends.azure_openai import wire
from finetune_operator.backends.azure_openai.answers import no_connection
from finetune_operator.backends.azure_openai.asking import Count, Raw, Refused, Unanswered, ask
from finetune_operator.backends.azure_openai.gate import Gate
from finetune_operator.backends.azure_openai.ports import Credential
from finetune_operator.backends.azure_openai.settings import HostedSettings
from finetune_operator.backends.azure_openai.tls import tls_context
from finetune_operator.core.azure_errors import (
    Call,
    Fenced,
    no_answer,
    quotable,
    refusal,
    unreachable,
)
from finetune_operator.core.azure_names import Endpoint
from finetune_operator.core.azure_refusals import Answer, Purpose
from finetune_operator.core.errors import Declined, OperatorError
from finetune_operator.core.observed import TERMINAL, RemoteDetails, RemoteJob, StepFigures

T = TypeVar("T")
Fence = Callable[[], float]
"""Seconds for which this process is certainly the leader."""
_Jobs = AsyncJobsWithRawResponse
_Send = Callable[[_Jobs], Awaitable[Raw]]

_PAGE = 100
_MOST_PAGES = 100
_EVENTS = 50
_CHECKPOINTS = 10
_AT_REST = TERMINAL | {"pausing", "paused"}
_GOING_ON = TERMINAL | {"resuming", "running"}
_DECLINED_WAIT = 60.0
_NOT_IN_THIS_STATE = (400, 409)
"""A change that the job's state does not allow, such as cancelling what is over."""
_KEEP_ALIVE_SECONDS = 15.0
"""Shorter than any gateway's and than a poll: a reused connection has not been closed yet."""


def http_client(settings: HostedSettings) -> httpx2.AsyncClient:
    """Connections for everything but creates, for all endpoints; follows no redirect."""
    return httpx2.AsyncClient(
        verify=tls_context(settings.ca_file),
        timeout=settings.request_timeout,
        limits=httpx2.Limits(max_connections=100, keepalive_expiry=_KEEP_ALIVE_SECONDS),
    )


class FineTuningService:
    """One account or project, as one credential may see it."""

    def __init__(
        self,
        endpoint: Endpoint,
        credential: Credential,
        settings: HostedSettings,
        http: httpx2.AsyncClient,
        *,
        fence: Fence,
        count: Count,
    ) -> None:
        self._endpoint, self._credential, self._settings = endpoint, credential, settings
        self._fence, self._count = fence, count
        client = self._client_over(http)
        self._jobs = client.fine_tuning.jobs.with_raw_response
        self._files = client.files.with_raw_response

    async def authenticate(self) -> None:
        """Have a key or token at hand; Transient if there is none."""
        await self._bearer()

    async def create(self, body: Mapping[str, Any]) -> RemoteJob:
        """Create a job: one POST on a connection of its own, while the lease lasts.

        Raises:
            Fenced: the lease was too short; nothing was sent.
            Transient: nothing was created.
            Terminal: the service refuses it.
            Ambiguous: it may have been created.
        """
        await self._bearer()  # takes time of its own, which must not count against the lease
        self._check_lease()
        call = self._call(Purpose.CREATE, model=body["model"])
        timeout = self._settings.create_timeout
        gate = Gate(self._check_lease)
        async with httpx2.AsyncClient(
            verify=tls_context(self._settings.ca_file),
            # Connecting gives up first and then cleans up, which it does not when cancelled.
            timeout=httpx2.Timeout(timeout, connect=0.8 * timeout),
            event_hooks={"request": [gate]},
        ) as connection:
            jobs = self._client_over(connection).fine_tuning.jobs.with_raw_response
            try:
                return await ask(
                    "create",
                    lambda: jobs.create(
                        model=body["model"], training_file=body["training_file"], extra_body=body
                    ),
                    _job,
                    timeout=timeout,
                    count=self._count,
                )
            except Refused as refused:
                raise self._refusal(refused.answer, call) from None
            except Unanswered as lost:
                raise no_answer(call) if gate.passed else self._no_connection(lost) from None

    async def newest(self) -> AsyncGenerator[RemoteJob, None]:
        """All jobs of the account, newest first; a page is asked for when it is needed."""
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for job in page:
                    yield job

    async def pages(self) -> AsyncGenerator[tuple[RemoteJob, ...], None]:
        """As `newest`, page by page: what has come anyway can be looked at for nothing."""
        after: str | openai.Omit = openai.omit
        for _ in range(_MOST_PAGES):
            page = await self._read("list", _page_after(after), wire.page, Purpose.LIST)
            yield wire.jobs(page.items, seen_at=datetime.now(UTC))
            last = page.items[-1].get("id") if page.items else None
            if not page.has_more or last is None or last == after:
                return
            after = last

    async def get(self, job_id: str) -> RemoteJob:
        """One job; Transient(REMOTE_JOB_NOT_FOUND) if the account does not know it."""
        return await self._about("get", job_id, lambda jobs: jobs.retrieve(job_id), _job)

    async def cancel(self, job_id: str) -> RemoteJob:
        """Cancel a job; one that is over stays as it is. Declined: it goes on."""
        return await self._change("cancel", job_id, lambda jobs: jobs.cancel(job_id), TERMINAL)

    async def pause(self, job_id: str) -> RemoteJob:
        """Pause a job; one that rests already stays as it is. Declined: it goes on."""
        return await self._change("pause", job_id, lambda jobs: jobs.pause(job_id), _AT_REST)

    async def resume(self, job_id: str) -> RemoteJob:
        """Resume a job; one that goes on already stays as it is. Declined: it rests."""
        return await self._change("resume", job_id, lambda jobs: jobs.resume(job_id), _GOING_ON)

    async def details(self, job_id: str) -> RemoteDetails:
        """The newest page of events, and the checkpoints: two requests."""
        events = await self._about(
            "events", job_id, lambda jobs: jobs.list_events(job_id, limit=_EVENTS), wire.page
        )
        checkpoints = await self._about(
            "checkpoints",
            job_id,
            lambda jobs: jobs.checkpoints.list(job_id, limit=_CHECKPOINTS),
            wire.page,
        )
        return wire.details(events.items, checkpoints.items)

    async def results(self, file_id: str) -> tuple[StepFigures, ...]:
        """The figures of every step, from a job's result file."""
        call = self._call(Purpose.LIST)
        asked = ask(
            "results",
            lambda: self._files.content(file_id),
            str,
            timeout=self._settings.request_timeout,
            count=self._count,
            decode=str,
        )
        text = await self._explained(asked, call)
        try:
            # Seconds for many steps, in which the lease must be renewed.
            return await asyncio.to_thread(wire.results, text)
        except ValueError:
            raise no_answer(call) from None

    async def _change(
        self, operation: str, job_id: str, send: _Send, wanted: frozenset[str]
    ) -> RemoteJob:
        """The changed job; of a refusal it is looked at whether `wanted` is so all the same."""
        try:
            return await self._answered(operation, send, _job)
        except Refused as refused:
            if refused.answer.status in _NOT_IN_THIS_STATE:
                job = await self.get(job_id)
                if job.raw_status in wanted:
                    return job
                raise self._declined(operation, job, refused.answer) from None
            raise self._refusal(refused.answer, self._call(Purpose.JOB, job_id)) from None
        except Unanswered as lost:
            raise self._lost(lost, self._call(Purpose.JOB, job_id)) from None

    async def _about(
        self, operation: str, job_id: str, send: _Send, parse: Callable[[Any], T]
    ) -> T:
        return await self._read(operation, send, parse, Purpose.JOB, job_id)

    async def _read(
        self,
        operation: str,
        send: _Send,
        parse: Callable[[Any], T],
        purpose: Purpose,
        job_id: str = "",
    ) -> T:
        answered = self._answered(operation, send, parse)
        return await self._explained(answered, self._call(purpose, job_id))

    async def _explained(self, asked: Awaitable[T], call: Call) -> T:
        try:
            return await asked
        except Refused as refused:
            raise self._refusal(refused.answer, call) from None
        except Unanswered as lost:
            raise self._lost(lost, call) from None

    async def _answered(self, operation: str, send: _Send, parse: Callable[[Any], T]) -> T:
        return await ask(
            operation,
            lambda: send(self._jobs),
            parse,
            timeout=self._settings.request_timeout,
            count=self._count,
        )

    def _client_over(self, http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._bearer,
            max_retries=0,
            http_client=http,
        )

    async def _bearer(self) -> str:
        return await self._credential.bearer(self._endpoint.token_scope)

    def _check_lease(self) -> None:
        """The whole request must fit into what is left of the lease."""
        if self._fence() <= self._settings.create_timeout:
            raise Fenced

    def _call(self, purpose: Purpose, job_id: str = "", *, model: str = "") -> Call:
        return Call(
            purpose=purpose,
            host=self._endpoint.host,
            caller=self._credential.caller,
            job_id=job_id,
            model=model,
        )

    def _refusal(self, refused: Answer, call: Call) -> OperatorError:
        if refused.status == httpx2.codes.UNAUTHORIZED:
            self._credential.forget()
        return refusal(refused, call)

    def _declined(self, operation: str, job: RemoteJob, answer: Answer) -> Declined:
        said = quotable(answer.message or answer.code) or f"HTTP {answer.status}"
        return Declined(
            Reason.REQUEST_REFUSED,
            f"{self._endpoint.host} does not {operation} hosted job {job.id}, which is"
            f" {quotable(job.raw_status)}. The service says: {said.rstrip('.')}.",
            retry_after=_DECLINED_WAIT,
            waits_for_user=True,
        )

    def _lost(self, lost: Unanswered, call: Call) -> OperatorError:
        return no_connection(lost, self._endpoint.host) or no_answer(call)

    def _no_connection(self, lost: Unanswered) -> OperatorError:
        """Nothing was sent, also where the time ran out while connecting."""
        return no_connection(lost, self._endpoint.host) or unreachable(self._endpoint.host)


def _job(body: Any) -> RemoteJob:
    return wire.job(body, seen_at=datetime.now(UTC))


def _page_after(after: str | openai.Omit) -> _Send:
    return lambda jobs: jobs.list(limit=_PAGE, after=after)
