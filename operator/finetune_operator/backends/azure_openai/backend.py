"""The hosted backend as the reconciler knows it: observe, submit, find, cancel, pause, resume.

Joins a FineTuneJob to the service of its endpoint and credential. Decides nothing, and raises
core.errors only.
"""

from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_operator.adapters.store import Key
from finetune_operator.backends.azure_openai.asking import Count
from finetune_operator.backends.azure_openai.credentials import credential_of
from finetune_operator.backends.azure_openai.identity import Authority
from finetune_operator.backends.azure_openai.poller import Poller
from finetune_operator.backends.azure_openai.ports import Cluster, Credential
from finetune_operator.backends.azure_openai.service import Fence, FineTuningService, http_client
from finetune_operator.backends.azure_openai.settings import HostedSettings
from finetune_operator.backends.azure_openai.wire import updated
from finetune_operator.core.azure_names import (
    Endpoint,
    create_body,
    hosted,
    model_of,
    origin,
    resolve,
)
from finetune_operator.core.conditions import is_finished
from finetune_operator.core.errors import OperatorError, Transient
from finetune_operator.core.names import MARKER_LENGTH
from finetune_operator.core.observed import TERMINAL, Remote, RemoteDetails, RemoteJob, StepFigures
from finetune_operator.core.submission import CLOCK_SKEW, bears, is_dead, may_be

_REMEMBERED = timedelta(days=30)
"""An older job is no reason not to train again."""
_ENOUGH_OLDER = 100
"""Older jobs in a row after which no newer one follows, even where the order is not strict."""


@dataclass(frozen=True, kw_only=True)
class _Account:
    """One endpoint as one credential sees it, and the jobs that need it."""

    id: tuple[str, ...]
    service: FineTuningService
    poller: Poller
    keys: set[Key] = field(default_factory=set)


class HostedBackend:
    """All hosted jobs of this process; `fence` is the lease time left, `wake` the work queue."""

    def __init__(
        self,
        settings: HostedSettings,
        cluster: Cluster,
        *,
        fence: Fence,
        wake: Callable[[Key], None],
        count: Count,
    ) -> None:
        self._settings, self._cluster = settings, cluster
        self._fence, self._wake, self._count = fence, wake, count
        self._allowed = frozenset(origin(entry) for entry in settings.allowed_endpoints)
        self._http = http_client(settings)
        self._accounts: dict[tuple[str, ...], _Account] = {}
        self._account_of: dict[Key, _Account] = {}
        self._refused: dict[Key, OperatorError] = {}

    async def close(self) -> None:
        """Stop polling and close all connections."""
        for account in self._accounts.values():
            account.poller.close()
        await self._http.aclose()

    def endpoint(self, job: FineTuneJob) -> Endpoint:
        """Where the job's requests go; Transient(ENDPOINT_NOT_ALLOWED) if they may not."""
        return resolve(
            hosted(job).endpoint, allowed=self._allowed, token_scope=self._settings.token_scope
        )

    def observe(self, key: Key, job: FineTuneJob) -> Remote | None:
        """The last snapshot of the hosted job that status names; None before the first.

        From now on the job is polled, until it is finished here or forgotten.
        """
        status = job.status.azure_open_ai
        remote_id = status.job_id if status else None
        if remote_id is None or is_finished(job.status):
            self.forget(key)
            return None
        try:
            return self._account(job).poller.watch(key, remote_id)
        except OperatorError as error:
            self.forget(key)
            self._refused[key] = error
            return None

    def error(self, key: Key) -> OperatorError | None:
        """What keeps snapshots of this key's job from coming: of the endpoint, account or job."""
        account = self._account_of.get(key)
        return account.poller.error_of(key) if account else self._refused.get(key)

    def forget(self, key: Key) -> None:
        """Nothing is to be known any more for this key."""
        self._refused.pop(key, None)
        account = self._account_of.pop(key, None)
        if account is None:
            return
        account.poller.unwatch(key)
        account.keys.discard(key)
        if not account.keys:
            account.poller.close()
            del self._accounts[account.id]

    async def authenticate(self, job: FineTuneJob) -> None:
        """Have the job's key or token at hand; Transient if there is none."""
        await self._account(job).service.authenticate()

    async def create(
        self, job: FineTuneJob, *, suffix: str, training_file: str, validation_file: str | None
    ) -> RemoteJob:
        """Submit the job: one POST, never repeated, while the lease lasts.

        Raises:
            Fenced: the lease was too short; nothing was sent.
            Transient: nothing was created.
            Terminal: the service refuses it.
            Ambiguous: it may have been created: `find` it.
        """
        account = self._account(job)
        body = create_body(
            job.spec,
            model=model_of(job),
            suffix=suffix,
            training_file=training_file,
            validation_file=validation_file,
        )
        return _noted(account, await account.service.create(body))

    async def find(
        self, job: FineTuneJob, *, suffix: str, started_at: datetime
    ) -> tuple[RemoteJob, ...]:
        """The jobs of this submission, oldest first, in the list as it is now.

        The marker that ends the suffix alone decides, as it holds the job's uid: neither a file
        uploaded twice nor a clock that is wrong can hide a job that exists. Transient if a job that
        came without its suffix leaves that open.
        """
        account, part = self._account(job), job.status.azure_open_ai
        marker, older = suffix[-MARKER_LENGTH:], 0
        found: list[RemoteJob] = []
        doubtful: list[RemoteJob] = []
        async with aclosing(account.service.newest()) as newest:
            async for remote in newest:
                older = older + 1 if remote.created_at < started_at - CLOCK_SKEW else 0
                if older == _ENOUGH_OLDER:
                    break
                if bears(remote, marker):
                    found.append(_noted(account, remote))
                elif may_be(remote, part.training_file_id if part else None):
                    doubtful.append(remote)
        if doubtful and not found:
            raise _undecided(doubtful[0])
        return tuple(sorted(found, key=lambda remote: remote.created_at))

    async def cancel(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Cancel the hosted job; one that is over stays as it is. Declined: it goes on."""
        account = self._account(job)
        return await self._concluded(account, await account.service.cancel(job_id))

    async def pause(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Pause the hosted job; one that rests stays as it is. Declined: it goes on."""
        account = self._account(job)
        return await self._concluded(account, await account.service.pause(job_id))

    async def resume(self, job: FineTuneJob, job_id: str) -> RemoteJob:
        """Resume the hosted job; one that goes on stays as it is. Declined: it rests."""
        account = self._account(job)
        return await self._concluded(account, await account.service.resume(job_id))

    async def refresh(self, job: FineTuneJob, job_id: str) -> Remote:
        """The hosted job as it is now; without a `job` if the account does not know it."""
        account = self._account(job)
        try:
            found = await account.service.get(job_id)
        except Transient as error:
            if error.reason is not Reason.REMOTE_JOB_NOT_FOUND:
                raise
            remote = _snapshot(account, job_id, None)
        else:
            details = await account.service.details(job_id)
            remote = _snapshot(account, job_id, found, details)
        account.poller.note(job_id, remote)
        return remote

    async def equal(self, job: FineTuneJob, digest: str) -> tuple[RemoteJob, ...]:
        """Jobs of the last 30 days that train the same and are not dead, newest first.

        One page: an account keeps no more than that.
        """
        oldest = datetime.now(UTC) - _REMEMBERED
        async with aclosing(self._account(job).service.pages()) as pages:
            async for page in pages:
                return tuple(
                    remote
                    for remote in page
                    if bears(remote, digest) and not is_dead(remote) and remote.created_at > oldest
                )
        return ()

    async def results(self, job: FineTuneJob, file_id: str) -> tuple[StepFigures, ...]:
        """The figures of every step, from the hosted job's result file."""
        return await self._account(job).service.results(file_id)

    async def _concluded(self, account: _Account, remote: RemoteJob) -> RemoteJob:
        """Note an answer; that of a job which is now over, with its last events if they come."""
        details = RemoteDetails()
        if remote.raw_status in TERMINAL:
            with suppress(OperatorError):
                details = await account.service.details(remote.id)
        account.poller.note(remote.id, _snapshot(account, remote.id, remote, details))
        return remote

    def _account(self, job: FineTuneJob) -> _Account:
        """The account of this job, entered under its key."""
        key = Key(job.metadata.namespace, job.metadata.name)
        endpoint, credential = self.endpoint(job), self._credential(job)
        account_id = (endpoint.base_url, *credential.identity)
        account = self._account_of.get(key)
        if account is None or account.id != account_id:
            self.forget(key)
            account = self._accounts.get(account_id) or self._opened(
                account_id, endpoint, credential
            )
            account.keys.add(key)
            self._account_of[key] = account
        return account

    def _opened(
        self, account_id: tuple[str, ...], endpoint: Endpoint, credential: Credential
    ) -> _Account:
        service = FineTuningService(
            endpoint,
            credential,
            self._settings,
            self._http,
            fence=self._fence,
            count=self._count,
        )
        poller = Poller(service, interval=self._settings.poll_interval, wake=self._wake)
        self._accounts[account_id] = _Account(id=account_id, service=service, poller=poller)
        return self._accounts[account_id]

    def _credential(self, job: FineTuneJob) -> Credential:
        authority = Authority(
            host=self._settings.authority_host,
            ca_file=self._settings.ca_file,
            timeout=self._settings.request_timeout,
        )
        return credential_of(job, self._cluster, authority, self._settings.operator)


def _undecided(remote: RemoteJob) -> Transient:
    return Transient(
        Reason.CONFIRMING_SUBMISSION,
        f"The account lists job {remote.id}, which trains the same file, without a suffix: it"
        " cannot be told whether it is this one's. Cancel it at the service if it is not wanted,"
        " and this one is submitted; or keep it, and delete this FineTuneJob.",
        retry_after=10.0,
        waits_for_user=True,
    )


def _noted(account: _Account, remote: RemoteJob) -> RemoteJob:
    account.poller.note(remote.id, _snapshot(account, remote.id, remote))
    return remote


def _snapshot(
    account: _Account,
    job_id: str,
    remote: RemoteJob | None,
    details: RemoteDetails | None = None,
) -> Remote:
    known = account.poller.details_of(job_id)
    return Remote(
        job=remote,
        details=known if details is None else updated(known, details),
        seen_at=datetime.now(UTC),
    )
