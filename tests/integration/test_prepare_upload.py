"""Uploading against the emulator: once per content, whoever asks; every refusal has its reason."""

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from finetune_api.pods import PrepareConfig, UploadTarget
from finetune_api.reasons import ExitCode, Reason
from finetune_data.lines import sha256_of
from finetune_operator.core.errors import OperatorError, Transient
from finetune_operator.prepare import upload as uploading
from finetune_operator.prepare.data import CheckedData, prepare_data
from finetune_operator.prepare.failure import Failure, of_service
from finetune_operator.prepare.places import Places
from finetune_operator.prepare.upload import upload
from support.azure_account import v1_client
from support.certificates import make_server_certificate
from support.chat_rows import numbered_rows, write_jsonl
from support.emulator import API_KEY, Emulator, WorkloadIdentity
from support.prepare import config_of, emptied, file_of, places_in

pytestmark = pytest.mark.integration

ISSUER = "https://kubernetes.default.svc"
TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
SUBJECT = "system:serviceaccount:team-a:trainer"
SCOPE = "https://cognitiveservices.azure.com/.default"
SOON = {"retry-after-ms": "10"}


@pytest.fixture(scope="module")
def cluster_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def shared_emulator(
    cluster_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("azure")
    public = jwt.algorithms.RSAAlgorithm.to_jwk(cluster_key.public_key(), as_dict=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "k1"}]}))
    identity = WorkloadIdentity(issuer=ISSUER, jwks_file=folder / "jwks.json")
    options = [f"--federation={TENANT}/{CLIENT}={SUBJECT}"]
    with Emulator(folder, identity=identity, options=options) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Emulator) -> Emulator:
    return emptied(shared_emulator)


@pytest.fixture
def places(emulator: Emulator, tmp_path: Path) -> Places:
    return places_in(tmp_path, emulator)


def target(emulator: Emulator, **more: Any) -> UploadTarget:
    return UploadTarget(base_url=emulator.base_url, token_scope=SCOPE, **more)


def federated(emulator: Emulator, client_id: str = CLIENT) -> UploadTarget:
    return target(emulator, tenant_id=TENANT, client_id=client_id, authority_host=emulator.url)


def checked(tmp_path: Path, count: int = 20, *, validation: int | None = None) -> CheckedData:
    more: dict[str, Any] = {}
    if validation is not None:
        path = write_jsonl(tmp_path / "validation.jsonl", numbered_rows(validation))
        more["validation"] = file_of(path)
    training = file_of(write_jsonl(tmp_path / "train.jsonl", numbered_rows(count)))
    config: PrepareConfig = config_of(training, **more)
    return prepare_data(config, tmp_path / "work")


def names(emulator: Emulator) -> list[str]:
    return sorted(file["filename"] for file in emulator.files())


def posts(emulator: Emulator) -> int:
    return sum(
        count for route, count in emulator.requests()["counts"].items() if route.startswith("POST")
    )


async def test_both_files_are_uploaded_and_processed(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    emulator.configure(pending_polls=2)
    data = checked(tmp_path, validation=12)

    got = await upload(data, target(emulator), places)

    by_id = {file["id"]: file for file in emulator.files()}
    assert by_id[got.training]["filename"] == f"{data.training.check.sha256[:32]}-train.jsonl"
    assert got.validation is not None
    digest = sha256_of(tmp_path / "validation.jsonl")
    assert by_id[got.validation]["filename"] == f"{digest[:32]}-validation.jsonl"
    assert {file["status"] for file in by_id.values()} == {"processed"}


async def test_a_file_is_uploaded_once(emulator: Emulator, places: Places, tmp_path: Path) -> None:
    data = checked(tmp_path, validation=12)
    first = await upload(data, target(emulator), places)
    emulator.forget_requests()

    again = await upload(data, target(emulator), places)

    assert again == first
    assert posts(emulator) == 0


async def test_other_content_is_another_file(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    first = await upload(checked(tmp_path, 20), target(emulator), places)

    other = await upload(checked(tmp_path, 21), target(emulator), places)

    assert other.training != first.training
    assert len(names(emulator)) == 2


async def test_a_file_is_found_behind_a_hundred_others(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    data = checked(tmp_path)
    first = await upload(data, target(emulator), places)
    async with v1_client(emulator) as client:
        for number in range(99):
            content = (f"{number}-other.jsonl", b"{}\n" * 10)
            await client.files.create(file=content, purpose="fine-tune")
        for file in [f for f in emulator.files() if f["id"] != first.training][:10]:
            await client.files.delete(file["id"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading, "_PAGE", 20)
        assert await upload(data, target(emulator), places) == first


async def test_a_file_that_the_service_could_not_use_is_not_used_again(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    few = checked(tmp_path, 3)
    for _ in range(2):
        with pytest.raises(Failure, match="at least 10 are required") as caught:
            await upload(few, target(emulator), places)
        assert caught.value.code == ExitCode.BAD_DATA

    assert len(names(emulator)) == 2


async def test_a_remainder_of_another_size_is_not_used(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    data = checked(tmp_path)
    async with v1_client(emulator) as client:
        name = f"{data.training.check.sha256[:32]}-train.jsonl"
        await client.files.create(file=(name, b'{"messages": []}\n' * 10), purpose="fine-tune")

    got = await upload(data, target(emulator), places)

    (used,) = [file for file in emulator.files() if file["id"] == got.training]
    assert used["bytes"] == data.training.check.size


async def test_an_upload_whose_answer_is_lost_is_found_by_the_next_pod(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    data = checked(tmp_path)
    emulator.cut("POST", "/files$", moment="after", times=3)
    with pytest.raises(OperatorError) as caught:
        await upload(data, target(emulator), places)
    assert of_service(caught.value).code == ExitCode.UNAVAILABLE
    left = {file["id"] for file in emulator.files()}
    emulator.forget_requests()

    got = await upload(data, target(emulator), places)

    assert got.training in left
    assert posts(emulator) == 0


async def test_a_file_that_changes_while_it_is_uploaded_is_taken_back(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    data = checked(tmp_path)
    write_jsonl(tmp_path / "train.jsonl", numbered_rows(21))

    with pytest.raises(Failure, match="changed while it was uploaded") as caught:
        await upload(data, target(emulator), places)

    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, Reason.DATA_CHANGED)
    assert names(emulator) == []


async def test_a_file_too_large_for_the_service_is_not_sent(
    emulator: Emulator, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "MAX_BYTES", 1000)

    with pytest.raises(Failure, match="larger than 512 MiB") as caught:
        await upload(checked(tmp_path), target(emulator), places)

    assert caught.value.code == ExitCode.BAD_DATA
    assert posts(emulator) == 0


async def test_a_service_that_never_processes_the_file(
    emulator: Emulator, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "PROCESSING_SECONDS", 0.2)
    emulator.configure(pending_polls=100_000)

    with pytest.raises(Failure, match="did not process the file") as caught:
        await upload(checked(tmp_path), target(emulator), places)

    assert (caught.value.code, caught.value.reason) == (
        ExitCode.UNAVAILABLE,
        Reason.SERVICE_UNAVAILABLE,
    )


@pytest.mark.parametrize(
    ("status", "code", "headers", "want_code", "want_reason"),
    [
        pytest.param(400, "invalidPayload", {}, ExitCode.BAD_CONFIG, Reason.REQUEST_REFUSED,
                     id="400"),
        pytest.param(400, "jsonlValidationFailed", {}, ExitCode.BAD_DATA, Reason.DATA_INVALID,
                     id="400 about the rows"),
        pytest.param(401, "unauthorized", {}, ExitCode.BAD_CONFIG, Reason.AUTHENTICATION_FAILED,
                     id="401"),
        pytest.param(403, "forbidden", {}, ExitCode.BAD_CONFIG, Reason.PERMISSION_DENIED, id="403"),
        pytest.param(404, "notFound", {}, ExitCode.BAD_CONFIG, Reason.ENDPOINT_UNREACHABLE,
                     id="404"),
        pytest.param(413, "tooLarge", {}, ExitCode.BAD_CONFIG, Reason.REQUEST_REFUSED, id="413"),
        pytest.param(429, "tooManyRequests", SOON, ExitCode.UNAVAILABLE, Reason.RATE_LIMITED,
                     id="429"),
        pytest.param(429, "quotaExceeded", SOON, ExitCode.UNAVAILABLE, Reason.QUOTA_EXCEEDED,
                     id="429 for the quota of files"),
        pytest.param(500, "internalFailure", SOON, ExitCode.UNAVAILABLE,
                     Reason.SERVICE_UNAVAILABLE, id="500"),
        pytest.param(503, "serviceUnavailable", SOON, ExitCode.UNAVAILABLE,
                     Reason.SERVICE_UNAVAILABLE, id="503"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_service_refuses(
    emulator: Emulator,
    places: Places,
    tmp_path: Path,
    method: str,
    status: int,
    code: str,
    headers: dict[str, str],
    want_code: ExitCode,
    want_reason: Reason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uploading, "BUSY_SECONDS", 1.5)
    emulator.reply(status, method, "/files$", headers=headers, code=code, times=None)

    with pytest.raises(OperatorError) as caught:
        await upload(checked(tmp_path), target(emulator), places)

    ending = of_service(caught.value)
    assert (ending.code, ending.reason) == (want_code, want_reason)
    assert API_KEY not in ending.message


@pytest.mark.parametrize(
    ("status", "method", "path"),
    [
        pytest.param(429, "GET", "/files$", id="429 to the list of files"),
        pytest.param(503, "POST", "/files$", id="503 to the upload"),
        pytest.param(429, "GET", "/files/[^/]+$", id="429 while the file is processed"),
    ],
)
async def test_a_busy_service_is_asked_again_when_it_says(
    emulator: Emulator, places: Places, tmp_path: Path, status: int, method: str, path: str
) -> None:
    emulator.configure(pending_polls=1)
    emulator.reply(status, method, path, headers=SOON, code="tooManyRequests", times=4)

    got = await upload(checked(tmp_path), target(emulator), places)

    assert [file["id"] for file in emulator.files()] == [got.training]


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        pytest.param("tooManyRequests", {"retry-after": "61"}, id="longer than the pod waits"),
        pytest.param("tooManyRequests", {}, id="without a word on when"),
        pytest.param("quotaExceeded", SOON, id="no free place"),
    ],
)
async def test_what_is_no_use_waiting_for_is_told_at_once(
    emulator: Emulator, places: Places, tmp_path: Path, code: str, headers: dict[str, str]
) -> None:
    emulator.reply(429, "GET", "/files$", headers=headers, code=code, times=4)
    began = time.monotonic()

    with pytest.raises(OperatorError) as caught:
        await upload(checked(tmp_path), target(emulator), places)

    assert of_service(caught.value).code == ExitCode.UNAVAILABLE
    assert emulator.requests()["total"] <= 3
    assert time.monotonic() - began < 10


async def test_a_service_that_stays_busy_is_told_before_patience_ends(
    emulator: Emulator, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees the pod wait; neither must the client wait unseen."""
    monkeypatch.setattr(uploading, "BUSY_SECONDS", 3.0)
    emulator.reply(429, "GET", "/files$", headers={"retry-after": "2"}, code="x", times=None)
    began = time.monotonic()

    with pytest.raises(Transient, match=r"It is busy until \d\d:\d\d:\d\d UTC\.$") as caught:
        await upload(checked(tmp_path), target(emulator), places)

    assert caught.value.reason is Reason.RATE_LIMITED
    assert time.monotonic() - began < 5


async def test_no_redirect_is_followed_with_a_key(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    tls = make_server_certificate(tmp_path / "tls", "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(emulator.url + request.path_qs)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    elsewhere = UploadTarget(
        base_url=f"https://127.0.0.1:{runner.addresses[0][1]}/openai/v1/", token_scope=SCOPE
    )
    emulator.forget_requests()

    with pytest.raises(OperatorError) as caught:
        await upload(checked(tmp_path), elsewhere, Places(**{**vars(places), "azure_ca": tls.ca}))
    await runner.cleanup()

    ending = of_service(caught.value)
    assert (ending.code, ending.reason) == (ExitCode.BAD_CONFIG, Reason.ENDPOINT_NOT_ALLOWED)
    assert emulator.requests()["total"] == 0


async def test_an_endpoint_that_is_down(emulator: Emulator, places: Places, tmp_path: Path) -> None:
    nowhere = UploadTarget(base_url="https://127.0.0.1:1/openai/v1/", token_scope=SCOPE)

    with pytest.raises(OperatorError) as caught:
        await upload(checked(tmp_path), nowhere, places)

    ending = of_service(caught.value)
    assert (ending.code, ending.reason) == (ExitCode.UNAVAILABLE, Reason.ENDPOINT_UNREACHABLE)


async def test_an_endpoint_that_nobody_vouches_for(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    other = make_server_certificate(tmp_path / "other", "elsewhere.test")
    strangers = Places(**{**vars(places), "azure_ca": other.ca})

    with pytest.raises(OperatorError, match="certificate that is not trusted") as caught:
        await upload(checked(tmp_path), target(emulator), strangers)

    assert of_service(caught.value).code == ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no Secret is mounted"),
        pytest.param("  \n", id="an empty Secret"),
        pytest.param("ключ", id="a key in other letters"),
        pytest.param("two\nlines", id="a key of two lines"),
    ],
)
async def test_what_is_no_key_is_not_sent(
    emulator: Emulator, places: Places, tmp_path: Path, content: str | None
) -> None:
    emulator.forget_requests()
    places.api_key.unlink()
    if content is not None:
        places.api_key.write_text(content)

    with pytest.raises(OperatorError, match="holds no API key") as caught:
        await upload(checked(tmp_path), target(emulator), places)

    ending = of_service(caught.value)
    assert (ending.code, ending.reason) == (ExitCode.BAD_CONFIG, Reason.AUTHENTICATION_FAILED)
    assert emulator.requests()["total"] == 0


def assertion(key: rsa.RSAPrivateKey, subject: str = SUBJECT) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": subject,
        "aud": ["api://AzureADTokenExchange"],
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k1"})


async def test_a_workload_identity_uploads(
    emulator: Emulator, places: Places, cluster_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    places.azure_token.write_text(assertion(cluster_key))
    places.api_key.unlink()
    emulator.federate(tenant_id=TENANT, client_id=CLIENT, subject=SUBJECT)

    got = await upload(checked(tmp_path), federated(emulator), places)

    assert [file["id"] for file in emulator.files()] == [got.training]


@pytest.mark.parametrize(
    ("subject", "client_id"),
    [
        pytest.param("system:serviceaccount:team-b:trainer", CLIENT, id="another ServiceAccount"),
        pytest.param(SUBJECT, "33333333-3333-3333-3333-333333333333", id="another client"),
    ],
)
async def test_a_workload_identity_that_is_not_federated(
    emulator: Emulator,
    places: Places,
    cluster_key: rsa.RSAPrivateKey,
    tmp_path: Path,
    subject: str,
    client_id: str,
) -> None:
    token = assertion(cluster_key, subject)
    places.azure_token.write_text(token)
    emulator.federate(tenant_id=TENANT, client_id=CLIENT, subject=SUBJECT)

    with pytest.raises(OperatorError, match=f"Entra gives the identity {client_id} no token") as e:
        await upload(checked(tmp_path), federated(emulator, client_id), places)

    ending = of_service(e.value)
    assert (ending.code, ending.reason) == (ExitCode.BAD_CONFIG, Reason.AUTHENTICATION_FAILED)
    assert token not in ending.message


async def test_an_authority_that_is_down(
    emulator: Emulator, places: Places, cluster_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    places.azure_token.write_text(assertion(cluster_key))
    away = target(
        emulator, tenant_id=TENANT, client_id=CLIENT, authority_host="https://127.0.0.1:1"
    )

    with pytest.raises(OperatorError) as caught:
        await upload(checked(tmp_path), away, places)

    ending = of_service(caught.value)
    assert (ending.code, ending.reason) == (ExitCode.UNAVAILABLE, Reason.ENDPOINT_UNREACHABLE)
