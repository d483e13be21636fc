"""The environment that the heavy libraries read when they are first imported.

Must be set before that, and therefore imports nothing heavy itself.
"""

import os
import warnings
from pathlib import Path

from finetune_api.constants import FETCH_CA_FILE
from finetune_data import trust

VALUES = {
    # Only our own progress callback posts: transformers' has fewer figures and a wrong ETA.
    "DISABLE_KUBEFLOW_INTEGRATION": "TRUE",
    # No pings and no progress bars.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    # Threads that wait for each other spin; where others want the cores too, that took 15 times
    # as long. Alone on the machine a short spin costs nothing that could be measured.
    "GOMP_SPINCOUNT": "10000",
    # Packed steps differ in length: without this, CUDA memory falls to pieces.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
}


def prepare() -> None:
    """Set what the container's environment does not set already."""
    for name, value in VALUES.items():
        os.environ.setdefault(name, value)
    trust.add(Path(FETCH_CA_FILE))
    # Of one library about another: nothing that a user of this trainer could change.
    warnings.simplefilter("ignore", FutureWarning)
