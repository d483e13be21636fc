import asyncio
import base64
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from finetune_operator.adapters.authority import Authority
from finetune_operator.adapters.certificates import CA_LIFE, load
from finetune_operator.adapters.refusals import AlreadyExists
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.errors import Conflict

Json = dict[str, Any]

NAMES = ("finetune-progress.ops.svc", "localhost")


class FakeSecrets:
    """One Secret with optimistic locking; `meanwhile` runs once, before the next write."""

    def __init__(self) -> None:
        self.secret: Json | None = None
        self.writes = 0
        self.meanwhile: Callable[[], None] | None = None

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self.secret

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        self._before_write()
        if self.secret is not None:
            raise AlreadyExists("exists")
        self.put(body["data"])
        return body

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, body: Json, *, version: str
    ) -> Json | None:
        self._before_write()
        assert self.secret is not None
        if self.secret["metadata"]["resourceVersion"] != version:
            raise Conflict("changed")
        data = self.secret["data"] | body["data"]
        self.put({name: value for name, value in data.items() if value is not None})
        return self.secret

    def put(self, data: Json) -> None:
        self.writes += 1
        self.secret = {"metadata": {"resourceVersion": str(self.writes)}, "data": data}

    def _before_write(self) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def an_authority(api: FakeSecrets, clock: Clock) -> Authority:
    return Authority(api, namespace="ops", secret="ca", names=NAMES, clock=clock)


def count(bundle: str) -> int:
    return bundle.count("BEGIN CERTIFICATE")


async def served_to(authority: Authority, bundle: str) -> x509.Certificate:
    """A real TLS handshake of a client that trusts the bundle; the certificate it was shown."""
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=authority.tls
    )
    trust = ssl.create_default_context(cadata=bundle)
    port = server.sockets[0].getsockname()[1]
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="localhost"
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
    finally:
        server.close()
    return x509.load_der_x509_certificate(shown)


async def test_the_first_leader_makes_a_ca_and_serves_with_it() -> None:
    api, clock = FakeSecrets(), Clock()
    authority = an_authority(api, clock)
    assert authority.bundle() == ""

    await authority.ensure()

    assert count(authority.bundle()) == 1
    shown = await served_to(authority, authority.bundle())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)


async def test_the_next_leader_takes_the_same_ca() -> None:
    api, clock = FakeSecrets(), Clock()
    first, second = an_authority(api, clock), an_authority(api, clock)
    await first.ensure()

    await second.ensure()

    assert second.bundle() == first.bundle()
    assert api.writes == 1
    await served_to(second, first.bundle())


async def test_old_and_new_ca_overlap() -> None:
    api, clock = FakeSecrets(), Clock()
    authority = an_authority(api, clock)
    await authority.ensure()
    old = authority.bundle()

    clock.now += CA_LIFE * 0.55
    await authority.ensure()
    both = authority.bundle()
    still_old = load(_texts(api)).current.certificate_pem()
    clock.now += CA_LIFE * 0.25
    await authority.ensure()
    new = authority.bundle()

    assert count(both) == 2
    assert both.startswith(old)
    assert still_old == old, "the old one signs until the new one is known everywhere"
    assert new == both.removeprefix(old), "then the new one signs, and the old one is dropped"


async def test_a_serving_certificate_is_renewed_in_place() -> None:
    api, clock = FakeSecrets(), Clock()
    clock.now -= timedelta(hours=31)  # the handshakes below happen in real time
    authority = an_authority(api, clock)
    await authority.ensure()
    before = await served_to(authority, authority.bundle())

    clock.now += timedelta(hours=19)
    await authority.ensure()
    early = await served_to(authority, authority.bundle())
    clock.now += timedelta(hours=11)
    await authority.ensure()
    renewed = await served_to(authority, authority.bundle())

    assert early == before
    assert renewed.not_valid_after_utc - before.not_valid_after_utc == timedelta(hours=30)
    assert api.writes == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({"ca.crt": "AAAA", "ca.key": "AAAA"}, id="not PEM"),
        pytest.param({"ca.crt": "%%%"}, id="not base64"),
    ],
)
async def test_a_spoilt_secret_is_replaced(data: Json) -> None:
    api = FakeSecrets()
    api.put(data)
    authority = an_authority(api, Clock())

    await authority.ensure()

    await served_to(authority, authority.bundle())
    assert load(_texts(api)).bundle() == authority.bundle()


async def test_whoever_is_second_takes_the_first_ones_ca() -> None:
    clock, other = Clock(), FakeSecrets()
    await an_authority(other, clock).ensure()
    assert other.secret is not None
    theirs = other.secret["data"]
    api = FakeSecrets()
    api.meanwhile = lambda: api.put(theirs)
    authority = an_authority(api, clock)

    await authority.ensure()

    assert load(_texts(api)).bundle() == authority.bundle()
    assert api.writes == 1


def _texts(api: FakeSecrets) -> dict[str, str]:
    assert api.secret is not None
    return {name: base64.b64decode(value).decode() for name, value in api.secret["data"].items()}
