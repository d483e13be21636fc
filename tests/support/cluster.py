"""Real API servers for tests: a control plane alone, or the whole embedded cluster."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import binaries
from cluster.controlplane import ControlPlane, Options
from cluster.settings import ClusterError, run_folder

HACK = Path(__file__).parents[2] / "hack"


@contextmanager
def control_plane(folder: Path, options: Options | None = None) -> Iterator[ControlPlane]:
    """A control plane on 127.0.0.1, ready.

    Raises:
        ClusterError: its programs are not built; that takes longer than a test may.
    """
    options = options or Options()
    if missing := [module.name for module in binaries.missing(options.modules)]:
        raise ClusterError(f"{', '.join(missing)} must be built first: `make build`")
    with ControlPlane(folder, options) as plane:
        yield plane


def embedded_cluster() -> Path:
    """The kubeconfig of a cluster with a node: the user's own, or ours, started if need be.

    Ours goes on when the tests end: starting it again is what takes time.
    """
    _hack("cluster", "up")
    return Path(os.environ.get("KUBECONFIG") or run_folder() / "admin.kubeconfig")


def take_down() -> None:
    """Undo what the embedded cluster did to this machine."""
    _hack("cluster", "down")


def cluster_status() -> list[str]:
    """One line for each program of the embedded cluster."""
    return _hack("cluster", "status").splitlines()


def processes_of(folder: Path) -> list[str]:
    """Command lines of the running processes that name `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in command:
            found.append(command.replace("\0", " "))
    return found


def image(name: str) -> str:
    """What pods call the project's image `name`; builds and pushes it if it is out of date."""
    return _hack("images", "build", name, "--push").split()[1]


def _hack(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"PYTHONPATH": str(HACK)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
