"""The operator as a real process of its own, started as its image starts it, with its defaults.

Tests have one of their own, which forks and hurries; here start-up and memory are measured.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.operator_site import NAMESPACE
from cluster.controlplane import free_port
from support.health import health
from support.server_process import end
from support.waiting import wait_for

_LEADING_S = 60.0
_ENDING_S = 15.0
_SHOWN = 3000
_AS_IN_ITS_IMAGE = (
    "import runpy, sys; sys.modules['kubernetes'] = None;"
    " runpy.run_module('finetune_operator', run_name='__main__', alter_sys=True)"
)
"""The tests' own client is not in the image; kopf imports it wherever it finds it."""


class OperatorProcess:
    """One replica that serves the whole cluster; it ends with the block."""

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        settings: Mapping[str, object] | None = None,
        name: str = "operator",
    ) -> None:
        """Start it; `settings` by their names, everything else by default."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{name}.log"
        self._port = free_port()
        chosen = {
            "health_host": "127.0.0.1",
            "health_port": self._port,
            "pod_namespace": NAMESPACE,
        } | dict(settings or {})
        variables = {f"FINETUNE_{key.upper()}": str(value) for key, value in chosen.items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FINETUNE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                # The kernel ends it with the benchmark, however that ends.
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", _AS_IN_ITS_IMAGE],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=inherited | variables | {"KUBECONFIG": str(kubeconfig)},
            )

    @property
    def pid(self) -> int:
        """Under which /proc tells what it uses."""
        return self._process.pid

    def read(self, path: str) -> str:
        """What a health endpoint says; empty if it does not answer (yet)."""
        return health(self._port, path)

    def wait_until_leading(self) -> None:
        """Return once it leads."""
        wait_for(self._leads, "the operator leads", within=_LEADING_S, told=self._told)

    def _leads(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the operator has ended\n{self._told()}")
        return self.read("readyz") == "leader\n"

    def _told(self) -> str:
        return self._log.read_text()[-_SHOWN:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self._process, within=_ENDING_S)
