"""The node's images: pushed to the local registry, from which the kubelet pulls."""

import os

from cluster import existing
from cluster.binaries import binary_folder
from cluster.buildah import buildah
from cluster.settings import PAUSE_IMAGE, REGISTRY, ClusterError

# zstd at its fastest: 6 GB take half the processor time of gzip's, on both ways. buildah
# cannot push uncompressed layers to a registry.
_PUSH = ("push", "--compression-format=zstd", "--compression-level=1")


def reference(image: str) -> str:
    """The name that pods use for the local image `image`."""
    registry = os.environ.get("FINETUNE_REGISTRY") or REGISTRY
    return f"{registry}/{image.rpartition('/')[2]}"


def push(image: str) -> str:
    """Push a local image of buildah's; return the name that pods use for it.

    Raises:
        ClusterError: when there is no such image, or no registry that takes it.
    """
    name = reference(image)
    if name.startswith(REGISTRY):
        if existing.chosen(None):
            raise ClusterError(
                "the cluster in use is your own: set FINETUNE_REGISTRY to a registry that it "
                "pulls from"
            )
        buildah(*_PUSH, "--tls-verify=false", image, f"docker://{name}")
    else:
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
