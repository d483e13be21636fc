"""What `make deploy` installs: cluster and images side by side, then two charts.

The operator runs as a pod from its image with the chart's own RBAC; the Azure OpenAI emulator and
the model hub stand in for the outside world.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import existing, full
from cluster import images as registry
from cluster.packages import CLUSTER, IMAGES, install
from cluster.progress import Progress
from cluster.settings import ClusterError, run_folder
from deploy.certificate import server_certificate
from deploy.tools import helm, kubectl
from images.build import build
from images.recipes import RECIPES, REPOSITORY

RELEASE = "finetune-operator"
SYSTEM = "finetune-operator"
TESTBED = "finetune-testbed"
DEMO = "finetune-demo"
EMULATOR = f"emulator.{TESTBED}.svc"
HUB_HOST = f"hub.{TESTBED}.svc"
HUB = f"http://{HUB_HOST}"
"""For pods of one's own, which know no private authority; the operator's use https."""
API_KEY = "testbed-key"
SECRET = "azure-openai"
_CRD = "finetunejobs.finetune.dev"
_NAMESPACES = {SYSTEM: "restricted", TESTBED: "baseline", DEMO: "restricted"}
"""Each with its Pod Security level."""
_MARK = "finetune.dev/testbed"
"""A label of namespaces that `deploy` made, and may take away again."""
_PREFIX_VARIABLE = "FINETUNE_IMAGE_PREFIX"
_WAIT = "5m"
_SPEED = 120
"""Service seconds per second: a job of two epochs takes about 20 s."""


def bring_up(progress: Progress) -> dict[str, str]:
    """The embedded cluster with all images; returns the names that pods use for them.

    A cluster of one's own needs FINETUNE_IMAGE_PREFIX: where it pulls the images from.
    """
    if existing.chosen():
        progress.say(existing.check())
        return _own_images()
    full.require()
    install({**CLUSTER, **IMAGES}, progress)
    # Once: the tags are digests of files that somebody may be editing meanwhile.
    tags = {name: recipe.tag() for name, recipe in RECIPES.items()}
    _side_by_side(lambda: full.up(progress), lambda: build(tags, progress))
    for name, tag in tags.items():
        with progress.stage(f"push {name}"):
            registry.push(tag)
    return {name: registry.reference(tag) for name, tag in tags.items()}


def _own_images() -> dict[str, str]:
    prefix = os.environ.get(_PREFIX_VARIABLE)
    if not prefix:
        raise ClusterError(
            "the cluster in use is your own: push the images to a registry that it pulls from"
            f" and set {_PREFIX_VARIABLE} to their common prefix"
        )
    return {name: f"{prefix}/finetune-{name}:latest" for name in RECIPES}


def _side_by_side(*works: Callable[[], None]) -> None:
    with ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result()


def deploy(progress: Progress, images: dict[str, str]) -> None:
    """Emulator, hub and operator, each ready.

    Raises:
        ClusterError: the user's own cluster has an installation that is not ours; or one fails.
    """
    _refuse_what_is_not_ours()
    for namespace, level in _NAMESPACES.items():
        _namespace(namespace, level)
    names = [f"{host}{end}" for host in (EMULATOR, HUB_HOST) for end in ("", ".cluster.local")]
    tls = server_certificate(run_folder() / "testbed-tls", *names)
    with progress.stage("install the Azure OpenAI emulator and the model hub"):
        _testbed(images, tls.certificate, tls.key)
    with progress.stage("install the operator"):
        _operator(images, tls.ca)
    key = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}}
    _apply({**key, "stringData": {"key": API_KEY}}, DEMO)


def _refuse_what_is_not_ours() -> None:
    """In a cluster of one's own, these namespaces may hold a real installation.

    Raises:
        ClusterError: one of them was not made by `deploy`.
    """
    if not existing.chosen():
        return
    names = "jsonpath={.items[*].metadata.name}"
    unmarked = kubectl("get", "namespaces", "-l", f"!{_MARK}", "-o", names).split()
    if foreign := [name for name in _NAMESPACES if name in unmarked]:
        raise ClusterError(
            f"the namespace {foreign[0]} of your cluster was not made by `make deploy` and may hold"
            " a real installation: use another cluster"
        )


def _apply(manifest: object, namespace: str) -> None:
    kubectl(
        "apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-",
        given=json.dumps(manifest),
    )  # fmt: skip


def _namespace(name: str, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level, _MARK: "true"}
    manifest = {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
    }  # fmt: skip
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(manifest))


def _install(release: str, chart: Path, namespace: str, values: object) -> None:
    helm(
        "upgrade", "--install", release, str(chart), "-n", namespace, "-f", "-",
        "--wait", "--timeout", _WAIT, given=json.dumps(values),
    )  # fmt: skip
    if existing.chosen():  # another image may have been pushed under the same name
        kubectl("rollout", "restart", "deployment", "-n", namespace)
        kubectl("rollout", "status", "deployment", "-n", namespace, f"--timeout={_WAIT}")


def _pull_policy() -> str:
    """Our own tags are digests; behind a `latest` of the user's the image changes."""
    return "Always" if existing.chosen() else "IfNotPresent"


def _testbed(images: dict[str, str], certificate: Path, key: Path) -> None:
    issuer = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
    values = {
        "tls": {"certificate": certificate.read_text(), "key": key.read_text()},
        "images": {
            "emulator": images["azure-openai-emulator"],
            "hub": images["hub"],
            "pullPolicy": _pull_policy(),
        },
        "emulator": {"apiKeys": [API_KEY], "speed": _SPEED, "issuer": issuer},
    }
    _install("testbed", REPOSITORY / "hack" / "testbed" / "chart", TESTBED, values)


def _operator(images: dict[str, str], ca: Path) -> None:
    hub = kubectl("get", "service", "hub", "-n", TESTBED, "-o", "jsonpath={.spec.clusterIP}")
    values = {
        "images": {
            "operator": images["operator"],
            "trainer": images["trainer"],
            "pullPolicy": _pull_policy(),
        },
        "azure": {
            "allowedEndpoints": [f"https://{EMULATOR}"],
            "caBundle": ca.read_text(),
            "authorityHost": f"https://{EMULATOR}",
        },
        "hf": {"endpoint": f"https://{HUB_HOST}"},
        "fetch": {
            # Of all that is inside the cluster, the hub alone may serve https:// data.
            "allowedRanges": [f"{hub}/{128 if ':' in hub else 32}"],
            "deniedRanges": ["10.96.0.0/16", "10.244.0.0/16"],
            "caBundle": ca.read_text(),
        },
        "tenants": [{"namespace": DEMO, "secretNames": [SECRET]}],
        # Scaled, so that nobody waits minutes to see what follows from waiting.
        "settings": {"azurePollSeconds": 3, "stalledAfterSeconds": 30, "deletionGraceSeconds": 30},
        # Tests drive a training pod away by a taint, and nothing else with it.
        "tolerations": [{"key": "finetune.dev/e2e", "operator": "Exists"}],
    }
    _install(RELEASE, REPOSITORY / "helm" / "finetune-operator", SYSTEM, values)


def remove(progress: Progress) -> None:
    """Takes away what `deploy` installed; the CRD stays, with whatever jobs others have.

    Raises:
        ClusterError: the user's own cluster has an installation that is not ours; or it fails.
    """
    _refuse_what_is_not_ours()
    with progress.stage("remove operator, emulator and hub"):
        if kubectl("get", "crd", _CRD, "--ignore-not-found", "-o", "name"):
            kubectl("delete", _CRD, "--all", "-n", DEMO)
        for release, namespace in ((RELEASE, SYSTEM), ("testbed", TESTBED)):
            helm("uninstall", release, "-n", namespace, "--ignore-not-found", "--wait")
        kubectl("delete", "namespace", *_NAMESPACES, "--ignore-not-found")
