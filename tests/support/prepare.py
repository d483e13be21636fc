"""Runs the prepare program as its pod does, in a process of its own, without a cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.pods import DataFile, FileSource, PrepareConfig, PrepareReport
from finetune_operator.prepare.places import Places
from support.emulator import API_KEY, Emulator

_OPERATOR = Path(__file__).parents[2] / "operator"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended."""

    code: int
    words: bytes
    """The termination message as it was written."""
    log: str

    @property
    def report(self) -> PrepareReport:
        return PrepareReport.model_validate_json(self.words)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's lines; every one must be JSON."""
        return [json.loads(line) for line in self.log.splitlines()]


def file_of(path: Path, **more: Any) -> DataFile:
    return DataFile(
        source=FileSource(path=str(path)), display=f"ConfigMap data/{path.name}", **more
    )


def config_of(training: DataFile, **more: Any) -> PrepareConfig:
    return PrepareConfig(job="team-a/gsm8k", training=training, **more)


def emptied(emulator: Emulator) -> Emulator:
    """Without files and faults; files are processed at the first look."""
    emulator.reset()
    emulator.configure(pending_polls=0)
    return emulator


def places_in(folder: Path, emulator: Emulator) -> Places:
    """A pod's files, with the key that the emulator knows, for what runs in the test's process."""
    (folder / "key").write_text(f"{API_KEY}\n")
    assert emulator.ca is not None
    return Places(
        api_key=folder / "key",
        azure_token=folder / "token",
        azure_ca=emulator.ca,
        fetch_ca=folder / "nothing",
        termination_log=folder / "last-words",
    )


def start(
    config: PrepareConfig | str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start the program; what it leaves lies in `folder`."""
    text = config if isinstance(config, str) else config.model_dump_json()
    (folder / "config.json").write_text(text)
    (folder / "last-words").write_bytes(b"")
    return subprocess.Popen(
        [sys.executable, "-m", "finetune_operator.prepare", str(folder / "config.json")],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_OPERATOR),
            # As in a pod whose user has no home and whose image is read-only.
            "HOME": "/proc",
            "TMPDIR": str(folder),
            "TERMINATION_LOG": str(folder / "last-words"),
            **(environment or {}),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], folder: Path, *, timeout: float = 60) -> Ended:
    """Wait for the end; seconds."""
    _, log = process.communicate(timeout=timeout)
    words = (folder / "last-words").read_bytes()
    return Ended(code=process.returncode, words=words, log=log)


def run_prepare(
    config: PrepareConfig | str, folder: Path, environment: Mapping[str, str] | None = None
) -> Ended:
    """Start and wait."""
    return finish(start(config, folder, environment), folder)
