"""The progress endpoint with real tokens: TokenReview, pod, child Job, FineTuneJob."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.controlplane import ControlPlane, free_port
from finetune_api.constants import PROGRESS_AUDIENCE
from support.kube import SECRETS, SERVICE_ACCOUNTS, Kube
from support.runtime_world import World, serving_plane
from support.stub_process import StubProcess

pytestmark = pytest.mark.integration

CA = "finetune-operator-progress-ca"
UPDATE = {"trainerStatus": {"progressPercentage": 20, "metrics": [{"name": "step", "value": "5"}]}}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with serving_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


class Endpoint:
    """A leader that receives reports, and a pod of FineTuneJob `tune` that may send them."""

    def __init__(self, world: World, replica: StubProcess, port: int) -> None:
        self.world = world
        self.replica = replica
        self.port = port

    def trust(self) -> ssl.SSLContext:
        secret = self.world.kube.get(SECRETS, self.world.namespace, CA)
        assert secret is not None
        return ssl.create_default_context(
            cadata=base64.b64decode(secret["data"]["ca.crt"]).decode()
        )

    def token(self, pod: dict[str, Any], audience: str = PROGRESS_AUDIENCE) -> str:
        metadata = pod["metadata"]
        bound = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        spec = {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}
        path = SERVICE_ACCOUNTS.format(self.world.namespace) + "/pods/token"
        answer = self.world.kube.call("POST", path, {"spec": spec})
        token: str = answer["status"]["token"]
        return token

    def post(self, token: str, job: str = "tune") -> int:
        path = (
            "/apis/trainer.kubeflow.org/v1alpha1/namespaces/"
            f"{self.world.namespace}/trainjobs/{job}/status"
        )
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            data=json.dumps(UPDATE).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, context=self.trust(), timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            with e:
                return e.code


@pytest.fixture
def endpoint(plane: ControlPlane, tmp_path: Path) -> Iterator[Endpoint]:
    world, port = World(plane, Kube(plane), tmp_path), free_port()
    world.kube.create(SERVICE_ACCOUNTS, world.namespace, {"metadata": {"name": "pods"}})
    settings = {"progress_service": "localhost", "progress_host": "127.0.0.1"}
    with world.replica(progress_port=port, **settings) as replica:
        replica.until(
            lambda: world.kube.get(SECRETS, world.namespace, "finetune-operator-progress-ca")
        )
        yield Endpoint(world, replica, port)


def test_a_pods_report_wakes_its_job_and_a_strangers_does_not(endpoint: Endpoint) -> None:
    world, replica = endpoint.world, endpoint.replica
    job, other = world.job("tune"), world.job("other")
    pod = world.pod(job, world.child(job, "tune-1"), "tune-1-abc")
    stranger = world.pod(other, world.child(other, "other-1"), "other-1-abc")
    bare = world.own_pod("bare")
    key = world.key("tune")
    replica.until(lambda: endpoint.post(endpoint.token(pod)) == 200)
    replica.until(lambda: progress(replica, key) == 20)

    assert endpoint.post(endpoint.token(stranger)) == 403
    assert endpoint.post(endpoint.token(bare)) == 403
    assert endpoint.post(endpoint.token(pod), job="other") == 403
    assert endpoint.post(endpoint.token(pod, audience="somebody-else")) == 401
    assert endpoint.post("no-token-at-all") == 401


def test_a_deleted_pods_token_counts_no_more(endpoint: Endpoint) -> None:
    world = endpoint.world
    job = world.job("tune")
    pod = world.pod(job, world.child(job, "tune-1"), "tune-1-abc")
    token = endpoint.token(pod)
    endpoint.replica.until(lambda: endpoint.post(token) == 200)

    path = f"/api/v1/namespaces/{world.namespace}/pods/tune-1-abc?gracePeriodSeconds=0"
    world.kube.call("DELETE", path)

    endpoint.replica.until(lambda: endpoint.post(token) == 403)


def progress(replica: StubProcess, key: str) -> int | None:
    """What the stub last found reported of a job."""
    found: int | None = [f for f in replica.facts("seen") if f["seen"] == key][-1]["progress"]
    return found
