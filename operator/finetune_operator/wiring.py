"""Puts the parts together: the runtime's services in, a controller out. Decides nothing."""

import asyncio
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_api.job import FineTuneJob
from finetune_api.pods import UploadTarget
from finetune_operator.acting import Outside
from finetune_operator.adapters.store import Key, Store
from finetune_operator.backends.kubernetes.cluster import Cluster, Ranges
from finetune_operator.core import azure_names, podconfig
from finetune_operator.core.manifests import Surroundings
from finetune_operator.core.plan import Policy
from finetune_operator.reconciler import Reconciler
from finetune_operator.services import Services
from finetune_operator.settings import Settings

if TYPE_CHECKING:
    from finetune_operator.backends.azure_openai import HostedBackend


_BACKEND = "finetune_operator.backends.azure_openai"


class JobController:
    """What the runtime drives: one reconciler and what it must let go of."""

    def __init__(self, store: Store, reconciler: Reconciler, hosted: "_OnDemand") -> None:
        self._store = store
        self._reconciler = reconciler
        self._hosted = hosted

    async def reconcile(self, key: Key) -> float | None:
        """Bring one FineTuneJob a step further; seconds after which to look again."""
        job = self._store.job(key)
        if job is not None and "azureOpenAI" in job["spec"]:
            await self._hosted.load()
        return await self._reconciler.reconcile(key)

    async def close(self) -> None:
        """Let go of connections and tasks."""
        await self._hosted.close()


def build(services: Services) -> JobController:
    """The controller that acts through these services."""
    settings = services.settings
    hosted = _OnDemand(services)
    if settings.azure_allowed_endpoints or settings.azure_ca_file:
        hosted()  # what is wrong with these settings ends the process now, not at the first job
    azure_ca, fetch_ca = _content(settings.azure_ca_file), _content(settings.fetch_ca_file)
    outside = Outside(
        api=services.api,
        store=services.store,
        cluster=Cluster(
            services.api,
            services.store,
            lambda: _surroundings(services, azure_ca, fetch_ca),
            Ranges(allowed=settings.fetch_allowed_ranges, denied=settings.fetch_denied_ranges),
        ),
        hosted=hosted,
        upload_target=lambda job: _upload_target(job, settings),
        events=services.events,
        orphaned=services.metrics.orphaned_remote_objects.inc,
    )
    return JobController(services.store, Reconciler(outside, policy(settings)), hosted)


def _content(path: str) -> str:
    return Path(path).read_text("utf-8") if path else ""


class _OnDemand:
    """The hosted backend, from the first time on that somebody needs it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._made: HostedBackend | None = None

    async def load(self) -> None:
        """Import its libraries beside the event loop, which their 2 seconds would hold up."""
        if self._made is None:
            await asyncio.to_thread(importlib.import_module, _BACKEND)

    def __call__(self) -> "HostedBackend":
        if self._made is None:
            self._made = _hosted(self._services)
        return self._made

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()


def policy(settings: Settings) -> Policy:
    """The durations that decisions use."""
    return Policy(
        stalled_after=settings.stalled_after_seconds,
        list_lag=settings.azure_list_lag_seconds,
        takeover_wait=settings.lease_duration_seconds + settings.azure_create_timeout_seconds,
        deletion_grace=settings.deletion_grace_seconds,
        progress_interval=settings.progress_interval_seconds,
    )


def _hosted(services: Services) -> "HostedBackend":
    # openai and azure-identity are a third of the memory of an operator that has no hosted job.
    from finetune_operator.backends.azure_openai import HostedBackend, HostedSettings

    settings, counter = services.settings, services.metrics.hosted_requests
    authority = (
        {"authority_host": settings.azure_authority_host} if settings.azure_authority_host else {}
    )
    return HostedBackend(
        HostedSettings(
            allowed_endpoints=settings.azure_allowed_endpoints,
            token_scope=settings.azure_token_scope or None,
            ca_file=settings.azure_ca_file or None,
            operator=settings.account,
            create_timeout=settings.azure_create_timeout_seconds,
            request_timeout=settings.azure_request_timeout_seconds,
            poll_interval=settings.azure_poll_seconds,
            **authority,
        ),
        services.api,
        fence=services.leadership.time_left,
        wake=services.queue.add,
        count=lambda operation, code: counter.labels(operation=operation, code=code).inc(),
    )


def _upload_target(job: FineTuneJob, settings: Settings) -> UploadTarget:
    endpoint = azure_names.resolve(
        azure_names.hosted(job).endpoint,
        allowed=settings.azure_allowed_endpoints,
        token_scope=settings.azure_token_scope or None,
    )
    return podconfig.upload_target(
        job,
        base_url=endpoint.base_url,
        token_scope=endpoint.token_scope,
        authority_host=settings.azure_authority_host or None,
    )


def _surroundings(services: Services, azure_ca: str, fetch_ca: str) -> Surroundings:
    """What pods need to know; read anew each time, since certificates are renewed in place."""
    settings = services.settings
    return Surroundings(
        prepare_image=settings.prepare_image,
        prepare_node_selector=settings.prepare_node_selector,
        prepare_tolerations=settings.prepare_tolerations,
        prepare_env=settings.prepare_env,
        trainer_image=settings.trainer_image,
        image_pull_policy=settings.image_pull_policy,
        progress_url=settings.progress_url,
        progress_ca=services.authority.bundle(),
        azure_ca=azure_ca,
        fetch_ca=fetch_ca,
        hf_endpoint=settings.hf_endpoint,
        output_storage=settings.output_storage,
        storage_class=settings.output_storage_class or None,
        image_pull_secrets=settings.image_pull_secrets,
    )
