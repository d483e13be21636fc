"""The embedded cluster goes without a trace and comes again; there can be one on a machine.

It needs pods that run, which `make deploy` brings, and takes them away: deploy again afterwards.
"""

import json
import subprocess
from pathlib import Path

import pytest

from cluster import existing, network
from cluster.settings import NODE_DEVICE, POD_DEVICE, cache_folder, run_folder
from support.cluster import cluster_status, embedded_cluster, processes_of, take_down

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(existing.chosen(), reason="KUBECONFIG names another cluster than ours"),
]


def chains() -> set[str]:
    """The firewall's chains that Kubernetes and the network plugins make."""
    found = set()
    for command in ("iptables-save", "ip6tables-save"):
        saved = subprocess.run([command], capture_output=True, text=True, check=True).stdout
        found |= {
            line.split()[0].removeprefix(":")
            for line in saved.splitlines()
            if line.startswith((":KUBE-", ":CNI-"))
        }
    return found


def devices() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()} & {NODE_DEVICE, POD_DEVICE}


def mounts() -> list[str]:
    ours = (str(run_folder()), str(cache_folder()))
    points = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
    return [point for point in points if point.startswith(ours)]


def pod_networks() -> set[str]:
    """The network namespaces that the network plugins made."""
    folder = Path("/var/run/netns")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_it_goes_without_a_trace_and_comes_again() -> None:
    embedded_cluster()
    noted = json.loads((run_folder() / "network-before.json").read_text())["chains"]
    before = {chain for names in noted.values() for chain in names}
    assert devices() == {NODE_DEVICE, POD_DEVICE}
    assert chains() > before
    assert mounts()
    assert pod_networks()

    take_down()
    assert devices() == set()
    assert chains() == before
    assert mounts() == []
    assert pod_networks() == set()
    assert processes_of(run_folder()) == []
    assert not run_folder().exists()
    take_down()  # of nothing: no failure

    embedded_cluster()
    network.require()
    running = cluster_status()
    assert all("runs (pid" in line for line in running)
    embedded_cluster()
    assert cluster_status() == running
