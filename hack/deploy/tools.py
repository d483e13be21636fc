"""kubectl and Helm as functions: their words on failure, nothing else.

Knows where the programs and the cluster's kubeconfig are; must not know what is installed.
"""

import os
import subprocess

from cluster.environment import variables
from cluster.settings import ClusterError


def environment() -> dict[str, str]:
    """The environment in which kubectl and helm speak to the cluster in use."""
    return {**os.environ, **variables()}


def run(*command: str, given: str | None = None) -> str:
    """The standard output of a command.

    Raises:
        ClusterError: it failed, with what it said; or there is no such program.
    """
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, env=environment(), check=False
        )
    except FileNotFoundError:
        raise ClusterError(
            f"{command[0]} is not on the PATH; it is needed for your cluster"
        ) from None
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
