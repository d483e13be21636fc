"""Starts the Azure OpenAI emulator as a process of its own.

An emulator that runs elsewhere (in a cluster, behind a port-forward) is driven with
`EmulatorControl` alone.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from support.certificates import make_server_certificate
from support.emulator_control import EmulatorControl

API_KEY = "emulator-key"
RAI_BEFORE_TRAINING = (
    "The provided training data failed RAI checks for harm types: [hate_fairness, self_harm, "
    "violence]. Please fix the data and try again."
)
RAI_AFTER_TRAINING = (
    "This model is unable to be deployed. Model evaluation identified that this fine tuned model "
    "scores above acceptable thresholds for [Violence, Self Harm]. Please review your training "
    "data set and resubmit the job."
)

_EMULATORS = Path(__file__).parents[1] / "emulators"
_STOP_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentity:
    """What the emulator's token endpoint trusts: an issuer and its keys, from a file or a URL."""

    issuer: str
    jwks_file: Path | None = None
    jwks_url: str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None

    def options(self) -> list[str]:
        """The same as command line options."""
        named = {
            "--issuer": self.issuer,
            "--issuer-jwks-file": self.jwks_file,
            "--issuer-jwks-url": self.jwks_url,
            "--issuer-ca-file": self.ca_file,
            "--issuer-token-file": self.token_file,
        }
        return [f"{flag}={value}" for flag, value in named.items() if value is not None]


class Emulator(EmulatorControl):
    """A real process on a free port of 127.0.0.1, with TLS from a CA of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        speed: float = 1,
        identity: WorkloadIdentity | None = None,
        hosts: Sequence[str] = ("127.0.0.1", "localhost"),
        options: Sequence[str] = (),
    ) -> None:
        """Start it and return when it listens; `folder` takes certificates and the log."""
        tls = make_server_certificate(folder, *hosts)
        self.log = folder / "emulator.log"
        command = [sys.executable, "-m", "azure_openai", "--port=0", "--control"]
        command += [f"--tls-cert={tls.certificate}", f"--tls-key={tls.key}"]
        command += [f"--api-key={API_KEY}", f"--speed={speed}", *options]
        command += [] if identity is None else identity.options()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(_EMULATORS)},
            )
        super().__init__(self._wait_until_ready(), tls.ca)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_ready(self) -> str:
        """The address from the process's first line; it prints nothing else."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith("listening on "):
            self.stop()
            raise RuntimeError(f"the emulator did not start: {self.log.read_text()}")
        return line.removeprefix("listening on ").strip()
