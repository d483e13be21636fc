"""The node's address, the firewall chains of its programs, and their removal.

Traffic to the node's address stays on the machine only while the device carries it:
make it before anything connects.
"""

import fcntl
import json
import re
import socket
import struct
import subprocess
from pathlib import Path

from cluster.settings import NODE_ADDRESS, NODE_DEVICE, POD_DEVICE, ClusterError

_TABLES = ("filter", "nat", "mangle")
_COMMANDS = ("iptables", "ip6tables")
# Chains that kube-proxy, the kubelet and the network plugins make, and nothing else.
_CHAIN = re.compile(r"^:((?:KUBE|CNI)-\S+)", re.MULTILINE)
_SIOCGIFADDR = 0x8915  # netdevice(7): the address of a device
_SWITCHES = ("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet")


def bring_up(folder: Path) -> None:
    """Give the machine the node's address; note in `folder` what it was like before."""
    before = folder / "network-before.json"
    if not before.exists():
        switches = {switch: _switch(switch).read_text().strip() for switch in _SWITCHES}
        chains = {f"{c} {t}": _chains(c, t) for c in _COMMANDS for t in _TABLES}
        before.write_text(json.dumps({"switches": switches, "chains": chains}))
    if not Path(f"/sys/class/net/{NODE_DEVICE}").exists():
        _ip("link", "add", NODE_DEVICE, "type", "bridge")
    _ip("addr", "replace", f"{NODE_ADDRESS}/32", "dev", NODE_DEVICE)
    _ip("link", "set", NODE_DEVICE, "up")
    _switch("net/ipv4/ip_forward").write_text("1")


def require() -> None:
    """Refuse to go on unless the machine has the node's address.

    After a reboot the kubeconfig is still there but the device is not, and what is meant for
    the cluster would leave the machine.

    Raises:
        ClusterError: saying how to start the cluster.
    """
    if _address_of(NODE_DEVICE) != NODE_ADDRESS:
        raise ClusterError(
            "the embedded cluster does not run: start it with `make cluster`, or set KUBECONFIG"
            " to use a cluster of your own"
        )


def _address_of(device: str) -> str | None:
    """Asked of the kernel: a machine without the cluster need not have `ip`."""
    question = struct.pack("256s", device.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, question)
        except OSError:  # no such device, or it has no address
            return None
    return socket.inet_ntoa(answer[20:24])


def take_down(folder: Path) -> None:
    """Remove the devices, the pods' networks and every chain that was not there before."""
    for namespace in _pod_networks():
        _ip("netns", "delete", namespace)
    for device in (NODE_DEVICE, POD_DEVICE):
        if Path(f"/sys/class/net/{device}").exists():
            _ip("link", "delete", device)
    before = folder / "network-before.json"
    if not before.exists():
        return
    noted = json.loads(before.read_text())
    for command in _COMMANDS:
        for table in _TABLES:
            kept = noted["chains"][f"{command} {table}"]
            _remove_chains(command, table, set(_chains(command, table)) - set(kept))
    for switch, value in noted["switches"].items():
        _switch(switch).write_text(value)


def _pod_networks() -> list[str]:
    """The network namespaces that the pods' bridge leads to.

    Also of a pod that was only being made: no container tells of it, and its address would be
    given to another pod later.
    """
    if not Path(f"/sys/class/net/{POD_DEVICE}").exists():
        return []
    show = ["ip", "-oneline", "link", "show", "master", POD_DEVICE]
    done = subprocess.run(show, capture_output=True, text=True, check=True)
    return re.findall(r" link-netns (\S+)", done.stdout)


def _remove_chains(command: str, table: str, chains: set[str]) -> None:
    """Delete `chains` and all rules that jump to them, in one transaction."""
    if not chains:
        return
    rules = _save(command, table).splitlines()
    target = re.compile(r"^-A (\S+) .*-[jg] (\S+)")
    lines = [f"*{table}", *(f":{chain} - [0:0]" for chain in chains)]  # naming a chain empties it
    for rule in rules:
        found = target.match(rule)
        if found and found[1] not in chains and found[2] in chains:
            lines.append(rule.replace("-A", "-D", 1))
    lines += [*(f"-X {chain}" for chain in chains), "COMMIT", ""]
    subprocess.run(
        [f"{command}-restore", "--noflush"], input="\n".join(lines), text=True, check=True
    )


def _chains(command: str, table: str) -> list[str]:
    return sorted(_CHAIN.findall(_save(command, table)))


def _save(command: str, table: str) -> str:
    done = subprocess.run(
        [f"{command}-save", "-t", table], capture_output=True, text=True, check=False
    )
    return done.stdout


def _switch(name: str) -> Path:
    return Path("/proc/sys") / name


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
