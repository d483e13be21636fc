"""The progress endpoint's certificate authority: kept in one Secret, rotated and used in time.

It must not know what is served with it, nor who trusts it.
"""

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from finetune_operator.adapters.certificates import (
    Authorities,
    Signer,
    dump,
    load,
    new_authority,
    serving_certificate,
)
from finetune_operator.adapters.refusals import AlreadyExists, Json
from finetune_operator.adapters.resources import SECRETS, Resource
from finetune_operator.core.errors import Conflict, OperatorError

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 3600.0
_RETRY_SECONDS = 5.0


def _now() -> datetime:
    return datetime.now(UTC)


class SecretApi(Protocol):
    """What keeping a Secret needs of the API server."""

    async def get(self, resource: Resource, namespace: str, name: str, /) -> Json | None:
        """One object, or None."""

    async def create(self, resource: Resource, namespace: str, body: Json, /) -> Json:
        """The object as created; AlreadyExists if the name is taken."""

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, body: Json, /, *, version: str
    ) -> Json | None:
        """The object as patched; Conflict if it is not at `version` any more."""


class Authority:
    """What signs the endpoint's certificate, and the TLS context that serves with it."""

    def __init__(
        self,
        api: SecretApi,
        *,
        namespace: str,
        secret: str,
        names: Sequence[str],
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._secret = secret
        self._names = names
        self._clock = clock
        self._authorities: Authorities | None = None
        self._serving: tuple[Signer, Signer] | None = None  # with the CA that signed it
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def bundle(self) -> str:
        """What pods have to trust, in PEM; empty if there is no endpoint (yet)."""
        return self._authorities.bundle() if self._authorities else ""

    async def run(self) -> NoReturn:
        """Rotate and renew in time, for ever; a failure is logged and tried again."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            await self.ensure_until_done()

    async def ensure_until_done(self) -> None:
        """As `ensure`, however long the API server is away."""
        while True:
            try:
                await self.ensure()
                return
            except OperatorError as e:
                logger.error("The progress endpoint's CA could not be kept up to date: %s", e)
                await asyncio.sleep(_RETRY_SECONDS)

    async def ensure(self) -> None:
        """Read or make the CA, rotate it if due, and have a fresh certificate served."""
        while True:
            try:
                self._authorities = await self._read_or_write()
                break
            except (AlreadyExists, Conflict):
                logger.info("The progress endpoint's CA changed meanwhile; reading it again")
        self._renew(self._authorities.current)

    async def _read_or_write(self) -> Authorities:
        now = self._clock()
        secret = await self._api.get(SECRETS, self._namespace, self._secret)
        if secret is None:
            made = Authorities(new_authority(now))
            await self._api.create(SECRETS, self._namespace, self._body(made))
            return made
        kept = _read(secret)
        wanted = kept.rotated(now) if kept else Authorities(new_authority(now))
        if wanted != kept:
            await self._replace(secret, wanted)
        return wanted

    async def _replace(self, secret: Json, wanted: Authorities) -> None:
        removed = dict.fromkeys(secret.get("data") or {})
        body = {"data": {**removed, **self._body(wanted)["data"]}}
        version = secret["metadata"]["resourceVersion"]
        await self._api.merge_patch(SECRETS, self._namespace, self._secret, body, version=version)
        logger.info("Rotated the progress endpoint's CA")

    def _body(self, authorities: Authorities) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._secret, "namespace": self._namespace},
            "type": "Opaque",
            "data": {
                name: base64.b64encode(text.encode()).decode()
                for name, text in dump(authorities).items()
            },
        }

    def _renew(self, authority: Signer) -> None:
        """Serve with a new certificate if the old one ages or its CA does not sign any more."""
        if self._serving is not None:
            serving, signer = self._serving
            if signer.certificate == authority.certificate and serving.age(self._clock()) < 0.5:
                return
        serving = serving_certificate(authority, self._names, self._clock())
        _use(self.tls, serving)
        self._serving = (serving, authority)


def _read(secret: Json) -> Authorities | None:
    """What the Secret keeps; None, and so made anew, if somebody put something else there."""
    try:
        data = {
            name: base64.b64decode(value).decode()
            for name, value in (secret.get("data") or {}).items()
        }
        return load(data)
    except (ValueError, KeyError):
        logger.warning("The progress endpoint's Secret holds no usable CA; making a new one")
        return None


def _use(context: ssl.SSLContext, serving: Signer) -> None:
    """Serve new connections with it. The ssl module wants a file: this one never has a disk."""
    descriptor = os.memfd_create("serving-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, (serving.certificate_pem() + serving.key_pem()).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
