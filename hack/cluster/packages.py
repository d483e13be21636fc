"""Debian's part: finds out what is missing and installs it, or says what to do instead."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.locks import only_one
from cluster.progress import Progress
from cluster.settings import CNI_PLUGINS, ClusterError

_INSTEAD = "or use a cluster of your own by setting KUBECONFIG"
_SERVICES = ("containerd", "docker-registry")
_SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")

# Each package with a program that shows it is there.
CLUSTER = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": str(CNI_PLUGINS / "bridge"),
    "iptables": "iptables",
    "conntrack": "conntrack",
    "iproute2": "ip",
    "buildah": "buildah",
    "docker-registry": "docker-registry",
}
IMAGES = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ca-certificates": "update-ca-certificates",
}


def require_root() -> None:
    """Refuse to go on without root.

    Raises:
        ClusterError: saying what to do instead.
    """
    if os.geteuid() != 0:
        raise ClusterError("containers on this machine need root: run this as root, " + _INSTEAD)


def install(packages: dict[str, str], progress: Progress) -> None:
    """Install those of `packages` whose program is missing.

    Args:
        packages: names of Debian packages, each with a program of it.
        progress: told about it.

    Raises:
        ClusterError: when this is not Debian, or apt-get fails.
    """
    if not _absent(packages):
        return
    with only_one("install"):
        if absent := _absent(packages):
            _install(absent, progress)


def _absent(packages: dict[str, str]) -> list[str]:
    return [name for name, program in packages.items() if not shutil.which(program)]


def _install(absent: list[str], progress: Progress) -> None:
    if not shutil.which("apt-get"):
        raise ClusterError(f"install {', '.join(absent)} on this machine, {_INSTEAD}")
    with progress.stage(f"install {' '.join(absent)}"), _services_stay_off():
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", *absent)
        if shutil.which("systemctl"):  # nor at the next boot: the registry would hold our port
            ours = [service for service in _SERVICES if service in absent]
            subprocess.run(["systemctl", "disable", *ours], capture_output=True, check=False)


def _apt_get(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-400:]}")


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Keep packages from starting their services: the cluster starts its own."""
    if _SERVICE_POLICY.exists():
        yield
        return
    _SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")
    _SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        _SERVICE_POLICY.unlink()
