"""The operator as a process of its own, set up by FINETUNE_* variables and KUBECONFIG alone.

Short times, so that what takes minutes in a cluster takes seconds here; nothing else differs.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.controlplane import free_port
from support.forked import Forked
from support.health import health
from support.waiting import TooLate, wait_for

LEASE_S, CREATE_TIMEOUT_S, LIST_LAG_S = 5.0, 1.5, 1.5
"""Until a submission whose fate is unknown may be sent again: their sum, and a look."""

FAST = {
    "lease_duration_seconds": LEASE_S,
    "lease_renew_deadline_seconds": 4,
    "lease_retry_seconds": 0.5,
    "azure_create_timeout_seconds": CREATE_TIMEOUT_S,
    "azure_list_lag_seconds": LIST_LAG_S,
    "azure_request_timeout_seconds": 5,
    "azure_poll_seconds": 0.5,
    "stalled_after_seconds": 2,
    "deletion_grace_seconds": 4,
    "progress_interval_seconds": 1,
    "health_host": "127.0.0.1",
}

_ENDING_S = 10.0
_SHOWN = 6000


class OperatorProcess:
    """One replica; several may run, and any may be killed or frozen."""

    def __init__(
        self,
        folder: Path,
        kubeconfig: Path,
        settings: Mapping[str, object],
        name: str = "operator",
    ) -> None:
        """Start it; `settings` by their names, beside FAST."""
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        self._port = free_port()
        chosen = FAST | {"health_port": self._port} | dict(settings)
        variables = {f"FINETUNE_{key.upper()}": str(value) for key, value in chosen.items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FINETUNE_")}
        environment = inherited | variables | {"KUBECONFIG": str(kubeconfig)}
        self._process = Forked("finetune_operator.__main__", [], environment, self.log)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.exit_code

    def read(self, path: str) -> str:
        """What a health endpoint says; empty if it does not answer."""
        return health(self._port, path)

    def leads(self) -> bool:
        """Whether it says that it is the leader."""
        assert self.exit_code is None, f"the operator has ended\n{self.told()}"
        return self.read("readyz") == "leader\n"

    def wait_until_leading(self) -> Self:
        """Return once it leads."""
        wait_for(self.leads, "the operator leads", told=self.told)
        return self

    def metric(self, name: str) -> float:
        """The sum over all labels of one metric."""
        lines = [line for line in self.read("metrics").splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._process.send(signal.SIGKILL)
        self.wait_until_ended()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing any more and does not know it."""
        self._process.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.send(signal.SIGCONT)

    def wait_until_ended(self, within: float = _ENDING_S) -> int:
        """Its exit code, once it has one."""
        return wait_for(lambda: self.exit_code, "the operator ends", within=within, told=self.told)

    def stop(self) -> int:
        """SIGTERM, as the kubelet ends a pod; its exit code."""
        self.thaw()
        self._process.send(signal.SIGTERM)
        try:
            return self.wait_until_ended()
        except TooLate:
            self.kill()
            raise

    def told(self) -> str:
        """The end of its log."""
        return f"--- {self.log.name}\n{self.log.read_text()[-_SHOWN:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.exit_code is None:
            self.kill() if kind else self.stop()
