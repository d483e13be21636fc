"""Starts the hub server as a process of its own, over a folder of repositories."""

from collections.abc import Sequence
from pathlib import Path

from support.server_process import ServerProcess


class Hub(ServerProcess):
    """A real process on a free port of 127.0.0.1; `url` goes into HF_ENDPOINT."""

    def __init__(self, root: Path, options: Sequence[str] = ()) -> None:
        """Serve `root`, which holds models/ORG/NAME and datasets/ORG/NAME."""
        super().__init__("hub", [f"--root={root}", *options], root.with_suffix(".log"))
