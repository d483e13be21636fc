"""The whole cluster: control plane, node, network, volumes, DNS and registry.

It puts the parts together in order; each part lives in a module of its own.
"""

from pathlib import Path

from cluster.settings import run_folder


def kubeconfig() -> Path:
    """The administrator's kubeconfig, there once the cluster has been started."""
    return run_folder() / "admin.kubeconfig"
