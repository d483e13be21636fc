"""Where the signing keys of the trusted token issuer come from: a file or the cluster's own URL.

Must not know of tokens or clients.
"""

import json
import ssl
import time
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import jwt

_FRESH_SECONDS = 300
_MINIMUM_SECONDS_BETWEEN_LOADS = 2
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class KeyUnknownError(Exception):
    """The issuer has published no such key."""


class KeysUnavailableError(Exception):
    """The issuer's keys cannot be read now; the text says why."""


class _Loader(Protocol):
    async def load(self) -> dict[str, Any]:
        """The JWKS document."""


class JwksFile:
    """A JWKS document on disk, read anew at each load."""

    def __init__(self, path: Path) -> None:
        """Read from `path`."""
        self._path = path

    async def load(self) -> dict[str, Any]:
        """The JWKS document."""
        document: dict[str, Any] = json.loads(self._path.read_text())
        return document


class JwksUrl:
    """A JWKS document behind HTTPS, such as an API server's /openid/v1/jwks."""

    def __init__(self, url: str, *, ca_file: Path | None, token_file: Path | None) -> None:
        """Read from `url`; trust `ca_file` alone and show the token if they are given."""
        self._url = url
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._token_file = token_file

    async def load(self) -> dict[str, Any]:
        """The JWKS document."""
        headers = {}
        if self._token_file is not None:
            # Read each time: the kubelet replaces a projected token while we run.
            headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(self._url, ssl=self._tls, headers=headers) as response,
        ):
            response.raise_for_status()
            # An API server serves application/jwk-set+json.
            document: dict[str, Any] = await response.json(content_type=None)
            return document


class KeySource:
    """Signing keys by id, kept for minutes and looked up again when an id is new."""

    def __init__(self, loader: _Loader) -> None:
        """Load nothing yet."""
        self._loader = loader
        self._keys: dict[str, jwt.PyJWK] = {}
        self._loaded_at = -float("inf")

    async def key(self, key_id: str) -> jwt.PyJWK:
        """The key called `key_id`.

        Raises:
            KeyUnknownError: the issuer has not published it.
            KeysUnavailableError: the issuer cannot be asked.
        """
        age = time.monotonic() - self._loaded_at
        unknown = key_id not in self._keys
        if age > _FRESH_SECONDS or (unknown and age > _MINIMUM_SECONDS_BETWEEN_LOADS):
            await self._load()
        if key_id not in self._keys:
            raise KeyUnknownError(key_id)
        return self._keys[key_id]

    async def _load(self) -> None:
        try:
            document = await self._loader.load()
        except (OSError, aiohttp.ClientError) as error:
            raise KeysUnavailableError(str(error)) from error
        found = jwt.PyJWKSet.from_dict(document)
        self._keys = {str(key.key_id): key for key in found.keys}
        self._loaded_at = time.monotonic()
