"""kubectl and Helm as functions: their words on failure, nothing else.

Knows where the programs and the cluster's kubeconfig are; must not know what is installed.
"""

import os
import subprocess
import sys
from pathlib import Path

from cluster import binaries, existing, full
from cluster.settings import ClusterError


def environment() -> dict[str, str]:
    """The environment in which kubectl and helm speak to the cluster in use."""
    folders = [str(binaries.binary_folder()), str(Path(sys.executable).parent)]
    changed = {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}
    if not existing.chosen(None):
        changed["KUBECONFIG"] = str(full.kubeconfig())
    return {**os.environ, **changed}


def run(*command: str, given: str | None = None) -> str:
    """The standard output of a command.

    Raises:
        ClusterError: it failed; with what it said.
    """
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ClusterError(f"`{' '.join(command[:4])} …` failed: {said}")
    return done.stdout


def kubectl(*arguments: str, given: str | None = None) -> str:
    """The output of kubectl."""
    return run("kubectl", *arguments, given=given)


def helm(*arguments: str, given: str | None = None) -> str:
    """The output of Helm."""
    return run("helm", *arguments, given=given)
