"""The cluster tool on machines where it cannot do what it is asked: one sentence that says why."""

import re
import socket
from pathlib import Path

import pytest

from cluster import binaries, cli, existing, images, network, packages
from cluster.processes import Processes, Program
from cluster.progress import Progress
from cluster.settings import ClusterError, run_folder
from deploy import install, tools

ROOT = Path(__file__).parents[2]
NOT_RUNNING = "the embedded cluster does not run: start it with `make cluster`"


@pytest.mark.parametrize(
    ("kubeconfig", "want"),
    [
        pytest.param("", False, id="nothing said: ours"),
        pytest.param("/home/me/.kube/config", True, id="KUBECONFIG: the user's"),
        pytest.param(str(run_folder() / "admin.kubeconfig"), False, id="as env set it: ours"),
    ],
)
def test_whose_cluster_is_used(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: str, want: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert existing.chosen() is want


@pytest.fixture
def users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/me/.kube/config")


@pytest.fixture
def nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that never had a cluster; the folder is the only one on its PATH."""
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("KUBECONFIG", "")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(network, "NODE_DEVICE", "ftnone0")
    return programs


@pytest.mark.parametrize(
    ("command", "want"),
    [
        pytest.param(["down"], "the cluster in use is your own: `down` leaves it alone", id="down"),
        pytest.param(
            ["load", "image"],
            "the cluster in use is your own: push images to a registry that it pulls from",
            id="load",
        ),
    ],
)
def test_a_cluster_of_ones_own_is_left_alone(
    users_own: None, capsys: pytest.CaptureFixture[str], command: list[str], want: str
) -> None:
    assert cli.main(command) == 1
    assert capsys.readouterr().err == f"cluster: {want}\n"


@pytest.mark.parametrize("command", [["env"], ["load", "image"]], ids=" ".join)
def test_what_needs_the_running_cluster_says_so(
    nothing_there: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main(command) == 1
    assert capsys.readouterr().err.startswith(f"cluster: {NOT_RUNNING}")


@pytest.mark.parametrize(
    ("device", "address", "want"),
    [
        pytest.param("lo", "127.0.0.1", True, id="the device carries it"),
        pytest.param("lo", "10.97.0.1", False, id="the device carries another one"),
        pytest.param("ftnone0", "127.0.0.1", False, id="no such device, as after a reboot"),
    ],
)
def test_nothing_is_sent_to_the_node_unless_its_device_has_the_address(
    monkeypatch: pytest.MonkeyPatch, device: str, address: str, want: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setattr(network, "NODE_DEVICE", device)
    monkeypatch.setattr(network, "NODE_ADDRESS", address)
    if want:
        assert tools.environment()["KUBECONFIG"].startswith(str(run_folder()))
    else:
        with pytest.raises(ClusterError, match=NOT_RUNNING):
            tools.environment()


def test_kubectl_that_is_not_there_is_said(nothing_there: Path, users_own: None) -> None:
    with pytest.raises(ClusterError, match=r"^kubectl is not on the PATH; it is needed"):
        tools.kubectl("get", "namespaces")


def test_another_program_at_the_registrys_address_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processes = Processes(tmp_path, detached=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(images, "REGISTRY", f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ClusterError, match=r"^another program listens at 127\.0\.0\.1:"):
            images.refuse_a_foreign_registry(processes)
        processes.ensure(Program(name="docker-registry", argv=("sleep", "60")))  # so it is ours
        images.refuse_a_foreign_registry(processes)
        processes.stop(["docker-registry"])
    images.refuse_a_foreign_registry(processes)


@pytest.mark.parametrize(
    ("go", "module", "want"),
    [
        pytest.param(
            None, binaries.KUBERNETES, "kubernetes needs Go 1.24 .*there is none", id="none"
        ),
        pytest.param(
            "echo go version go1.19.8 linux/amd64",
            binaries.KUBERNETES,
            r"kubernetes needs Go 1\.24 or newer \(go version go1\.19\.8 linux/amd64\)",
            id="Debian 12's",
        ),
        pytest.param(
            "echo go version go1.24.0 linux/amd64", binaries.KUBERNETES, None, id="enough"
        ),
        pytest.param(
            "echo go version go1.24.0 linux/amd64",
            binaries.KWOK,
            r"building kwok needs Go 1\.26",
            id="enough for Kubernetes, not for kwok",
        ),
        pytest.param(
            "echo 'go: go.mod requires go >= 1.26.0 (running go 1.24.0)' >&2; exit 1",
            binaries.KWOK,
            r"needs Go 1\.26 or newer \(go: go\.mod requires go >= 1\.26\.0",
            id="one that may not bring itself another",
        ),
    ],
)
def test_the_go_that_a_build_needs(
    nothing_there: Path, go: str | None, module: binaries.Module, want: str | None
) -> None:
    if go is not None:
        program = nothing_there / "go"
        program.write_text(f"#!/bin/sh\n{go}\n")
        program.chmod(0o755)
    if want is None:
        binaries.require_go([module])
    else:
        with pytest.raises(ClusterError, match=want):
            binaries.require_go([module])


def test_the_readme_names_the_go_that_the_cluster_needs() -> None:
    major, minor = max(map(binaries.go_needed, binaries.NODE))
    named = re.findall(r"Go (\d+\.\d+)", (ROOT / "README.md").read_text())
    assert set(named) == {f"{major}.{minor}"}


def test_a_machine_that_cannot_install_is_told_what_to_do(nothing_there: Path) -> None:
    with Progress() as progress, pytest.raises(ClusterError) as caught:
        packages.install({"runc": "runc", "buildah": "buildah"}, progress)
    assert str(caught.value) == (
        "install runc, buildah on this machine, or use a cluster of your own by setting KUBECONFIG"
    )


@pytest.mark.parametrize(
    ("user", "want"),
    [
        pytest.param(1000, "^containers on this machine need root: ", id="no root"),
        pytest.param(0, "^building kubernetes needs Go ", id="root, but no Go"),
    ],
)
def test_a_demo_that_cannot_come_to_an_end_begins_nothing(
    nothing_there: Path, monkeypatch: pytest.MonkeyPatch, user: int, want: str
) -> None:
    """Packages are missing too, but installing and building them would be in vain."""
    monkeypatch.setattr("os.geteuid", lambda: user)
    with Progress() as progress, pytest.raises(ClusterError, match=want):
        install.bring_up(progress)
