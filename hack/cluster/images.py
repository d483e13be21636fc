"""The node's images: pushed to the local registry, from which the kubelet pulls."""

from cluster.binaries import binary_folder
from cluster.buildah import buildah
from cluster.settings import PAUSE_IMAGE, REGISTRY


def reference(image: str) -> str:
    """The name that pods use for the local image `image`."""
    return f"{REGISTRY}/{image.rpartition('/')[2]}"


def push(image: str) -> str:
    """Push a local image of buildah's; return the name that pods use for it.

    Layers go uncompressed: compressing 6 GB takes minutes and saves nothing on one machine.

    Raises:
        ClusterError: when there is no such image or the registry does not run.
    """
    name = reference(image)
    buildah("push", "--tls-verify=false", "--disable-compression", image, f"docker://{name}")
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
    push(PAUSE_IMAGE)
