"""Starts the forward proxy as a process of its own."""

from pathlib import Path

from support.server_process import ServerProcess


class Proxy(ServerProcess):
    """A real process on a free port of 127.0.0.1; `url` goes into HTTPS_PROXY."""

    def __init__(self, folder: Path) -> None:
        """Start it; its log lies in `folder`."""
        self._log = folder / "proxy.log"
        super().__init__("proxy", [], self._log)

    @property
    def asked(self) -> set[str]:
        """HOST:PORT of whatever it was asked for."""
        return set(self._log.read_text().split())
