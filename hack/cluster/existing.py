"""A cluster of the user's own, named by KUBECONFIG or `--context`."""

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

from cluster.settings import ClusterError, cache_folder, run_folder


def chosen() -> bool:
    """Whether the user wants a cluster of their own.

    A KUBECONFIG that lies in our run folder is the embedded cluster's.
    """
    kubeconfig = os.environ.get("KUBECONFIG", "")
    return bool(kubeconfig) and not kubeconfig.startswith(f"{run_folder()}{os.sep}")


def choose(context: str) -> None:
    """Use this context of the user's kubeconfig from now on, in child processes too.

    Not every program has a flag for it: KUBECONFIG names a copy that holds nothing else.

    Raises:
        ClusterError: there is no such context.
    """
    text = _kubectl("config", "view", "--minify", "--flatten", "--raw", f"--context={context}")
    path = _copy_of(context)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(text)
    os.environ["KUBECONFIG"] = str(path)


def _copy_of(context: str) -> Path:
    return cache_folder() / "contexts" / f"{quote(context, safe='')}.kubeconfig"


def check() -> str:
    """Ask the user's cluster whether it is ready; return a sentence that says so.

    Raises:
        ClusterError: when kubectl is missing or the cluster does not answer.
    """
    _kubectl("get", "--raw", "/readyz")
    return f"using your own cluster ({os.environ['KUBECONFIG']}): it is ready"


def _kubectl(*arguments: str) -> str:
    command = ["kubectl", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise ClusterError("kubectl is not on the PATH; it is needed for your cluster") from None
    except subprocess.TimeoutExpired:
        raise ClusterError("your cluster did not answer within 30 s") from None
    if done.returncode:
        raise ClusterError(f"your cluster cannot be used: {done.stderr.strip()}")
    return done.stdout
