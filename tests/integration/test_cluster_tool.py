"""The control plane that other tests stand on: it serves, it stands alone, it goes."""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import cli
from cluster.binaries import binary
from cluster.controlplane import ControlPlane, Options
from cluster.processes import Processes, Program
from cluster.settings import ClusterError
from support.cluster import control_plane, processes_of
from support.waiting import wait_for

pytestmark = pytest.mark.integration


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    command = [str(binary("kubectl")), f"--kubeconfig={plane.kubeconfig}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


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


def test_an_answer_counts_only_while_the_program_that_was_started_runs(tmp_path: Path) -> None:
    processes = Processes(tmp_path, detached=False)
    processes.ensure(Program(name="server", argv=("sleep", "60")))
    processes.wait("server", lambda: True, timeout_s=5)
    processes.stop(["server"])
    processes.ensure(Program(name="server", argv=("false",)))
    wait_for(lambda: not processes.alive("server"), "its end", within=5)
    with pytest.raises(ClusterError, match=r"^server ended; "):
        processes.wait("server", lambda: True, timeout_s=5)  # another one answers
    processes.stop(["server"])


@pytest.fixture
def users_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's kubeconfig: the context `mine` works, the current one leads nowhere."""
    with control_plane(tmp_path / "plane", Options(controllers=())) as plane:
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["contexts"][0]["name"] = "team/mine"
        config["contexts"].append({"name": "other", "context": {"cluster": "gone", "user": "gone"}})
        config["clusters"].append({"name": "gone", "cluster": {"server": "https://127.0.0.1:1"}})
        config["current-context"] = "other"
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setenv("PATH", str(binary("kubectl").parent), prepend=os.pathsep)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield path


def test_a_context_is_the_one_for_every_program_that_env_is_told_to(
    users_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--context", "team/mine", "env"]) == 0
    said = [shlex.split(line)[1] for line in capsys.readouterr().out.splitlines()]
    exported = dict(each.split("=", 1) for each in said)
    named = Path(exported["KUBECONFIG"])
    assert named != users_config
    assert named.stat().st_mode & 0o077 == 0
    kept = yaml.safe_load(named.read_text())
    assert [each["name"] for each in kept["contexts"]] == ["team/mine"]
    done = subprocess.run(
        ["kubectl", "get", "--raw", "/readyz"],
        env=os.environ | exported,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ok", "")


def test_a_context_that_is_not_there_is_said(
    users_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--context", "nowhere", "up"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cluster: your cluster cannot be used: error: " in said
    assert "nowhere" in said


def test_envtests_binaries_go_first_and_need_no_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert binary("etcd") == tmp_path / "etcd"
    assert binary("kubelet").parent != tmp_path
    assert Options(controllers=()).modules == []
