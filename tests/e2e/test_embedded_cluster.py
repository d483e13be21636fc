"""The embedded cluster keeps the promises that the other tests of this folder stand on."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import existing
from cluster.binaries import binary
from support.cluster import embedded_cluster, image

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(existing.chosen(), reason="KUBECONFIG names another cluster than ours"),
]

WRITE_AND_RESOLVE = """
import pathlib, socket
pathlib.Path("/data/written").write_text("by 10001")
print(socket.gethostbyname("kubernetes.default.svc"))
"""
TAKE_400_MB = "bytearray(400 << 20)"
COUNT_CPU_SECONDS = """
import resource, threading, time
end = time.monotonic() + 3
def spin():
    while time.monotonic() < end: pass
threads = [threading.Thread(target=spin) for _ in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
print(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


class Namespace:
    """A namespace under the `restricted` standard, and kubectl in it."""

    def __init__(self, kubeconfig: Path, name: str) -> None:
        self.name = name
        self._command = [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", f"-n={name}"]

    def kubectl(self, *arguments: str, stdin: object = None) -> str:
        return subprocess.run(
            [*self._command, *arguments],
            input=json.dumps(stdin) if stdin else None,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def create(self, *objects: object) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("create", "-f", "-", stdin=items)

    def finished(self, pod: str) -> dict[str, object]:
        """How the only container of `pod` ended."""
        path = "jsonpath={.status.containerStatuses[0].state.terminated}"
        self.kubectl("wait", f"pod/{pod}", f"--for={path}", "--timeout=120s")
        ended: dict[str, object] = json.loads(self.kubectl("get", f"pod/{pod}", f"-o={path}"))
        return ended


@pytest.fixture(scope="module")
def reference() -> str:
    embedded_cluster()
    return image("operator")


@pytest.fixture
def namespace(reference: str) -> Iterator[Namespace]:
    made = Namespace(embedded_cluster(), f"self-test-{uuid.uuid4().hex[:8]}")
    made.kubectl("create", "namespace", made.name)
    standard = "pod-security.kubernetes.io/enforce=restricted"
    made.kubectl("label", "namespace", made.name, standard)
    made.kubectl("wait", "serviceaccount/default", "--for=create", "--timeout=30s")
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


def a_pod(name: str, reference: str, code: str, **limits: str) -> dict[str, object]:
    container = {
        "name": "main",
        "image": reference,
        "command": ["python", "-c", code],
        "securityContext": RESTRICTED,
        "resources": {"limits": limits},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsUser": 10001,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }


def test_a_restricted_pod_writes_to_its_claim_and_finds_services(
    namespace: Namespace, reference: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "any-name"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    pod = a_pod("writer", reference, WRITE_AND_RESOLVE)
    spec = pod["spec"]
    assert isinstance(spec, dict)
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "any-name"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    namespace.create(claim, pod)
    ended = namespace.finished("writer")
    assert (ended["exitCode"], namespace.kubectl("logs", "writer").strip()) == (0, "10.96.0.1")


def test_a_memory_limit_ends_the_container_with_137(namespace: Namespace, reference: str) -> None:
    namespace.create(a_pod("eater", reference, TAKE_400_MB, memory="100Mi"))
    ended = namespace.finished("eater")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_cpu_limit_holds(namespace: Namespace, reference: str) -> None:
    namespace.create(a_pod("spinner", reference, COUNT_CPU_SECONDS, cpu="500m"))
    assert namespace.finished("spinner")["exitCode"] == 0
    assert float(namespace.kubectl("logs", "spinner")) < 3 * 0.6


def test_eviction_through_the_api_ends_the_pod(namespace: Namespace, reference: str) -> None:
    namespace.create(a_pod("sleeper", reference, "import time; time.sleep(600)"))
    namespace.kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=120s")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "sleeper", "namespace": namespace.name},
        "deleteOptions": {"gracePeriodSeconds": 1},
    }
    path = f"/api/v1/namespaces/{namespace.name}/pods/sleeper/eviction"
    namespace.kubectl("create", f"--raw={path}", "-f", "-", stdin=eviction)
    namespace.kubectl("wait", "pod/sleeper", "--for=delete", "--timeout=60s")
