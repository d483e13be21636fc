"""The whole cluster: control plane, node, network, volumes, DNS and registry.

It puts the parts together in order; each part lives in a module of its own.
"""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import binaries, cleanup, images, network, packages
from cluster.controlplane import ControlPlane, Options
from cluster.locks import only_one
from cluster.node import Node, containerd
from cluster.processes import Processes
from cluster.progress import Progress
from cluster.settings import (
    API_PORT,
    NODE_ADDRESS,
    NODE_NAME,
    ClusterError,
    run_folder,
)

_ETCD_PORTS = (API_PORT + 1, API_PORT + 2)
_NODE_READY_S = 120
_POLL_S = 0.2


def kubeconfig() -> Path:
    """The administrator's kubeconfig, there once the cluster has been started."""
    return run_folder() / "admin.kubeconfig"


def require() -> None:
    """Refuse to go on without what only the user can bring: root and Go.

    Raises:
        ClusterError: saying what is missing and what to do about it.
    """
    packages.require_root()
    binaries.require_go(binaries.NODE)


def up(progress: Progress) -> None:
    """Start the cluster, or what of it does not run; build and install what is missing.

    Raises:
        ClusterError: saying what is missing and what to do about it.
    """
    require()
    with ThreadPoolExecutor() as pool:  # one waits for the network, the other for the cores
        installed = pool.submit(packages.install, packages.CLUSTER, progress)
        binaries.build(binaries.NODE, progress)
        installed.result()
    with only_one("cluster"):
        _start(run_folder(), progress)
    progress.say(f"cluster ready; kubeconfig: {kubeconfig()}")


def down() -> None:
    """End the cluster and undo what it did to this machine; caches stay."""
    packages.require_root()
    folder = run_folder()
    if not folder.exists():
        return
    with only_one("cluster"):
        cleanup.remove_everything(folder, Processes(folder, detached=True))
        shutil.rmtree(folder)


def status() -> list[str]:
    """One line for each program."""
    processes = Processes(run_folder(), detached=True)
    lines = []
    for name in processes.names():
        pid = processes.pid(name)
        lines.append(f"{name:24} " + (f"runs (pid {pid})" if pid else "ended"))
    return lines or ["the cluster is not running; start it with `up`"]


def _start(folder: Path, progress: Progress) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    processes = Processes(folder, detached=True)
    with progress.stage("network"):
        network.bring_up(folder)
    with progress.stage("control plane"):
        plane = _control_plane(folder, processes)
        plane.start()
        node = Node(plane)
        _kubectl("apply", "-f", str(node.objects))
    with progress.stage("node"):
        _start_node(node, processes)


def _control_plane(folder: Path, processes: Processes) -> ControlPlane:
    options = Options(
        address=NODE_ADDRESS,
        ports=(API_PORT, *_ETCD_PORTS),
        scheduler=True,
        api_flags=("--allow-privileged=true",),
    )
    return ControlPlane(folder, options, processes)


def _start_node(node: Node, processes: Processes) -> None:
    processes.ensure(containerd(node.folder))
    images.refuse_a_foreign_registry(processes)
    if processes.ensure(node.registry()):
        processes.wait("docker-registry", images.registry_answers, timeout_s=20)
        images.push_pause()
    processes.wait("containerd", node.socket.exists, timeout_s=20)
    for program in (node.coredns(), node.kube_proxy(), node.provisioner(), node.kubelet()):
        processes.ensure(program)
    processes.wait("kubelet", _node_ready, timeout_s=_NODE_READY_S)


def _node_ready() -> bool:
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    answer = _kubectl("get", "node", NODE_NAME, "--ignore-not-found", "-o", ready)
    time.sleep(_POLL_S)
    return answer == "True"


def _kubectl(*arguments: str) -> str:
    command = [str(binaries.binary("kubectl")), f"--kubeconfig={kubeconfig()}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"kubectl {arguments[0]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout
