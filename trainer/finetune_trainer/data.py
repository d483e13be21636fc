"""Brings the rows and the model to local files and checks that they are what was promised.

Knows sources, digests and chat rows; must not know of torch.
"""

from dataclasses import dataclass
from pathlib import Path

from finetune_api.pods import DataFile, FileSource, HubSource, Source, TrainerConfig
from finetune_api.reasons import ExitCode, Reason
from finetune_data import sources
from finetune_data.chat import ChatRow, DataError, read_rows
from finetune_data.lines import sha256_of
from finetune_trainer.errors import TrainerError, bad_data, data_changed


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One checked file."""

    rows: list[ChatRow]
    sha256: str
    bytes: int
    display: str


def load(config: TrainerConfig, scratch: Path) -> dict[str, Rows]:
    """The rows of `training` and, if there is one, `validation`."""
    files = {"training": config.training, "validation": config.validation}
    return {name: _rows(file, scratch / name) for name, file in files.items() if file}


def model_folder(source: HubSource | FileSource, display: str, scratch: Path) -> Path:
    """The local folder of the model."""
    return _fetch(source, display, scratch / "model", Reason.MODEL_UNAVAILABLE)


def _rows(file: DataFile, scratch: Path) -> Rows:
    path = _fetch(file.source, file.display, scratch, Reason.DATA_UNAVAILABLE)
    digest = sha256_of(path)
    if file.sha256 is not None and digest != file.sha256:
        raise data_changed(
            f"{file.display} has changed since it was checked (sha256 {digest[:12]}…, expected "
            f"{file.sha256[:12]}…): restore it, or request a retry to train on what it holds now."
        )
    try:
        rows = read_rows(path)
    except DataError as error:
        raise bad_data(f"{file.display}: {error}.") from error
    return Rows(rows=rows, sha256=digest, bytes=path.stat().st_size, display=file.display)


def _fetch(source: Source, display: str, directory: Path, reason: Reason) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return sources.fetch(source, directory)
    except sources.SourceError as error:
        code = ExitCode.UNAVAILABLE if error.transient else ExitCode.BAD_CONFIG
        raise TrainerError(code, reason, f"{display}: {error}.") from error
