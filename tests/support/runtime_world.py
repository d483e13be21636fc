"""A namespace of its own for each test of the runtime, on one control plane."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.controlplane import ControlPlane, Options
from finetune_api.constants import LABEL_JOB_NAME, LABEL_JOB_UID, LABEL_MANAGED_BY, MANAGED_BY
from support.builders_api import pod_job
from support.cluster import control_plane
from support.kube import JOBS, Kube
from support.stub_process import StubProcess

Json = dict[str, Any]

CHILD_JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"
ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"

LONG_LEASE = {"lease_duration_seconds": 60, "lease_renew_deadline_seconds": 50}
SHORT_LEASE = {
    "lease_duration_seconds": 2,
    "lease_renew_deadline_seconds": 1.5,
    "lease_retry_seconds": 0.3,
    "azure_create_timeout_seconds": 1,
}
_CRD = Path(__file__).parents[2] / "crds" / "finetune.dev_finetunejobs.yaml"
_CONTAINERS = [{"name": "c", "image": "none"}]


@contextmanager
def serving_plane(folder: Path) -> Iterator[ControlPlane]:
    """A control plane without controllers that serves FineTuneJobs."""
    with control_plane(folder, Options(controllers=())) as plane:
        kube = Kube(plane)
        kube.kubectl("apply", "--server-side", "-f", str(_CRD))
        kube.kubectl("wait", "--for=condition=Established", "crd/finetunejobs.finetune.dev")
        yield plane


class World:
    """One namespace: its objects, and replicas that serve it and keep their Lease in it."""

    def __init__(self, plane: ControlPlane, kube: Kube, folder: Path) -> None:
        self.plane = plane
        self.kube = kube
        self.folder = folder
        self.namespace = f"test-{secrets.token_hex(4)}"
        kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    def replica(self, name: str = "one", **settings: Any) -> StubProcess:
        chosen = {"namespaces": self.namespace, "pod_namespace": self.namespace, **settings}
        kubeconfig = chosen.pop("kubeconfig", self.plane.kubeconfig)
        return StubProcess(self.folder, kubeconfig, name=name, **chosen)

    def key(self, name: str) -> str:
        return f"{self.namespace}/{name}"

    def job(self, name: str) -> Json:
        manifest = pod_job(name)
        manifest["metadata"]["namespace"] = self.namespace
        return self.kube.create(JOBS, self.namespace, manifest)

    def child(self, job: Json, name: str) -> Json:
        body = {"metadata": self._owned(name, job, "FineTuneJob", job), "spec": _job_spec()}
        return self.kube.create(CHILD_JOBS, self.namespace, body)

    def delete_child(self, name: str) -> None:
        # The default for Jobs is to orphan their pods, by a finalizer that nobody removes here.
        path = f"{CHILD_JOBS.format(self.namespace)}/{name}?propagationPolicy=Background"
        self.kube.call("DELETE", path)

    def pod(self, job: Json, child: Json, name: str) -> Json:
        metadata = self._owned(name, child, "Job", job)
        return self.kube.create(PODS, self.namespace, _pod(metadata))

    def own_pod(self, name: str) -> Json:
        return self.kube.create(PODS, self.namespace, _pod({"name": name}))

    def lease(self) -> Json:
        lease = self.kube.get(LEASES, self.namespace, "finetune-operator")
        assert lease is not None
        spec: Json = lease["spec"]
        return spec

    def _owned(self, name: str, owner: Json, kind: str, job: Json) -> Json:
        group = "batch/v1" if kind == "Job" else "finetune.dev/v1alpha1"
        return {
            "name": name,
            "labels": {
                LABEL_MANAGED_BY: MANAGED_BY,
                LABEL_JOB_NAME: job["metadata"]["name"],
                LABEL_JOB_UID: job["metadata"]["uid"],
            },
            "ownerReferences": [
                {
                    "apiVersion": group,
                    "kind": kind,
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ],
        }


def _pod(metadata: Json) -> Json:
    spec = {
        "containers": _CONTAINERS,
        "serviceAccountName": "pods",
        "automountServiceAccountToken": False,
    }
    return {"metadata": metadata, "spec": spec}


def _job_spec() -> Json:
    return {"template": {"spec": {"containers": _CONTAINERS, "restartPolicy": "Never"}}}
