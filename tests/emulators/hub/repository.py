"""Repositories in a folder: ROOT/models/ORG/NAME/… and ROOT/datasets/ORG/NAME/….

Knows files, commits and revisions; must not know HTTP.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

MAIN = "main"


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a repository. `oid` changes with its size and time, not its content."""

    path: str
    size: int
    oid: str


class Repository:
    """One folder that is served; it has one commit, which `main` names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> list[StoredFile]:
        """Every file, sorted by path."""
        paths = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return [self._stored(path) for path in paths]

    def commit(self) -> str:
        """40 hexadecimal digits that change when a file does."""
        text = "\n".join(f"{file.path} {file.oid}" for file in self.files())
        return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def has_revision(self, revision: str) -> bool:
        """Whether a revision names the commit."""
        return revision in (MAIN, self.commit())

    def file(self, path: str) -> Path | None:
        """Where a file lies; None if there is none of that name in the repository."""
        file = (self._folder / path).resolve()
        inside = file.is_relative_to(self._folder.resolve())
        return file if inside and file.is_file() else None

    def _stored(self, path: Path) -> StoredFile:
        stat = path.stat()
        name = path.relative_to(self._folder).as_posix()
        digest = hashlib.sha1(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
        return StoredFile(path=name, size=stat.st_size, oid=digest.hexdigest())


class Shelf:
    """All repositories below a root folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, kind: str, organisation: str, name: str) -> Repository | None:
        """The repository of a kind (models, datasets), or None."""
        folder = (self._root / kind / organisation / name).resolve()
        inside = folder.is_relative_to((self._root / kind).resolve())
        return Repository(folder) if inside and folder.is_dir() else None
