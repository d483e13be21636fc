"""Starts the Azure OpenAI emulator as a process of its own.

An emulator that runs elsewhere (in a cluster, behind a port-forward) is driven with
`EmulatorControl` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.certificates import make_server_certificate
from support.emulator_control import EmulatorControl
from support.server_process import ServerProcess

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


class Emulator(ServerProcess, EmulatorControl):
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
        chosen = ["--control", f"--tls-cert={tls.certificate}", f"--tls-key={tls.key}"]
        chosen += [f"--api-key={API_KEY}", f"--speed={speed}", *options]
        chosen += [] if identity is None else identity.options()
        ServerProcess.__init__(self, "azure_openai", chosen, self.log)
        EmulatorControl.__init__(self, self.url, tls.ca)
