"""The prepare program behind a forward proxy: what goes through it, and what must not."""

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from finetune_api.pods import DataFile, HttpsSource, HubSource, UploadTarget
from finetune_api.reasons import ExitCode, Reason
from support.certificates import make_server_certificate
from support.chat_rows import numbered_rows, write_jsonl
from support.emulator import API_KEY, Emulator, WorkloadIdentity
from support.hub import Hub
from support.prepare import config_of, file_of, run_prepare
from support.proxy import Proxy

pytestmark = pytest.mark.integration

ISSUER = "https://kubernetes.default.svc"
TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
SUBJECT = "system:serviceaccount:team-a:trainer"
SCOPE = "https://cognitiveservices.azure.com/.default"
TO_HUB = DataFile(
    source=HubSource(repo_id="org/sums", repo_type="dataset", path="train.jsonl"),
    display="hf://datasets/org/sums/train.jsonl",
)


def host_of(url: str) -> str:
    return url.removeprefix("https://").partition("/")[0]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(tmp_path) as running:
        yield running


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Hub, dict[str, str]]]:
    """A hub over https, and the variables with which a pod finds and trusts it."""
    write_jsonl(tmp_path / "hub/datasets/org/sums/train.jsonl", numbered_rows(60))
    tls = make_server_certificate(tmp_path / "tls", "127.0.0.1")
    options = [f"--tls-cert={tls.certificate}", f"--tls-key={tls.key}"]
    with Hub(tmp_path / "hub", options) as hub:
        yield hub, {"HF_ENDPOINT": hub.url, "FETCH_CA_FILE": str(tls.ca)}


@pytest.mark.parametrize(
    ("exempt", "goes_through"),
    [
        pytest.param("", True, id="a public hub"),
        pytest.param("127.0.0.1", False, id="a hub inside, named in NO_PROXY"),
    ],
)
def test_a_hub(
    exempt: str,
    goes_through: bool,
    proxy: Proxy,
    hub: tuple[Hub, dict[str, str]],
    tmp_path: Path,
) -> None:
    server, known = hub
    variables = {"HTTPS_PROXY": proxy.url, "NO_PROXY": exempt, **known}

    ended = run_prepare(config_of(TO_HUB), tmp_path, variables)

    assert (ended.code, ended.report.message) == (ExitCode.OK, None)
    assert proxy.asked == ({host_of(server.url)} if goes_through else set())


def test_an_upload_with_a_key(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(API_KEY)
    data = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(20)))
    with Emulator(tmp_path, speed=600) as emulator:
        target = UploadTarget(base_url=emulator.base_url, token_scope=SCOPE)
        ended = run_prepare(
            config_of(data, upload=target),
            tmp_path,
            {
                "HTTPS_PROXY": proxy.url,
                "API_KEY_FILE": str(tmp_path / "key"),
                "AZURE_CA_FILE": str(emulator.ca),
            },
        )
        stored = [file["id"] for file in emulator.files()]

    assert (ended.code, ended.report.message) == (ExitCode.OK, None)
    assert stored == [ended.report.training_file_id]
    assert proxy.asked == {host_of(emulator.url)}


def test_an_upload_with_an_identity(proxy: Proxy, tmp_path: Path) -> None:
    """The exchange of tokens too: the same server, by another of its names."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "jwks.json").write_text(
        f'{{"keys": [{jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())}]}}'
    )
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": ["api://AzureADTokenExchange"]}
    lasting = {"iat": now, "nbf": now, "exp": now + 600}
    (tmp_path / "token").write_text(jwt.encode(claims | lasting, key, algorithm="RS256"))
    data = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(20)))
    identity = WorkloadIdentity(issuer=ISSUER, jwks_file=tmp_path / "jwks.json")
    options = [f"--federation={TENANT}/{CLIENT}={SUBJECT}"]
    with Emulator(tmp_path, speed=600, identity=identity, options=options) as emulator:
        authority = emulator.url.replace("127.0.0.1", "localhost")
        target = UploadTarget(
            base_url=emulator.base_url,
            token_scope=SCOPE,
            tenant_id=TENANT,
            client_id=CLIENT,
            authority_host=authority,
        )
        ended = run_prepare(
            config_of(data, upload=target),
            tmp_path,
            {
                "HTTPS_PROXY": proxy.url,
                "AZURE_TOKEN_FILE": str(tmp_path / "token"),
                "AZURE_CA_FILE": str(emulator.ca),
            },
        )

    assert (ended.code, ended.report.message) == (ExitCode.OK, None)
    assert proxy.asked == {host_of(emulator.url), host_of(authority)}


@pytest.mark.parametrize(
    ("host", "allowed", "want"),
    [
        pytest.param(
            "127.0.0.1", ["127.0.0.1/32"], Reason.DATA_INVALID, id="allowed: it is asked directly"
        ),
        pytest.param(
            "localhost", [], Reason.DATA_UNAVAILABLE, id="inside: the check is not passed by"
        ),
    ],
)
def test_https_data_takes_no_proxy(
    host: str,
    allowed: list[str],
    want: Reason,
    proxy: Proxy,
    hub: tuple[Hub, dict[str, str]],
    tmp_path: Path,
) -> None:
    """Any server over https will do: a hub's answer about itself is no training data."""
    server, known = hub
    url = f"{server.url.replace('127.0.0.1', host)}/api/datasets/org/sums"
    source = HttpsSource(url=url, allowed_ranges=allowed, denied_ranges=[])

    ended = run_prepare(
        config_of(DataFile(source=source, display=url)),
        tmp_path,
        {"HTTPS_PROXY": proxy.url, **known},
    )

    assert ended.report.reason == want, ended.report.message
    assert proxy.asked == set()
