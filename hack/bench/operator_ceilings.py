"""What the API server can do at most: kind by kind, and with a life cycle's requests in series.

Nobody watches and nobody decides meanwhile. It knows no operator, only what one has left behind.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import operator_load as load
from bench.operator_site import NAMESPACE, finetune_job, plane_without_controllers
from cluster.progress import Progress
from finetune_api.constants import LABEL_JOB_NAME
from finetune_api.reasons import Phase
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import CONFIG_MAPS, EVENTS, FINETUNEJOBS, JOBS, PODS
from support.kube import Kube

Json = dict[str, Any]

_STATUSES = 3
"""Patches of a FineTuneJob's status in the prototype's life cycle."""


def alone(folder: Path, count: int, progress: Progress) -> Json:
    """Requests a second, kind by kind, with 16 connections."""
    count = max(100, count // 2)

    async def measure(kube: Kube) -> Json:
        async with load.client(kube.plane.kubeconfig) as api:
            names = [f"raw-{number}" for number in range(count)]
            timeline = load.Timeline(Phase.PENDING)
            created = await load.create_jobs(api, map(finetune_job, names), timeline)
            status = {"status": {"phase": Phase.PENDING, "observedGeneration": 1}}
            patched = await load.flat_out(
                partial(api.merge_patch, FINETUNEJOBS, NAMESPACE, name, status,
                        subresource="status")
                for name in names
            )  # fmt: skip
            children = await load.flat_out(
                partial(api.create, JOBS, NAMESPACE, _plain_job(name)) for name in names
            )
            got = await load.flat_out(
                partial(api.get, FINETUNEJOBS, NAMESPACE, name) for name in names
            )
        return {"cr_create": created, "status_patch": patched, "job_create": children, "get": got}

    with progress.stage("ceilings of the API server"), plane_without_controllers(folder) as kube:
        return {"load": os.getloadavg()[0], **asyncio.run(measure(kube))}


def _plain_job(name: str) -> Json:
    container = {"name": "c", "image": "none"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


@dataclass(frozen=True, kw_only=True)
class LifeCycle:
    """What one FineTuneJob has come to: objects to be made again under other names."""

    name: str
    status: Json
    child: Json
    pod: Json
    events: list[Json]

    @classmethod
    def of(cls, kube: Kube, name: str) -> "LifeCycle":
        """As the API server has it after the end."""
        ours = f"?labelSelector={LABEL_JOB_NAME}%3D{name}"
        [child] = kube.list("/apis/batch/v1/namespaces/{}/jobs" + ours, NAMESPACE)
        [pod] = kube.list("/api/v1/namespaces/{}/pods" + ours, NAMESPACE)
        about = f"?fieldSelector=involvedObject.name%3D{name}"
        events = kube.list("/api/v1/namespaces/{}/events" + about, NAMESPACE)
        job = kube.call("GET", f"{FINETUNEJOBS.path(NAMESPACE, name, '')}")
        return cls(name=name, status=job["status"], child=child, pod=pod, events=events)

    def again(self, name: str) -> "LifeCycle":
        """The same for another FineTuneJob."""

        def renamed(obj: Any) -> Any:
            return json.loads(json.dumps(obj).replace(self.name, name))

        return LifeCycle(
            name=name,
            status=renamed(self.status),
            child=renamed(self.child),
            pod=renamed(self.pod),
            events=renamed(self.events),
        )


def in_series(folder: Path, model: LifeCycle, count: int, progress: Progress) -> float:
    """Life cycles a second: the very requests of one, one after the other, 16 jobs at a time."""

    async def run(kube: Kube) -> float:
        async with load.client(kube.plane.kubeconfig) as api:
            copies = [model.again(f"again-{number:05}") for number in range(count)]
            return await load.flat_out(partial(_replay, api, copy) for copy in copies)

    with (
        progress.stage(f"{count} times the same requests in series"),
        plane_without_controllers(folder) as kube,
    ):
        return asyncio.run(run(kube))


async def _replay(api: Api, one: LifeCycle) -> None:
    await api.create(FINETUNEJOBS, NAMESPACE, finetune_job(one.name))
    await _tell(api, one, 0)
    await api.get(CONFIG_MAPS, NAMESPACE, f"{one.name}-result")
    child = await api.create(JOBS, NAMESPACE, _bare(one.child))
    await _tell(api, one, 1)
    pod = await api.create(PODS, NAMESPACE, _bare(one.pod))
    for resource, made, seen in ((PODS, pod, one.pod), (JOBS, child, one.child)):
        name, body = made["metadata"]["name"], {"status": seen["status"]}
        await api.merge_patch(resource, NAMESPACE, name, body, subresource="status")
    await _tell(api, one, _STATUSES - 1)
    for event in one.events:
        await api.create(EVENTS, NAMESPACE, _bare(event))


async def _tell(api: Api, one: LifeCycle, number: int) -> None:
    """Another status, each a change: the API server writes nothing that stays the same."""
    status = one.status | {"message": f"Step {number}"}
    await api.merge_patch(
        FINETUNEJOBS, NAMESPACE, one.name, {"status": status}, subresource="status"
    )


def _bare(obj: Json) -> Json:
    """The object as somebody creates it: of its metadata only what its maker gives."""
    given = ("name", "namespace", "labels", "annotations")
    metadata = {key: obj["metadata"][key] for key in given if key in obj["metadata"]}
    made = {key: value for key, value in obj.items() if key not in ("status", "metadata")}
    if obj.get("kind") == "Job" or "template" in obj.get("spec", {}):
        spec = {k: v for k, v in obj["spec"].items() if k not in ("selector", "template")}
        template = json.loads(json.dumps(obj["spec"]["template"]))
        for label in ("controller-uid", "job-name"):
            template["metadata"]["labels"].pop(f"batch.kubernetes.io/{label}", None)
            template["metadata"]["labels"].pop(label, None)
            metadata.get("labels", {}).pop(f"batch.kubernetes.io/{label}", None)
            metadata.get("labels", {}).pop(label, None)
        made["spec"] = spec | {"template": template}
    return made | {"metadata": metadata}
