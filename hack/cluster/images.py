"""The node's images: pushed to the local registry, from which the kubelet pulls."""

import socket

from cluster import existing
from cluster.binaries import binary_folder
from cluster.buildah import buildah
from cluster.processes import Processes
from cluster.settings import PAUSE_IMAGE, REGISTRY, ClusterError, run_folder

# zstd at its fastest: 6 GB take half the processor time of gzip's, on both ways. buildah
# cannot push uncompressed layers to a registry.
_PUSH = ("push", "--compression-format=zstd", "--compression-level=1", "--tls-verify=false")


def reference(image: str) -> str:
    """The name that pods use for the local image `image`."""
    return f"{REGISTRY}/{image.rpartition('/')[2]}"


def require_registry() -> None:
    """Refuse to go on unless the registry at our address is the embedded cluster's.

    Raises:
        ClusterError: saying what to do instead.
    """
    if existing.chosen():
        raise ClusterError(
            "the cluster in use is your own: push images to a registry that it pulls from"
        )
    if not Processes(run_folder(), detached=True).alive("docker-registry"):
        raise ClusterError("the embedded cluster does not run: start it with `make cluster`")


def refuse_a_foreign_registry(processes: Processes) -> None:
    """Refuse to go on while somebody else's program listens at our registry's address.

    Raises:
        ClusterError: saying what to do.
    """
    if registry_answers() and not processes.alive("docker-registry"):
        raise ClusterError(
            f"another program listens at {REGISTRY}, where the cluster has its registry: stop it"
        )


def registry_answers() -> bool:
    """Whether anybody listens there."""
    host, port = REGISTRY.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def push(image: str) -> str:
    """Push a local image of buildah's; return the name that pods use for it.

    Raises:
        ClusterError: when there is no such image, or no registry of ours.
    """
    require_registry()
    name = reference(image)
    buildah(*_PUSH, image, f"docker://{name}")
    return name


def push_pause() -> None:
    """Make the image that holds each pod's namespaces: one static program."""
    container = buildah("from", "scratch")
    try:
        buildah("copy", container, str(binary_folder() / "pause"), "/pause")
        buildah("config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container)
        buildah("commit", "--quiet", container, PAUSE_IMAGE)
    finally:
        buildah("rm", container)
    buildah("push", "--tls-verify=false", PAUSE_IMAGE, f"docker://{PAUSE_IMAGE}")
