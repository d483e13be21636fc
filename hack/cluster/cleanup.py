"""Undoes what the running cluster did to the machine: containers, mounts, network.

Only what lies in the cluster's own folders and namespaces is touched.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

from cluster import network
from cluster.node import containerd
from cluster.processes import Processes
from cluster.settings import ClusterError, cache_folder

_LOG_LINKS = Path("/var/log/containers")
_TRIES = 10


def remove_everything(folder: Path, processes: Processes) -> None:
    """End all programs and pods of the run folder `folder`; leave its plain files."""
    runtime = "containerd"
    # First those that would start containers anew.
    others = [name for name in processes.names() if name != runtime]
    processes.stop(others, grace_s=3.0)  # what they hold is thrown away
    if runtime in processes.names():
        _remove_containers(folder, processes)
        processes.stop([runtime])
    for mount in _mounts_below(folder) + _mounts_below(cache_folder() / "containerd"):
        subprocess.run(["umount", "--lazy", mount], check=True)
    network.take_down(folder)
    for link in _LOG_LINKS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()


def _remove_containers(folder: Path, processes: Processes) -> None:
    processes.ensure(containerd(folder))  # after a reboot it runs no more
    socket = folder / "containerd.sock"
    processes.wait("containerd", socket.exists, timeout_s=20)
    _end_tasks(socket)
    for container in _ctr(socket, "containers", "list", "--quiet").split():
        _ctr(socket, "containers", "delete", container)


def _end_tasks(socket: Path) -> None:
    """End all that runs in containers; a task that ends by itself meanwhile is no failure."""
    for _ in range(_TRIES):
        tasks = _ctr(socket, "tasks", "list", "--quiet").split()
        if not tasks:
            return
        for task in tasks:
            with suppress(subprocess.CalledProcessError):
                _ctr(socket, "tasks", "delete", "--force", task)
    raise ClusterError(f"these containers do not end: {' '.join(tasks)}")


def _ctr(socket: Path, *arguments: str) -> str:
    command = ["ctr", f"--address={socket}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _mounts_below(folder: Path) -> list[str]:
    """Mount points below `folder`, the innermost first."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1] for line in mounts]
    return sorted((p for p in points if Path(p).is_relative_to(folder)), key=len, reverse=True)
