"""What is done in the cluster for a job: children created, deleted, explained; results exported.

Acts and decides nothing. Everything is created once, under a name that holds the job's uid: a name
that is taken is ours only if its owner is.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from finetune_api.constants import LABEL_JOB_UID
from finetune_api.job import FineTuneJob
from finetune_api.pods import UploadTarget
from finetune_api.reasons import Reason
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.refusals import AlreadyExists
from finetune_operator.adapters.resources import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    PODS,
    PVCS,
    SERVICE_ACCOUNTS,
    Resource,
)
from finetune_operator.adapters.store import Key, Store, key_of, version_of
from finetune_operator.backends.kubernetes.facts import Json, is_controlled_by, object_event
from finetune_operator.core import child_jobs, manifests, names, podconfig
from finetune_operator.core.errors import Terminal, Transient
from finetune_operator.core.manifests import Surroundings
from finetune_operator.core.mounts import Manifest
from finetune_operator.core.observed import ObjectEvent
from finetune_operator.core.pod_story import output_location

_LARGEST_GRADER = 48 * 1024
"""Characters: beside two files of authorities, what annotations can carry."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """CIDR ranges for https:// data: allowed although private, and refused as the cluster's own."""

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


class Cluster:
    """The cluster as far as a job's children go."""

    def __init__(
        self, api: Api, store: Store, around: Callable[[], Surroundings], ranges: Ranges
    ) -> None:
        self._api = api
        self._store = store
        self._around = around
        self._ranges = ranges
        self._accounts: set[str] = set()

    async def create_prepare(
        self, job: FineTuneJob, retry: int, upload: UploadTarget | None, min_examples: int
    ) -> None:
        """Creates the prepare Job, if it is not there yet."""
        config = podconfig.prepare_config(
            job,
            upload=upload,
            min_examples=min_examples,
            allowed_ranges=list(self._ranges.allowed),
            denied_ranges=list(self._ranges.denied),
        )
        if config.grader and len(config.grader.model_dump_json()) > _LARGEST_GRADER:
            raise Terminal(
                Reason.CONFIG_INVALID,
                f"spec.method.reinforcement.grader is larger than {_LARGEST_GRADER // 1024} KiB"
                " in all: shorten its programs and texts.",
            )
        name = names.prepare_name(job, retry)
        await self._check_result_name(job)
        await self.ensure_account(job.metadata.namespace)
        await self._create_job(job, child_jobs.prepare_job(job, name, config, self._around()))

    async def _check_result_name(self, job: FineTuneJob) -> None:
        """Before anything is spent: the result's ConfigMap must be ours to write."""
        name = names.result_name(job)
        found = await self._api.get(CONFIG_MAPS, job.metadata.namespace, name)
        if found is not None and not _is_ours(found, job):
            raise _conflict("ConfigMap", name)

    async def create_training(self, job: FineTuneJob, attempt: int) -> None:
        """Creates the Job of an attempt and what it mounts, as far as it is not there yet."""
        around, name = self._around(), names.training_name(job, attempt)
        if around.progress_url and not around.progress_ca:
            raise Transient(
                Reason.STARTING,
                "The progress endpoint's certificate is being made; the pod is created after that:"
                " if this lasts, see the operator's log",
                retry_after=1,
                waits_for_user=True,
            )
        claim, path = output_location(job)
        config = podconfig.training_config(
            job,
            attempt=attempt,
            output_path=path,
            allowed_ranges=list(self._ranges.allowed),
            denied_ranges=list(self._ranges.denied),
        )
        child = child_jobs.training_job(job, name, claim, around)
        if job.spec.output is None:
            await self._check_job(job, child)
        first: list[Awaitable[object]] = [
            self.ensure_account(job.metadata.namespace),
            self._create(CONFIG_MAPS, job, manifests.config_map(job, name, config, around)),
        ]
        if job.spec.output is None:
            first.append(self._create_claim(job, manifests.output_claim(job, claim, around)))
        await asyncio.gather(*first)
        await self._create_job(job, child)

    async def _check_job(self, job: FineTuneJob, manifest: Manifest) -> None:
        """Before the job's own claim: it stays, and a refused Job must not leave one behind."""
        with contextlib.suppress(AlreadyExists):
            namespace = job.metadata.namespace
            await self._api.create(JOBS, namespace, manifest, dry_run=True, strict=True)

    async def _create_claim(self, job: FineTuneJob, manifest: Manifest) -> None:
        """No pod can mount a claim that is going, but one that is using it keeps it."""
        claim = await self._create(PVCS, job, manifest)
        if _is_going(claim):
            raise Transient(
                Reason.VOLUME_PENDING,
                f"PersistentVolumeClaim {manifest['metadata']['name']} is being deleted: it is made"
                " anew once no pod uses it any more",
                retry_after=5.0,
                waits_for_user=True,
            )

    async def has_claim(self, job: FineTuneJob, name: str) -> bool:
        """Whether the job's own claim is there, and stays."""
        found = await self._api.get(PVCS, job.metadata.namespace, name)
        return found is not None and not _is_going(found)

    async def own_claim(self, job: FineTuneJob, name: str, *, delete: bool) -> None:
        """Makes the job the owner of its claim, so that both go together, or takes that back."""
        owners = [manifests.owner(job)] if delete else []
        body = {"metadata": {"ownerReferences": owners}}
        await self._api.merge_patch(PVCS, job.metadata.namespace, name, body)

    async def _create_job(self, job: FineTuneJob, manifest: Manifest) -> None:
        self._store.put_child(JOBS, await self._create(JOBS, job, manifest), wake=False)

    async def _create(self, resource: Resource, job: FineTuneJob, manifest: Manifest) -> Json:
        """The object as created, or as it was there before, if it is this job's."""
        namespace, name = job.metadata.namespace, manifest["metadata"]["name"]
        try:
            # A misspelt affinity would be left out without a word.
            return await self._api.create(resource, namespace, manifest, strict=resource is JOBS)
        except AlreadyExists:
            found = await self._api.get(resource, namespace, name)
        if found is None or not _is_ours(found, job):
            raise _conflict(manifest["kind"], name)
        return found

    async def ensure_account(self, namespace: str, *, anew: bool = False) -> None:
        """Creates the ServiceAccount of tenant pods; `anew`: somebody has deleted it since."""
        if namespace in self._accounts and not anew:
            return
        with contextlib.suppress(AlreadyExists):
            await self._api.create(
                SERVICE_ACCOUNTS, namespace, manifests.trainer_account(namespace)
            )
        self._accounts.add(namespace)

    async def delete_child(self, job: FineTuneJob, name: str, uid: str) -> None:
        """Deletes a child Job, its pods first, each with its grace period."""
        namespace = job.metadata.namespace
        await self._api.delete(JOBS, namespace, name, uid=uid, propagation="Foreground")
        await self.refresh_child(job, name)

    async def refresh_child(self, job: FineTuneJob, name: str) -> bool:
        """Asks the API server itself about a child; whether it is there."""
        key = Key(job.metadata.namespace, name)
        found = await self._api.get(JOBS, key.namespace, key.name)
        if found is None:
            self._store.drop_child(JOBS, key)
            return False
        if not is_controlled_by(found, job.metadata.uid) or not _is_labelled(found, job):
            raise _conflict("Job", name)
        self._store.put_child(JOBS, found, wake=False)
        return True

    async def read_pods(self, job: FineTuneJob) -> None:
        """Takes over the job's pods as the API server lists them."""
        namespace, uid = job.metadata.namespace, job.metadata.uid
        listed = await self._api.list_all(PODS, namespace, labels=f"{LABEL_JOB_UID}={uid}")
        for pod in listed:
            self._store.put_child(PODS, pod, wake=False)
        known = {key_of(pod): version_of(pod) for pod in self._store.child_pods(uid)}
        for key in known.keys() - set(map(key_of, listed)):
            self._store.drop_child(PODS, key, version=known[key])

    async def set_ttl(self, job: FineTuneJob, name: str, seconds: int) -> None:
        """Lets the cluster remove a finished child Job."""
        body = {"spec": {"ttlSecondsAfterFinished": seconds}}
        namespace = job.metadata.namespace
        patched = await self._api.merge_patch(JOBS, namespace, name, body)
        if patched is None:
            self._store.drop_child(JOBS, Key(namespace, name))
        else:
            self._store.put_child(JOBS, patched, wake=False)

    async def read_events(
        self, job: FineTuneJob, job_uid: str, pod_uid: str | None
    ) -> tuple[ObjectEvent, ...]:
        """The Events about a child Job, or about its pod if it has one."""
        items = await self._api.list_all(
            EVENTS, job.metadata.namespace, fields=f"involvedObject.uid={pod_uid or job_uid}"
        )
        return tuple(object_event(item) for item in items)

    async def export_result(self, job: FineTuneJob, data: dict[str, str]) -> None:
        """Writes the result's ConfigMap."""
        manifest = manifests.result_config_map(job, data)
        found = await self._create(CONFIG_MAPS, job, manifest)
        if found.get("data") != data:
            name = manifest["metadata"]["name"]
            await self._api.merge_patch(CONFIG_MAPS, job.metadata.namespace, name, {"data": data})


def _is_going(found: Json) -> bool:
    return "deletionTimestamp" in found["metadata"]


def _is_labelled(found: Json, job: FineTuneJob) -> bool:
    labels = found["metadata"].get("labels", {})
    return bool(labels.get(LABEL_JOB_UID) == job.metadata.uid)


def _is_ours(found: Json, job: FineTuneJob) -> bool:
    """Controlled by this very job; its own claim, which outlives it, carries only the label."""
    if is_controlled_by(found, job.metadata.uid):
        return True
    outlives = found["kind"] == "PersistentVolumeClaim" and not found["metadata"].get(
        "ownerReferences"
    )
    return outlives and _is_labelled(found, job)


def _conflict(kind: str, name: str) -> Transient:
    return Transient(
        Reason.NAME_CONFLICT,
        f"{kind} {name} exists but its labels and owner are not this job's: delete it, or choose"
        " another name for the job",
        retry_after=5.0,  # a namesake's leftovers are on their way out
        waits_for_user=True,
    )
