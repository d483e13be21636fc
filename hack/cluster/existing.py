"""A cluster of the user's own, named by KUBECONFIG or `--context`."""

import os
import subprocess

from cluster.settings import ClusterError, run_folder


def chosen(context: str | None) -> bool:
    """Whether the user wants a cluster of their own.

    A KUBECONFIG that lies in our run folder is the embedded cluster's.
    """
    kubeconfig = os.environ.get("KUBECONFIG", "")
    return bool(context or kubeconfig) and not kubeconfig.startswith(f"{run_folder()}{os.sep}")


def check(context: str | None) -> str:
    """Ask the user's cluster whether it is ready; return a sentence that says so.

    Raises:
        ClusterError: when kubectl is missing or the cluster does not answer.
    """
    flags = ["--context", context] if context else []
    command = ["kubectl", *flags, "get", "--raw", "/readyz"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise ClusterError("kubectl is not on the PATH; it is needed for your cluster") from None
    except subprocess.TimeoutExpired:
        raise ClusterError("your cluster did not answer within 30 s") from None
    if done.returncode:
        raise ClusterError(f"your cluster does not answer: {done.stderr.strip()}")
    named = f"context {context}" if context else os.environ["KUBECONFIG"]
    return f"using your own cluster ({named}): it is ready"
