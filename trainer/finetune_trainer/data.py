"""Brings the rows and the model to local files and checks that they are what they were.

Knows sources, digests and chat rows; must not know of torch.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_api.pods import DataFile, FileSource, HubSource, TrainerConfig
from finetune_api.reasons import ExitCode, Reason
from finetune_api.status import Resolved
from finetune_data import hub, sources
from finetune_data.chat import ChatRow, DataError, parse_chat, read_chat_rows
from finetune_data.lines import sha256_of
from finetune_data.rows import usable_rows
from finetune_data.split import split_rows
from finetune_trainer.errors import TrainerError, bad_config, bad_data, data_changed

VERSION = "modelVersion"
"""Under this name `resolved` says which weights the training began with."""
_END_BYTES = 1 << 20


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
    found = {
        name: _rows(file, scratch / name, drop=config.drop_invalid)
        for name, file in files.items()
        if file
    }
    if config.split is None:
        return found
    whole = found["training"]
    training, validation = split_rows(whole.rows, config.split)
    display = f"{config.split.percent}% of {whole.display}"
    return {
        "training": replace(whole, rows=training),
        "validation": replace(whole, rows=validation, display=display),
    }


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model to start from."""

    source: HubSource | FileSource
    """On a hub: the commit, not the branch that named it."""
    folder: Path
    version: Resolved


def base_model(config: TrainerConfig, scratch: Path, before: Mapping[str, Resolved]) -> Base:
    """The model in a local folder: the weights that an earlier attempt began with, if one did."""
    source, known = config.model, before[VERSION].value if VERSION in before else None
    if isinstance(source, HubSource):
        reason = f"{source.revision} of the hub when training began"
        with _explained(config.model_display, Reason.MODEL_UNAVAILABLE):
            commit = known or hub.commit_of(source)
        source = source.model_copy(update={"revision": commit})
        version = Resolved(value=commit, reason=reason)
    with _explained(config.model_display, Reason.MODEL_UNAVAILABLE):
        folder = sources.fetch_model(source, _made(scratch / "model"))
    if isinstance(source, FileSource):
        version = Resolved(value=_weights(folder), reason="digest of the weight files' ends")
        if known not in (None, version.value):
            raise bad_config(
                f"{config.model_display} holds other weights than when this training began: "
                "restore them and ask for a retry, or begin anew in a new FineTuneJob."
            )
    return Base(source=source, folder=folder, version=version)


def _weights(folder: Path) -> str:
    """What tells weight files from others, by names, sizes and ends: whole they are gigabytes."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:16]


def _rows(file: DataFile, scratch: Path, *, drop: bool) -> Rows:
    with _explained(file.display, Reason.DATA_UNAVAILABLE):
        path = sources.fetch(file.source, _made(scratch))
    digest = sha256_of(path)
    if file.sha256 is not None and digest != file.sha256:
        raise data_changed(
            f"{file.display} has changed since it was checked (sha256 {digest[:12]}…, expected "
            f"{file.sha256[:12]}…): restore it, or request a retry to train on what it holds now."
        )
    try:
        rows = usable_rows(path, parse_chat) if drop else read_chat_rows(path)
    except DataError as error:
        raise bad_data(f"{file.display}: {error}.") from error
    return Rows(rows=rows, sha256=digest, bytes=path.stat().st_size, display=file.display)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _explained(display: str, reason: Reason) -> Iterator[None]:
    try:
        yield
    except sources.SourceError as error:
        code = ExitCode.UNAVAILABLE if error.transient else ExitCode.BAD_CONFIG
        raise TrainerError(code, reason, f"{display}: {error}.") from error
