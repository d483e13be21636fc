"""The real hosted backend before the real emulator, with the lease in our hands."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from finetune_api.job import FineTuneJob
from finetune_operator.adapters.store import Key
from finetune_operator.backends.azure_openai import HostedBackend, HostedSettings
from finetune_operator.core.observed import Remote, RemoteJob
from support.azure_account import chat_rows, upload, v1_client
from support.emulator_control import EmulatorControl
from support.hosted import Namespace, a_hosted_job

POLL_SECONDS = 0.2
CREATE_TIMEOUT = 1.0
LONG_LEASE = 10.0


class Hosted:
    """A backend, what it woke and counted, and the lease time that it is told is left."""

    def __init__(
        self,
        emulator: EmulatorControl,
        *,
        namespace: Namespace | None = None,
        endpoint: str | None = None,
        **settings: Any,
    ) -> None:
        self.emulator = emulator
        self.namespace = namespace or Namespace()
        self.endpoint = endpoint or emulator.url
        self.lease = LONG_LEASE
        self.woken: Counter[Key] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()
        chosen: dict[str, Any] = {
            "allowed_endpoints": (self.endpoint,),
            "authority_host": emulator.url,
            "ca_file": str(emulator.ca),
            "create_timeout": CREATE_TIMEOUT,
            "poll_interval": POLL_SECONDS,
            **settings,
        }
        self.backend = HostedBackend(
            HostedSettings(**chosen),
            self.namespace,
            fence=lambda: self.lease,
            wake=lambda key: self.woken.update([key]),
            count=lambda operation, code: self.requests.update([(operation, code)]),
        )

    async def __aenter__(self) -> "Hosted":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.close()

    def job(self, name: str = "gsm8k", **changes: Any) -> FineTuneJob:
        """A FineTuneJob for this endpoint; `changes` by path, with __ for the dots."""
        paths = {path.replace("__", "."): value for path, value in changes.items()}
        return a_hosted_job({"spec.azureOpenAI.endpoint": self.endpoint} | paths, name=name)

    def submitted(self, job_id: str, name: str = "gsm8k", **changes: Any) -> FineTuneJob:
        """A FineTuneJob whose status names a hosted job."""
        return self.job(name, status__azureOpenAI__jobID=job_id, **changes)

    async def create(self, suffix: str = "gsm8k-0123456789", **changes: Any) -> RemoteJob:
        """Upload data as the prepare pod would, then submit through the backend."""
        async with v1_client(self.emulator) as client:
            file = await upload(client, chat_rows(40))
        return await self.backend.create(
            self.job(**changes), suffix=suffix, training_file=file.id, validation_file=None
        )

    def observe(self, job: FineTuneJob) -> Remote | None:
        """What the reconciler would see now."""
        return self.backend.observe(key_of(job), job)

    async def observe_until(
        self, job: FineTuneJob, wanted: Callable[[Remote], bool], *, seconds: float = 15
    ) -> Remote:
        """Look as the reconciler does, until a snapshot is as wanted."""
        remote: Remote | None = None

        def seen() -> bool:
            nonlocal remote
            remote = self.observe(job)
            return remote is not None and wanted(remote)

        await until(seen, seconds=seconds)
        assert remote is not None
        return remote


def key_of(job: FineTuneJob) -> Key:
    """The job's key in queue and store."""
    return Key(job.metadata.namespace, job.metadata.name)


def status_is(*wanted: str) -> Callable[[Remote], bool]:
    """Whether a snapshot shows one of these statuses."""
    return lambda remote: remote.job is not None and remote.job.raw_status in wanted


async def until(condition: Callable[[], bool], *, seconds: float = 15) -> None:
    """Return when it holds; TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s")
        await asyncio.sleep(0.01)
