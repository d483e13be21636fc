"""The chart on a real API server: its objects are taken, and its rights are what they say."""

import subprocess
from collections.abc import Iterator

import pytest

from cluster.binaries import binary
from cluster.controlplane import ControlPlane, Options
from support.chart import CHART, NAMESPACE, helm
from support.cluster import control_plane

pytestmark = pytest.mark.integration

NAMESPACES = (NAMESPACE, "team-a", "team-b", "team-c")
# Serves the whole cluster; tenant: team-a with the Secret azure-openai.
CLUSTER = f"system:serviceaccount:{NAMESPACE}:wide-finetune-operator"
# Serves team-a and team-b; tenant of both, in team-b also with the ServiceAccount tuner.
NARROW = f"system:serviceaccount:{NAMESPACE}:narrow-finetune-operator"


def kubectl(plane: ControlPlane, *arguments: str, text: str = "") -> str:
    command = [str(binary("kubectl")), "--kubeconfig", str(plane.kubeconfig), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert not done.stderr.lower().startswith("error"), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with two releases of the chart."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(folder, Options(controllers=())) as plane:
        for namespace in NAMESPACES:
            kubectl(plane, "create", "namespace", namespace)
        for release, values in (("wide", "gateway"), ("narrow", "namespaced")):
            file = str(CHART / "ci" / f"{values}-values.yaml")
            text = helm("template", release, str(CHART), "-n", NAMESPACE, "--values", file)
            said = kubectl(
                plane, "apply", "--server-side", "--force-conflicts", "-f", "-", text=text
            )
            assert "rror" not in said, said
        yield plane


def test_helm_installs_it(plane: ControlPlane) -> None:
    installed = kubectl(plane, "get", "deployments,crds", "-n", NAMESPACE, "-o", "name").split()
    assert installed == [
        "deployment.apps/narrow-finetune-operator",
        "deployment.apps/wide-finetune-operator",
        "customresourcedefinition.apiextensions.k8s.io/finetunejobs.finetune.dev",
    ]


@pytest.mark.parametrize(
    ("who", "question", "want"),
    [
        pytest.param(CLUSTER, "list secrets -A", "no", id="list all Secrets"),
        pytest.param(CLUSTER, "list secrets -n team-a", "no", id="list a tenant's Secrets"),
        pytest.param(CLUSTER, f"list secrets -n {NAMESPACE}", "no", id="list its own Secrets"),
        pytest.param(CLUSTER, f"watch secrets -n {NAMESPACE}", "no", id="watch its own Secrets"),
        pytest.param(CLUSTER, "get secret/azure-openai -n team-a", "yes", id="a tenant's Secret"),
        pytest.param(CLUSTER, "get secret/other -n team-a", "no", id="another Secret of a tenant"),
        pytest.param(CLUSTER, "get secret/azure-openai -n team-c", "no", id="nobody's Secret"),
        pytest.param(CLUSTER, "create jobs -n team-c", "yes", id="a Job anywhere"),
        pytest.param(CLUSTER, "update finetunejobs -n team-a", "no", id="replace a FineTuneJob"),
        pytest.param(CLUSTER, "delete finetunejobs -n team-a", "no", id="delete a FineTuneJob"),
        pytest.param(CLUSTER, "create pods -n team-a", "no", id="a pod of its own making"),
        pytest.param(
            CLUSTER, "create pods --subresource=exec -n team-a", "no", id="a shell in a pod"
        ),
        pytest.param(CLUSTER, "create tokenreviews", "yes", id="review a token"),
        pytest.param(
            CLUSTER, "create serviceaccounts --subresource=token -n team-a", "no", id="any token"
        ),
        pytest.param(NARROW, "patch finetunejobs -n team-c", "yes", id="let go of any FineTuneJob"),
        pytest.param(NARROW, "list finetunejobs -n team-b", "yes", id="FineTuneJobs it serves"),
        pytest.param(NARROW, "create jobs -n team-c", "no", id="a Job where it does not serve"),
        pytest.param(
            NARROW,
            "create serviceaccounts/tuner --subresource=token -n team-b",
            "yes",
            id="a token of a named ServiceAccount",
        ),
        pytest.param(
            NARROW,
            "create serviceaccounts/default --subresource=token -n team-b",
            "no",
            id="a token of another ServiceAccount",
        ),
        pytest.param(
            NARROW,
            f"patch lease.coordination.k8s.io/narrow-finetune-operator -n {NAMESPACE}",
            "yes",
            id="its own Lease",
        ),
        pytest.param(
            NARROW,
            f"patch lease.coordination.k8s.io/wide-finetune-operator -n {NAMESPACE}",
            "no",
            id="the other release's Lease",
        ),
    ],
)
def test_the_operator_may(plane: ControlPlane, who: str, question: str, want: str) -> None:
    said = kubectl(plane, "auth", "can-i", *question.split(), "--as", who)
    assert said.strip() == want
