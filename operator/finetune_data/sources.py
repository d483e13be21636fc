"""Brings data and models to a local file or folder, whatever their source.

Knows the three kinds of source; must not know of rows, clusters or who asks.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from finetune_api.pods import FileSource, HttpsSource, HubSource, Source
from finetune_data import https, hub
from finetune_data.problems import MAX_FILE_BYTES, SourceError

__all__ = ["SourceError", "fetch", "fetch_model", "fetch_tokenizer"]

_ADAPTER = "adapter_config.json"


def fetch(source: Source, directory: Path) -> Path:
    """The local file of a source; what must be downloaded comes into `directory`.

    SourceError says what is wrong and whether another try may help.
    """
    match source:
        case FileSource():
            return _mounted(Path(source.path).absolute())
        case HubSource():
            return hub.download_file(source, directory, MAX_FILE_BYTES)
        case HttpsSource():
            return https.download(source, directory)


def fetch_model(source: HubSource | FileSource, directory: Path) -> Path:
    """A folder with a model: weights, settings, tokenizer and template only."""
    return _whole(source, directory, hub.MODEL_FILES)


def fetch_tokenizer(source: HubSource | FileSource, directory: Path) -> Path:
    """A folder with a model's tokenizer and chat template; no weights are downloaded."""
    return _whole(source, directory, hub.TOKENIZER_FILES)


def _whole(source: HubSource | FileSource, directory: Path, patterns: Sequence[str]) -> Path:
    """Of an adapter the libraries load the base alone, without a word."""
    if isinstance(source, FileSource):
        folder = _mounted(Path(source.path).absolute())
    else:
        folder = hub.download_model(source, directory, (*patterns, _ADAPTER))
    if (folder / _ADAPTER).exists():
        raise SourceError(
            "this is an adapter, not a whole model; merge it into its base and name that, or name"
            " the base",
            False,
        )
    return folder


def _mounted(path: Path) -> Path:
    if ".." in path.parts:
        raise SourceError("the path leads upwards; name the file below its volume", False)
    return resolve_inside(path, mount_of(path))


def mount_of(path: Path) -> Path:
    """The mount point that a path belongs to, read off its own words, before any link."""
    return next(parent for parent in (path, *path.parents) if os.path.ismount(parent))


def resolve_inside(path: Path, mount: Path) -> Path:
    """The real file or folder behind a path, links followed but never out of the volume."""
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        raise SourceError(
            "the path does not exist on the volume; check its spelling", False
        ) from None
    except (OSError, RuntimeError):
        raise SourceError(
            "the path cannot be followed on the volume; check its links", False
        ) from None
    if not real.is_relative_to(mount.resolve()):
        raise SourceError("the path leads out of its volume; replace the link by the file", False)
    if not real.is_file() and not real.is_dir():
        raise SourceError("the path is neither a file nor a folder", False)
    if not os.access(real, os.R_OK):
        raise SourceError(
            f"the path cannot be read by user {os.getuid()}; make it readable by others", False
        )
    return real
