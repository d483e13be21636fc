"""A ServiceAccount's token is exchanged for one that the account takes."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from finetune_api.constants import AZURE_TOKEN_AUDIENCE
from finetune_api.reasons import Reason
from finetune_operator.core.errors import Transient
from support.emulator import Emulator, WorkloadIdentity
from support.hosted import CLIENT, IDENTITY_AUTH, SUBJECT, TENANT, Namespace
from support.hosted_backend import Hosted
from support.proxy import Proxy

pytestmark = pytest.mark.integration

ISSUER = "https://kubernetes.default.svc.cluster.local"
SIGNING_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account_token() -> str:
    """What the API server answers to a TokenRequest."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": [AZURE_TOKEN_AUDIENCE],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    return jwt.encode(claims, SIGNING_KEY, algorithm="RS256", headers={"kid": "k1"})


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("azure")
    public = jwt.algorithms.RSAAlgorithm.to_jwk(SIGNING_KEY.public_key(), as_dict=True)
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}))
    identity = WorkloadIdentity(issuer=ISSUER, jwks_file=keys)
    options = [f"--federation={TENANT}/{CLIENT}={SUBJECT}", "--token-seconds=2"]
    with Emulator(folder, identity=identity, options=options) as emulator:
        yield emulator


def workload(emulator: Emulator, **settings: object) -> Hosted:
    return Hosted(emulator, namespace=Namespace(sign=service_account_token), **settings)


async def find(hosted: Hosted, **identity: str) -> None:
    auth = {"workloadIdentity": IDENTITY_AUTH["workloadIdentity"] | identity}
    job = hosted.job(spec__azureOpenAI__auth=auth)
    await hosted.backend.find(job, suffix="x", started_at=datetime.now(UTC))


async def test_requests_carry_the_workloads_own_token(emulator: Emulator) -> None:
    async with workload(emulator) as hosted:
        auth = {"spec__azureOpenAI__auth": IDENTITY_AUTH}
        created = await hosted.create(**auth)
        assert created.raw_status == "pending"
        await find(hosted)
        assert hosted.namespace.requests == 1, "the token is kept while it lasts"


async def test_behind_a_proxy(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entra and the account are the same server here, by two of its names."""
    authority = emulator.url.replace("127.0.0.1", "localhost")
    with Proxy(tmp_path) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with workload(emulator, authority_host=authority) as hosted:
            await find(hosted)
        asked = proxy.asked
    assert asked == {url.removeprefix("https://") for url in (emulator.url, authority)}


async def test_a_token_is_replaced_before_it_ends(emulator: Emulator) -> None:
    async with workload(emulator) as hosted:
        deadline = time.monotonic() + 10
        while hosted.namespace.requests < 3 and time.monotonic() < deadline:
            await find(hosted)
        assert hosted.namespace.requests == 3
        assert set(hosted.requests) == {("list", "200")}


async def test_an_identity_without_a_federation_is_told_what_to_set_up(emulator: Emulator) -> None:
    async with workload(emulator) as hosted:
        with pytest.raises(Transient) as caught:
            await find(hosted, clientID="33333333-3333-3333-3333-333333333333")
    assert caught.value.reason is Reason.AUTHENTICATION_FAILED
    assert caught.value.waits_for_user
    assert SUBJECT in caught.value.message
    assert AZURE_TOKEN_AUDIENCE in caught.value.message
    assert "eyJ" not in caught.value.message


@pytest.mark.parametrize("status", [429, 503])
async def test_an_authority_that_is_down_is_nobodys_mistake(
    emulator: Emulator, status: int
) -> None:
    emulator.reply(status, "POST", "/oauth2/v2.0/token$", code="temporarily_unavailable")
    async with workload(emulator) as hosted:
        with pytest.raises(Transient, match=f"HTTP {status}") as caught:
            await find(hosted)
        assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
        assert not caught.value.waits_for_user
        await find(hosted)


@pytest.mark.parametrize(
    ("settings", "want_words", "want_waits"),
    [
        pytest.param(
            {"authority_host": "https://127.0.0.1:1"}, "cannot be reached", False, id="down"
        ),
        pytest.param({"ca_file": None}, "not trusted", True, id="a certificate of another CA"),
    ],
)
async def test_an_authority_out_of_reach(
    emulator: Emulator, settings: dict[str, object], want_words: str, want_waits: bool
) -> None:
    async with workload(emulator, **settings) as hosted:
        with pytest.raises(Transient, match=want_words) as caught:
            await find(hosted)
    assert caught.value.reason is Reason.ENDPOINT_UNREACHABLE
    assert caught.value.waits_for_user is want_waits
