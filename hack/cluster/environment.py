"""The variables that point kubectl and Helm to the cluster in use."""

import os
import sys
from pathlib import Path

from cluster import binaries, existing, full, network


def variables() -> dict[str, str]:
    """KUBECONFIG, and a PATH that begins with the programs of this project.

    Raises:
        ClusterError: no cluster is the user's own, and the embedded one does not run.
    """
    folders = [str(binaries.binary_folder()), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    if existing.chosen():
        return {"KUBECONFIG": os.environ["KUBECONFIG"], "PATH": path}
    network.require()
    return {"KUBECONFIG": str(full.kubeconfig()), "PATH": path}
