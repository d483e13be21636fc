"""Runs buildah, which builds images without a daemon and here without namespaces."""

import subprocess

from cluster.settings import ClusterError


def buildah(*arguments: str) -> str:
    """Run one command; return what it printed.

    Raises:
        ClusterError: when it fails, with the end of what it said.
    """
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"buildah {arguments[0]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()


def exists(image: str) -> bool:
    """Whether buildah's storage holds `image`."""
    done = subprocess.run(
        ["buildah", "inspect", "--type=image", image], capture_output=True, check=False
    )
    return done.returncode == 0
