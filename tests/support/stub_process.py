"""The runtime as a process whose controller is a stub: what it was asked to look at, and when."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.controlplane import free_port

Json = dict[str, Any]


class StubProcess:
    """One replica; ends with the block it is used in."""

    def __init__(
        self, folder: Path, kubeconfig: Path, *, name: str = "one", hold: float = 0, **settings: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        chosen = {"health_host": "127.0.0.1", "health_port": self.port, **settings}
        variables = {f"FINETUNE_{key.upper()}": str(value) for key, value in chosen.items()}
        self._log = folder / f"{name}.log"
        self._log_file = self._log.open("w")
        self._facts: list[Json] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.stub_operator"],
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            text=True,
            env=os.environ
            | variables
            | {
                "KUBECONFIG": str(kubeconfig),
                "STUB_HOLD_SECONDS": str(hold),
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._facts.append(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log_file.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def facts(self, name: str) -> list[Json]:
        """What the stub told, as far as it has this field."""
        return [fact for fact in list(self._facts) if name in fact]

    def seen(self) -> set[str]:
        """The keys it was asked to look at."""
        return {fact["seen"] for fact in self.facts("seen")}

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a health page; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=3) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def leads(self) -> bool:
        return self.get("/readyz") == (200, "leader\n")

    def stands_by(self) -> bool:
        return self.get("/readyz") == (200, "standby\n")

    def until(self, condition: Callable[[], object], seconds: float = 30) -> float:
        """Wait; returns the seconds it took."""
        began = time.monotonic()
        while not condition():
            took = time.monotonic() - began
            assert took < seconds, f"waited {took:.1f} s; its log:\n{self.log()[-4000:]}"
            time.sleep(0.05)
        return time.monotonic() - began

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 15) -> int:
        """The exit code."""
        code = self._process.wait(seconds)
        self._reader.join()
        return code

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        if self.running():
            self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self._log.read_text()
