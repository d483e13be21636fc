"""Names, addresses and places of the embedded cluster.

Everything that two modules must agree on stands here. It knows nothing of how a program
is built or started.
"""

import os
from pathlib import Path

KUBERNETES_VERSION = "1.34.4"

NODE_NAME = "finetune"
NODE_ADDRESS = "10.97.0.1"
NODE_DEVICE = "ftnode0"
POD_RANGE = "10.244.0.0/24"
POD_DEVICE = "ftbr0"
API_PORT = 16443
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"
REGISTRY = "127.0.0.1:5000"
PAUSE_IMAGE = f"{REGISTRY}/pause:1"
CNI_PLUGINS = Path("/usr/lib/cni")

_NAME = "finetune-cluster"


class ClusterError(Exception):
    """Something the user can act on; its text is one sentence that says how."""


def cache_folder() -> Path:
    """Where everything lives that is worth keeping when the cluster goes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _NAME


def run_folder() -> Path:
    """Where the running cluster keeps its keys, data, sockets and logs."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / _NAME


def source_folder() -> Path:
    """The Go modules that the programs are built from."""
    return Path(__file__).parent / "go"
