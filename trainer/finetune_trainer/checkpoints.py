"""Complete checkpoints: a manifest written last says what belongs to one, and nothing else counts.

Knows files; must not know what is in them.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetune_api.status import CheckpointStatus, Resolved
from finetune_trainer import log
from finetune_trainer.story import write_json

FOLDER = "checkpoints"
"""Below the output folder."""
MANIFEST = ".complete"
PREFIX = "checkpoint-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete one, of this training."""

    path: Path
    step: int
    resolved: dict[str, Resolved]
    saved_at: str

    def status(self, output: Path) -> CheckpointStatus:
        """As status shows it, relative to the output folder."""
        where = str(self.path.relative_to(output))
        return CheckpointStatus(step=self.step, path=where, saved_at=self.saved_at)


def file_sizes(folder: Path) -> dict[str, int]:
    """Every file below a folder, but its manifest, with its size in bytes."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def seal(folder: Path, **facts: object) -> None:
    """Put every file of a folder on disk, readable by others, then write its manifest."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if path.is_file():
            _flush(path)
    folder.chmod(0o755)
    write_json(folder / MANIFEST, json.dumps({**facts, "files": file_sizes(folder)}))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def manifest(folder: Path) -> dict[str, object] | None:
    """The facts of a sealed folder; None if it is torn."""
    try:
        facts = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return facts if facts["files"] == file_sizes(folder) else None


class Checkpoints:
    """The checkpoints of one training, below one folder."""

    def __init__(self, folder: Path, fingerprint: str, keep: int) -> None:
        """`fingerprint` tells this training from others; `keep` complete ones stay."""
        self.folder = folder
        self._fingerprint = fingerprint
        self._keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is written."""
        return self.folder / f"{PREFIX}{step}"

    def clear(self, step: int) -> None:
        """Remove what a torn or foreign checkpoint left where one is about to be written."""
        shutil.rmtree(self.path(step), ignore_errors=True)

    def complete(self, step: int, resolved: dict[str, Resolved]) -> Checkpoint:
        """Seal a written checkpoint, then drop those that are too old."""
        saved_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        seal(
            self.path(step),
            step=step,
            fingerprint=self._fingerprint,
            savedAt=saved_at,
            resolved={key: value.model_dump() for key, value in resolved.items()},
        )
        self._prune()
        return Checkpoint(path=self.path(step), step=step, resolved=resolved, saved_at=saved_at)

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint of this training."""
        return max(self._own(verbose=True), key=lambda found: found.step, default=None)

    def drop_torn(self) -> None:
        """Remove what is not complete, to make room on a full disk."""
        for folder in self._folders():
            if manifest(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)

    def _prune(self) -> None:
        own = sorted(self._own(verbose=False), key=lambda found: -found.step)
        kept = {found.path for found in own[: self._keep]}
        for folder in self._folders():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob(f"{PREFIX}*")) if self.folder.is_dir() else []

    def _own(self, *, verbose: bool) -> Iterator[Checkpoint]:
        for folder in self._folders():
            facts = manifest(folder)
            why = "torn" if facts is None else "of another training"
            if facts is not None and facts["fingerprint"] == self._fingerprint:
                yield _checkpoint(folder, facts)
            elif verbose:
                log.event("checkpoint-skipped", path=folder.name, reason=f"it is {why}")


def _checkpoint(folder: Path, facts: dict[str, object]) -> Checkpoint:
    resolved, step = facts["resolved"], facts["step"]
    assert isinstance(resolved, dict)
    assert isinstance(step, int)
    return Checkpoint(
        path=folder,
        step=step,
        resolved={key: Resolved(**value) for key, value in resolved.items()},
        saved_at=str(facts["savedAt"]),
    )
