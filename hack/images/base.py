"""The base image: Debian with its Python, made from Debian's packages.

For machines that reach no image registry; elsewhere the Dockerfile's own default serves.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.buildah import buildah, exists
from cluster.progress import Progress
from cluster.settings import ClusterError, cache_folder
from images import machine

_RELEASE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_LEFTOVERS = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man")


def ensure(progress: Progress) -> str:
    """Make the base image unless it is there; return its name."""
    recipe = repr((_RELEASE, _PACKAGES, _LEFTOVERS)).encode()
    name = f"localhost/finetune-base:{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not exists(name):
        with progress.stage("base image"):
            cache_folder().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="base-") as folder:
                _commit(_bootstrap(Path(folder)), name)
    return name


def _bootstrap(folder: Path) -> Path:
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    done = subprocess.run(
        [*command, _RELEASE, str(folder), *machine.apt_mirror(_RELEASE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"debootstrap failed: {done.stdout.strip()[-400:]}")
    for leftover in _LEFTOVERS:
        shutil.rmtree(folder / leftover)
        (folder / leftover).mkdir()
    return folder


def _commit(folder: Path, name: str) -> None:
    container = buildah("from", "scratch")
    try:
        buildah("copy", container, str(folder), "/")
        buildah("config", "--cmd", "python3", container)
        buildah("commit", "--quiet", container, name)
    finally:
        buildah("rm", container)
