"""What moves outside the operator: pods and their Jobs, and the hosted jobs of the service."""

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

from finetune_api.constants import COMPONENT_PREPARE, LABEL_COMPONENT
from finetune_api.pods import PrepareReport, TrainerReport
from finetune_api.status import CheckpointStatus, DataSetReport
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, PODS
from finetune_operator.core.conditions import timestamp
from support.fake_api import FakeApi, Json
from support.fake_service import FakeService

_DATA = DataSetReport(sha256="ab" * 32, bytes=10, examples=100)


class Motion:
    """Moves by chance; `unlucky` says, for a share of the trouble, whether something goes wrong."""

    def __init__(
        self,
        api: FakeApi,
        service: FakeService,
        chance: random.Random,
        unlucky: Callable[[float], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._api, self._service = api, service
        self._chance, self._unlucky, self._now = chance, unlucky, now

    def _luck(self, probability: float) -> bool:
        return self._chance.random() < probability

    def step(self) -> None:
        """One step of everything."""
        owners = {obj["metadata"]["uid"] for obj in self._api.all(FINETUNEJOBS)}
        for obj in self._api.all(JOBS):
            if obj["metadata"]["ownerReferences"][0]["uid"] not in owners:
                self._api.start_deletion(JOBS, obj, foreground=True)
            if self._luck(0.7):
                self._move_child(self._api.current(JOBS, obj))
        for job in self._service.active():
            if self._luck(0.5):
                self._move_hosted(job)

    def _move_hosted(self, job: Any) -> None:
        match job.status:
            case "pending":
                job.status = "running"
            case "running" if job.step >= 5:
                job.status = "failed" if self._unlucky(1) else "succeeded"
            case "running":
                job.step += 1
            case "pausing":
                job.status = "paused"
            case "resuming":
                job.status = "running"

    def _pods_of(self, child: Json) -> list[Json]:
        uid = child["metadata"]["uid"]
        return [
            pod
            for pod in self._api.all(PODS)
            if any(owner["uid"] == uid for owner in pod["metadata"]["ownerReferences"])
        ]

    def _move_child(self, child: Json) -> None:
        pods, status = self._pods_of(child), child.get("status", {})
        if "deletionTimestamp" in child["metadata"]:
            self._move_deletion(child, pods)
        elif status.get("conditions"):
            if child["spec"].get("ttlSecondsAfterFinished") is not None:
                self._api.start_deletion(JOBS, child, foreground=True)
        elif child["spec"].get("suspend"):
            if self._luck(0.5):
                self._api.change(JOBS, child, {"spec": {"suspend": False}})
        else:
            self._move_running(child, pods)

    def _move_deletion(self, child: Json, pods: list[Json]) -> None:
        for pod in pods:
            if "exitCode" in _terminated(pod):
                self._api.remove(PODS, pod)
            else:
                self._end_pod(pod, 75, _words(child, 75))
        if not pods:
            self._api.remove(JOBS, child)

    def _move_running(self, child: Json, pods: list[Json]) -> None:
        live = [pod for pod in pods if "exitCode" not in _terminated(pod)]
        if live:
            self._move_pod(child, live[0])
            return
        last = max(pods, key=lambda pod: int(pod["metadata"]["resourceVersion"]), default=None)
        code = _terminated(last).get("exitCode") if last else None
        if last is None or code == 75:
            self._new_pod(child)
        else:
            kind = "Complete" if code == 0 else "Failed"
            condition = {"type": kind, "status": "True", "reason": "PodFailurePolicy"}
            self._api.change(JOBS, child, {"status": {"conditions": [condition]}})

    def _new_pod(self, child: Json) -> None:
        meta = child["metadata"]
        owner = {"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        pod = {
            "metadata": {
                "name": f"{meta['name']}-{self._api.version}",
                "labels": meta["labels"],
                "ownerReferences": [owner],
            },
            "spec": {},
            "status": {"phase": "Pending"},
        }
        self._api.add(PODS, meta["namespace"], pod)

    def _move_pod(self, child: Json, pod: Json) -> None:
        if pod["status"]["phase"] == "Pending":
            patch = {"spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}}
            self._api.change(PODS, pod, patch)
            return
        codes = (75, 137, 1, 65, 69, 78) if self._unlucky(2) else (0,)
        code = self._chance.choice(codes)
        self._end_pod(pod, code, _words(child, code))

    def _end_pod(self, pod: Json, code: int, words: str) -> None:
        ended = {"exitCode": code, "message": words, "finishedAt": timestamp(self._now())}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [
                {"name": pod["metadata"]["labels"][LABEL_COMPONENT], "state": {"terminated": ended}}
            ],
        }
        self._api.change(PODS, pod, {"status": status})


def _terminated(pod: Json) -> Json:
    containers = pod.get("status", {}).get("containerStatuses") or [{}]
    found: Json = containers[0].get("state", {}).get("terminated", {})
    return found


def _words(child: Json, code: int) -> str:
    if child["metadata"]["labels"][LABEL_COMPONENT] != COMPONENT_PREPARE:
        saved = CheckpointStatus(step=3, path="checkpoints/checkpoint-3")
        return TrainerReport(
            code=code,
            reason="TrainingFailed" if code else "Succeeded",
            message="The end",
            step=3,
            checkpoint=saved,
            result_path=None if code else "result",
        ).model_dump_json(exclude_none=True)
    match code:
        case 0:
            report = PrepareReport(ok=True, training=_DATA, training_file_id="file-1")
        case 65:
            report = PrepareReport(ok=False, reason="DataInvalid", message="Bad rows")
        case 78:
            report = PrepareReport(
                ok=False, reason="AuthenticationFailed", message="Wrong key", waits_for_user=True
            )
        case 1 | 137:
            return ""
        case _:
            report = PrepareReport(ok=False, transient=True, message="Stopped")
    return report.model_dump_json(exclude_none=True)
