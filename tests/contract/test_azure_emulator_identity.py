"""The token endpoint against the real azure-identity, with a cluster's keys of our own."""

import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import openai
import pytest
from aiohttp import web
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, WorkloadIdentityCredential
from cryptography.hazmat.primitives.asymmetric import rsa

from azure_openai.identity import AuthorityError, Directory, Federation
from azure_openai.issuer import JwksUrl, KeySource, KeyUnknownError
from support.azure_account import http_client
from support.certificates import make_server_certificate
from support.emulator import Emulator, WorkloadIdentity

ISSUER = "https://kubernetes.default.svc.cluster.local"
TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
SUBJECT = "system:serviceaccount:team-a:trainer"
SCOPE = "https://cognitiveservices.azure.com/.default"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A token issuer with one key."""

    key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )

    def jwks(self) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}

    def token(self, *, key_id: str = "k1", **changes: object) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": SUBJECT,
            "aud": ["api://AzureADTokenExchange"],
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            **changes,
        }
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": key_id})


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def emulator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("azure")
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(cluster.jwks()))
    identity = WorkloadIdentity(issuer=ISSUER, jwks_file=jwks)
    options = [f"--federation={TENANT}/{CLIENT}={SUBJECT}", "--token-seconds=1"]
    with Emulator(folder, identity=identity, options=options) as emulator:
        yield emulator


def credential(emulator: Emulator, assertion: str, **changes: Any) -> ClientAssertionCredential:
    options: dict[str, Any] = {"tenant_id": TENANT, "client_id": CLIENT, **changes}
    return ClientAssertionCredential(
        func=lambda: assertion,
        authority=emulator.url,
        disable_instance_discovery=True,
        connection_verify=str(emulator.ca),
        **options,
    )


async def list_files(emulator: Emulator, token: str) -> int:
    """The status of a data plane request with this token."""
    async with http_client(emulator) as http:
        headers = {"Authorization": f"Bearer {token}"}
        return (await http.get(f"{emulator.base_url}files", headers=headers)).status_code


async def test_a_workload_gets_a_token_that_the_account_takes(
    emulator: Emulator, cluster: Cluster, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(cluster.token())
    with WorkloadIdentityCredential(
        tenant_id=TENANT,
        client_id=CLIENT,
        token_file_path=str(token_file),
        authority=emulator.url,
        disable_instance_discovery=True,
        connection_verify=str(emulator.ca),
    ) as workload:
        token = workload.get_token(SCOPE).token

    async def provide() -> str:
        return token

    async with openai.AsyncOpenAI(
        base_url=emulator.base_url, api_key=provide, http_client=http_client(emulator)
    ) as client:
        assert (await client.files.list()).data == []


async def test_a_token_ends(emulator: Emulator, cluster: Cluster) -> None:
    with credential(emulator, cluster.token()) as workload:
        token = workload.get_token(SCOPE)
    assert token.expires_on <= time.time() + 1
    assert await list_files(emulator, token.token) == 200
    deadline = time.monotonic() + 5
    while await list_files(emulator, token.token) != 401:
        assert time.monotonic() < deadline


PROJECT_SCOPE = "https://ai.azure.com/.default"


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        pytest.param(SCOPE, "openai/v1", id="the account"),
        pytest.param(PROJECT_SCOPE, "api/projects/p/openai/v1", id="a project"),
    ],
)
async def test_each_door_takes_tokens_of_its_own(
    emulator: Emulator, cluster: Cluster, scope: str, path: str
) -> None:
    with credential(emulator, cluster.token()) as workload:
        token = workload.get_token(scope).token
    async with openai.AsyncOpenAI(
        base_url=f"{emulator.url}/{path}", api_key=token, http_client=http_client(emulator)
    ) as client:
        assert (await client.files.list()).data == []


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        pytest.param(PROJECT_SCOPE, "openai/v1", id="the project's at the account"),
        pytest.param(SCOPE, "api/projects/p/openai/v1", id="the account's at a project"),
        pytest.param("https://management.azure.com/.default", "openai/v1", id="for deployments"),
    ],
)
async def test_a_token_for_another_resource_is_refused(
    emulator: Emulator, cluster: Cluster, scope: str, path: str
) -> None:
    with credential(emulator, cluster.token()) as workload:
        token = workload.get_token(scope).token
    async with openai.AsyncOpenAI(
        base_url=f"{emulator.url}/{path}", api_key=token, http_client=http_client(emulator)
    ) as client:
        with pytest.raises(openai.AuthenticationError, match="audience is incorrect"):
            await client.files.list()


@pytest.mark.parametrize(
    ("claims", "want"),
    [
        pytest.param({"sub": "system:serviceaccount:team-b:trainer"}, "AADSTS700213", id="subject"),
        pytest.param({"iss": "https://elsewhere"}, "AADSTS700211", id="issuer"),
        pytest.param({"aud": "https://kubernetes"}, "AADSTS700212", id="audience"),
        pytest.param({"exp": 1}, "AADSTS700024", id="expired"),
        pytest.param({"nbf": 2**33}, "AADSTS700024", id="not yet valid"),
        pytest.param({"key_id": "k2"}, "AADSTS700027", id="a key not published"),
    ],
)
def test_assertions_that_are_refused(
    emulator: Emulator, cluster: Cluster, claims: dict[str, Any], want: str
) -> None:
    with (
        credential(emulator, cluster.token(**claims)) as workload,
        pytest.raises(ClientAuthenticationError, match=want),
    ):
        workload.get_token(SCOPE)


def test_an_assertion_signed_by_somebody_else_is_refused(emulator: Emulator) -> None:
    with (
        credential(emulator, Cluster().token()) as workload,
        pytest.raises(ClientAuthenticationError, match="AADSTS700027"),
    ):
        workload.get_token(SCOPE)


@pytest.mark.parametrize(
    ("options", "scope", "want"),
    [
        pytest.param({"client_id": "other"}, SCOPE, "AADSTS700016", id="unknown client"),
        pytest.param({}, "https://nothing/.default", "AADSTS500011", id="unknown resource"),
    ],
)
def test_requests_that_are_refused(
    emulator: Emulator, cluster: Cluster, options: dict[str, str], scope: str, want: str
) -> None:
    with (
        credential(emulator, cluster.token(), **options) as workload,
        pytest.raises(ClientAuthenticationError, match=want),
    ):
        workload.get_token(scope)


def test_a_client_may_be_federated_later(emulator: Emulator, cluster: Cluster) -> None:
    subject = "system:serviceaccount:team-c:trainer"
    with credential(emulator, cluster.token(sub=subject), client_id="late") as workload:
        with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
            workload.get_token(SCOPE)
        emulator.federate(tenant_id=TENANT, client_id="late", subject=subject)
        assert workload.get_token(SCOPE).token


@pytest.mark.parametrize(
    ("path", "form", "want_status", "want_number"),
    [
        pytest.param(f"/{TENANT}/oauth2/v2.0/token", {}, 400, 900144, id="an empty request"),
        pytest.param(
            f"/{TENANT}/oauth2/v2.0/token",
            {
                "client_id": CLIENT,
                "client_assertion": "x",
                "client_assertion_type": "x",
                "grant_type": "password",
                "scope": SCOPE,
            },
            400,
            70003,
            id="another grant",
        ),
        pytest.param("/t/v2.0/.well-known/openid-configuration", None, 400, 90002, id="tenant"),
    ],
)
def test_refusals_say_which_error_it_is(
    emulator: Emulator,
    path: str,
    form: dict[str, str] | None,
    want_status: int,
    want_number: int,
) -> None:
    data = None if form is None else urllib.parse.urlencode(form).encode()
    tls = ssl.create_default_context(cafile=emulator.ca)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{emulator.url}{path}", data=data, context=tls)
    with refused.value as error:
        body = json.load(error)
    assert refused.value.code == want_status
    assert body["error_codes"] == [want_number]
    assert body["error_description"].startswith(f"AADSTS{want_number}: ")


class TestKeysFromTheCluster:
    @pytest.fixture
    async def api_server(self, cluster: Cluster, tmp_path: Path) -> AsyncIterator[str]:
        """A server that shows its keys only to the bearer of a token, as a cluster may."""

        async def jwks(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != "Bearer pod-token":
                return web.Response(status=401)
            body = json.dumps(cluster.jwks())
            return web.Response(text=body, content_type="application/jwk-set+json")

        certificate = make_server_certificate(tmp_path, "127.0.0.1")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        app = web.Application()
        app.router.add_get("/openid/v1/jwks", jwks)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/openid/v1/jwks"
        await runner.cleanup()

    async def test_are_fetched_with_its_ca_and_a_token(
        self, api_server: str, cluster: Cluster, tmp_path: Path
    ) -> None:
        token_file = tmp_path / "token"
        token_file.write_text("pod-token\n")
        url = JwksUrl(api_server, ca_file=tmp_path / "ca.crt", token_file=token_file)
        keys = KeySource(url)
        key = await keys.key("k1")
        audience = "api://AzureADTokenExchange"
        claims = jwt.decode(cluster.token(), key, algorithms=["RS256"], audience=audience)
        assert claims["sub"] == SUBJECT
        with pytest.raises(KeyUnknownError):
            await keys.key("k2")

    async def test_that_cannot_be_fetched_are_no_verdict_on_the_workload(
        self, api_server: str, cluster: Cluster, tmp_path: Path
    ) -> None:
        token_file = tmp_path / "token"
        token_file.write_text("not the token")
        url = JwksUrl(api_server, ca_file=tmp_path / "ca.crt", token_file=token_file)
        federation = Federation(tenant_id=TENANT, client_id=CLIENT, subject=SUBJECT)
        directory = Directory(
            issuer=ISSUER, keys=KeySource(url), federations=[federation], token_seconds=60
        )
        with pytest.raises(AuthorityError, match="cannot be read: 401") as refused:
            await directory.exchange(
                tenant_id=TENANT, client_id=CLIENT, assertion=cluster.token(), scope=SCOPE
            )
        assert (refused.value.status, refused.value.number) == (503, 90033)
