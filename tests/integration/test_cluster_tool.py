"""The control plane that other tests stand on: it serves, it stands alone, it goes."""

import json
import subprocess
from pathlib import Path

import pytest

from cluster import existing, packages
from cluster.binaries import binary
from cluster.controlplane import ControlPlane, Options
from cluster.processes import Processes, Program
from cluster.progress import Progress
from cluster.settings import ClusterError, run_folder
from support.cluster import control_plane

pytestmark = pytest.mark.integration


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    command = [str(binary("kubectl")), f"--kubeconfig={plane.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that name `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in command:
            found.append(command.replace("\0", " "))
    return found


def test_two_control_planes_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    alone = Options(controllers=())
    with (
        control_plane(tmp_path / "one", alone) as one,
        control_plane(tmp_path / "two", alone) as two,
    ):
        kubectl(one, "create", "namespace", "only-in-one")
        assert "only-in-one" in kubectl(one, "get", "namespaces")
        assert "only-in-one" not in kubectl(two, "get", "namespaces")
    assert processes_of(tmp_path) == []


def test_controllers_work_and_an_outage_keeps_what_was_stored(tmp_path: Path) -> None:
    with control_plane(tmp_path) as plane:
        kubectl(plane, "create", "job", "waiting", "--image=none")
        kubectl(plane, "wait", "job/waiting", "--for=jsonpath={.status.active}=1", "--timeout=20s")
        with plane.outage():
            assert not [line for line in processes_of(tmp_path) if "kube-apiserver" in line]
        assert json.loads(kubectl(plane, "get", "job/waiting", "-o=json"))["status"]["active"] == 1


def test_service_account_tokens_are_signed_by_keys_that_anyone_in_the_cluster_can_find(
    tmp_path: Path,
) -> None:
    with control_plane(tmp_path, Options(controllers=())) as plane:
        discovery = json.loads(kubectl(plane, "get", "--raw=/.well-known/openid-configuration"))
        keys = json.loads(kubectl(plane, "get", "--raw=/openid/v1/jwks"))["keys"]
    assert discovery["issuer"] == plane.server
    assert [key["kty"] for key in keys] == ["RSA"]


def test_a_running_program_is_left_alone_until_its_command_line_changes(tmp_path: Path) -> None:
    processes = Processes(tmp_path, detached=False)
    started = [
        processes.ensure(Program(name="sleeper", argv=("sleep", seconds)))
        for seconds in ("60", "60", "61")
    ]
    processes.stop(["sleeper"])
    assert started == [True, False, True]
    assert not processes.alive("sleeper")


def test_a_pid_that_went_to_somebody_else_is_not_ours(tmp_path: Path) -> None:
    processes = Processes(tmp_path, detached=False)
    processes.ensure(Program(name="sleeper", argv=("sleep", "60")))
    try:
        record = tmp_path / "pids/sleeper.json"
        kept = record.read_text()
        record.write_text(json.dumps(json.loads(kept) | {"start_time": 1}))
        assert not processes.alive("sleeper")
        record.write_text(kept)
    finally:
        processes.stop(["sleeper"])


@pytest.mark.parametrize(
    ("kubeconfig", "context", "want"),
    [
        pytest.param("", None, False, id="nothing said: ours"),
        pytest.param("/home/me/.kube/config", None, True, id="KUBECONFIG: the user's"),
        pytest.param("", "kind-dev", True, id="--context: the user's"),
        pytest.param(str(run_folder() / "admin.kubeconfig"), None, False, id="as env set it: ours"),
    ],
)
def test_whose_cluster_is_used(
    monkeypatch: pytest.MonkeyPatch, kubeconfig: str, context: str | None, want: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert existing.chosen(context) is want


def test_envtests_binaries_go_first_and_need_no_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert binary("etcd") == tmp_path / "etcd"
    assert binary("kubelet").parent != tmp_path
    assert Options(controllers=()).modules == []


def test_a_machine_that_cannot_install_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Progress() as progress, pytest.raises(ClusterError) as caught:
        packages.install({"runc": "runc", "buildah": "buildah"}, progress)
    assert str(caught.value) == (
        "install runc, buildah on this machine, or use a cluster of your own by setting KUBECONFIG"
    )
