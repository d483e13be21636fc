"""The node's images: pushed to the local registry, from which the kubelet pulls."""

import subprocess

from cluster.binaries import binary_folder
from cluster.settings import PAUSE_IMAGE, REGISTRY, ClusterError


def push(image: str) -> str:
    """Push a local image of buildah's; return the name that pods use for it.

    Layers go uncompressed: compressing 6 GB takes minutes and saves nothing on one machine.

    Raises:
        ClusterError: when there is no such image or the registry does not run.
    """
    reference = f"{REGISTRY}/{image.rpartition('/')[2]}"
    _buildah("push", "--tls-verify=false", "--disable-compression", image, f"docker://{reference}")
    return reference


def push_pause() -> None:
    """Make the image that holds each pod's namespaces: one static program."""
    container = _buildah("from", "scratch")
    try:
        _buildah("copy", container, str(binary_folder() / "pause"), "/pause")
        _buildah("config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container)
        _buildah("commit", "--quiet", container, PAUSE_IMAGE)
    finally:
        _buildah("rm", container)
    push(PAUSE_IMAGE)


def _buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"buildah {arguments[0]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()
