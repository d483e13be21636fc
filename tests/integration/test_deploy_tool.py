"""`make deploy` and `make undeploy` in a cluster of one's own: only what they made is theirs."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cluster.binaries import binary
from cluster.controlplane import ControlPlane
from cluster.progress import Progress
from cluster.settings import ClusterError
from deploy import certificate, install
from support.cluster import control_plane

pytestmark = pytest.mark.integration

OURS = ("finetune-operator", "finetune-testbed", "finetune-demo")
MARK = "finetune.dev/testbed=true"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("own")) as plane:
        yield plane


@pytest.fixture
def own(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> ControlPlane:
    """The user's own cluster, with a namespace that is nobody's business."""
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    kubectl(plane, "delete", "namespace", *OURS, "mine", "--ignore-not-found")
    kubectl(plane, "create", "namespace", "mine")
    return plane


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    command = [str(binary("kubectl")), f"--kubeconfig={plane.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def namespaces(plane: ControlPlane) -> set[str]:
    found = kubectl(plane, "get", "namespaces", "-o=jsonpath={.items[*].metadata.name}").split()
    return {name for name in found if name in OURS or name == "mine"}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda progress: install.deploy(progress, {}), id="deploy"),
        pytest.param(install.remove, id="undeploy"),
    ],
)
def test_a_real_installation_is_neither_taken_over_nor_removed(
    own: ControlPlane, command: Callable[[Progress], None]
) -> None:
    for name in ("finetune-operator", "finetune-demo"):
        kubectl(own, "create", "namespace", name)
    kubectl(own, "label", "namespace", "finetune-demo", MARK)
    with Progress() as progress, pytest.raises(ClusterError) as caught:
        command(progress)
    assert str(caught.value) == (
        "the namespace finetune-operator of your cluster was not made by `make deploy` and may hold"
        " a real installation: use another cluster"
    )
    assert namespaces(own) == {"finetune-operator", "finetune-demo", "mine"}


@pytest.mark.parametrize("made", [OURS, OURS[1:2], ()], ids=["all", "half", "nothing"])
def test_what_deploy_made_is_removed_and_nothing_else(
    own: ControlPlane, made: tuple[str, ...]
) -> None:
    for name in made:
        kubectl(own, "create", "namespace", name)
        kubectl(own, "label", "namespace", name, MARK)
    with Progress() as progress:
        install.remove(progress)
    assert namespaces(own) == {"mine"}


def test_images_of_ones_own_need_a_place(
    own: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(binary("kubectl").parent), prepend=":")
    monkeypatch.delenv("FINETUNE_IMAGE_PREFIX", raising=False)
    with Progress() as progress, pytest.raises(ClusterError, match="set FINETUNE_IMAGE_PREFIX to"):
        install.bring_up(progress)
    monkeypatch.setenv("FINETUNE_IMAGE_PREFIX", "registry.example.com/team")
    with Progress() as progress:
        assert install.bring_up(progress)["hub"] == (
            "registry.example.com/team/finetune-hub:latest"
        )


@pytest.mark.parametrize(
    ("hosts", "left", "want_kept"),
    [
        pytest.param(("a.svc", "b.svc"), timedelta(days=1), True, id="it serves: nothing restarts"),
        pytest.param(("a.svc", "b.svc"), timedelta(days=3), False, id="it ends too soon"),
        pytest.param(("a.svc",), timedelta(days=1), False, id="other servers"),
    ],
)
def test_a_certificate_is_kept_while_it_serves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hosts: tuple[str, ...],
    left: timedelta,
    want_kept: bool,
) -> None:
    made = certificate.server_certificate(tmp_path, "a.svc", "b.svc")
    before = {path: path.read_bytes() for path in (made.ca, made.certificate, made.key)}
    monkeypatch.setattr(certificate, "_LEFT", left)
    again = certificate.server_certificate(tmp_path, *hosts)
    assert again == made
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert changed == ([] if want_kept else list(before))
