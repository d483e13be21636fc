"""Where the prepare pod finds its files; the environment can say otherwise, as tests do.

Knows paths only.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_api import constants


@dataclass(frozen=True, kw_only=True)
class Places:
    """Files that are mounted into the pod, or written by it."""

    api_key: Path
    azure_token: Path
    azure_ca: Path
    """Mounted only if the chart has a CA for the service."""
    fetch_ca: Path
    """Mounted only if the chart has a CA for https:// and hf://."""
    termination_log: Path

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Places":
        """The contract's paths, or those of the environment."""
        return cls(
            api_key=Path(environment.get("API_KEY_FILE", constants.API_KEY_FILE)),
            azure_token=Path(environment.get("AZURE_TOKEN_FILE", constants.AZURE_TOKEN_FILE)),
            azure_ca=Path(environment.get("AZURE_CA_FILE", constants.AZURE_CA_FILE)),
            fetch_ca=Path(environment.get("FETCH_CA_FILE", constants.FETCH_CA_FILE)),
            termination_log=Path(environment.get("TERMINATION_LOG", constants.TERMINATION_LOG)),
        )
