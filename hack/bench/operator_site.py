"""Control planes for benchmarks: on 127.0.0.1, with our CRD, with or without pods that complete.

It knows no figure. Everything ends with the block that began it.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from cluster.binaries import binary
from cluster.controlplane import ControlPlane, Options
from finetune_api.constants import API_VERSION, COMPONENT_PREPARE, KIND, LABEL_COMPONENT
from finetune_api.pods import PrepareReport
from finetune_api.status import DataSetReport
from support.cluster import control_plane
from support.kube import JOBS as FINETUNEJOBS
from support.kube import Kube
from support.waiting import wait_for

NAMESPACE = "bench"

_CRDS = Path(__file__).parents[2] / "crds"
_WARM_UP_S = 5.0
_NODES = 4
_PODS_EACH = 4000
_CONTROLLERS = (
    "job-controller",
    "serviceaccount-controller",
)
_KWOK = "kwok.x-k8s.io/v1alpha1"

Json = dict[str, Any]


def accepted(training_file_id: str | None = None) -> PrepareReport:
    """A report as the prepare program wrote it for examples/data/gsm8k-sft/train.jsonl."""
    training = DataSetReport(
        sha256="3f0d2c1b5a4e69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
        bytes=289_341,
        examples=449,
        tokens=None if training_file_id else 81_204,
        longest=None if training_file_id else 512,
    )
    return PrepareReport(ok=True, training=training, training_file_id=training_file_id)


def finetune_job(name: str, **spec: Any) -> Json:
    """A FineTuneJob whose training child waits in a queue; None in `spec` removes a member."""
    chosen: Json = {
        "model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"},
        "data": {"training": {"configMap": {"name": "gsm8k", "key": "train.jsonl"}}},
        "hyperparameters": {"maxSteps": 8, "batchSize": 4},
        "kubernetes": {"queueName": "bench"},
    } | spec
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {name: value for name, value in chosen.items() if value is not None},
    }


@contextmanager
def plane_without_controllers(folder: Path) -> Iterator[Kube]:
    """Just etcd and the API server alone: nothing acts but the operator and the driver."""
    with control_plane(folder, Options(controllers=())) as plane:
        yield _furnished(plane)


@contextmanager
def plane_with_pods(folder: Path, report: PrepareReport) -> Iterator[Kube]:
    """All that completes a prepare Job: Job controller, scheduler, and kwok as the kubelet."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = folder / "stages.yaml"
    stages.write_text(yaml.safe_dump_all(_stages(report)))
    options = Options(controllers=_CONTROLLERS, scheduler=True, kwok=stages)
    with control_plane(folder, options) as plane:
        kube = _furnished(plane)
        for number in range(_NODES):
            _add_node(kube, f"node-{number}")
        yield kube


def _furnished(plane: ControlPlane) -> Kube:
    kubectl = [str(binary("kubectl")), f"--kubeconfig={plane.kubeconfig}"]
    subprocess.run([*kubectl, "apply", "-f", str(_CRDS)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [*kubectl, "wait", "--for=condition=Established", "crd", "--all"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    kube = Kube(plane)
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    _warm_up(kube)
    return kube


def _warm_up(kube: Kube) -> None:
    """The first objects of a new kind take a second each: its rules are compiled."""
    until = time.monotonic() + _WARM_UP_S
    while time.monotonic() < until:
        kube.create(FINETUNEJOBS, NAMESPACE, finetune_job("warm-up"))
        status = {"status": {"phase": "Pending", "observedGeneration": 1}}
        kube.patch(FINETUNEJOBS, NAMESPACE, "warm-up", status, "status")
        kube.delete(FINETUNEJOBS, NAMESPACE, "warm-up")


def _add_node(kube: Kube, name: str) -> None:
    kube.call("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    room = {"cpu": str(_PODS_EACH), "memory": f"{_PODS_EACH}Gi", "pods": str(_PODS_EACH)}
    status = {"status": {"allocatable": room, "capacity": room}}
    merge = "application/merge-patch+json"
    kube.call("PATCH", f"/api/v1/nodes/{name}/status", status, content_type=merge)
    # Admission gives it the taint of a node that is not ready, and no controller here removes it.
    untainted = {"spec": {"taints": None}}
    kube.call("PATCH", f"/api/v1/nodes/{name}", untainted, content_type=merge)

    def ready() -> bool:
        conditions = kube.call("GET", f"/api/v1/nodes/{name}")["status"].get("conditions", ())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    wait_for(ready, f"{name} is Ready", within=30)


def _stages(report: PrepareReport) -> list[Json]:
    """What kwok does: nodes are Ready at once, prepare pods succeed with this report."""
    words = report.model_dump_json(exclude_none=True)
    node = """
conditions:
- {type: Ready, status: "True", reason: KubeletReady, message: ready,
   lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
phase: Running
"""
    pod = f"""
phase: Succeeded
startTime: {{{{ Now | Quote }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name }}}}
  image: {{{{ .image }}}}
  imageID: ""
  ready: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      message: {json.dumps(words)}
      startedAt: {{{{ Now | Quote }}}}
      finishedAt: {{{{ Now | Quote }}}}
{{{{ end }}}}
"""
    not_ready: Json = {
        "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
        "operator": "NotIn",
        "values": ["True"],
    }
    scheduled: list[Json] = [
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
        {"key": ".status.phase", "operator": "In", "values": ["Pending"]},
        {"key": ".spec.nodeName", "operator": "Exists"},
        {
            "key": f'.metadata.labels["{LABEL_COMPONENT}"]',
            "operator": "In",
            "values": [COMPONENT_PREPARE],
        },
    ]
    deleted: list[Json] = [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}]
    return [
        _stage("node-ready", "Node", [not_ready], {"patches": [_status(node)]}),
        _stage("prepare-succeeded", "Pod", scheduled, {"patches": [_status(pod)]}),
        _stage("pod-deleted", "Pod", deleted, {"delete": True}),
    ]


def _status(template: str) -> Json:
    return {"subresource": "status", "root": "status", "template": template}


def _stage(name: str, kind: str, when: list[Json], then: Json) -> Json:
    return {
        "apiVersion": _KWOK,
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": when},
            "next": then,
        },
    }
