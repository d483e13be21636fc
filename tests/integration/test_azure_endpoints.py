"""Endpoints, credentials and answers of a service that are not right."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import SECRETS
from finetune_operator.core.errors import Ambiguous, OperatorError, Terminal, Transient
from support.certificates import make_server_certificate
from support.emulator import Emulator
from support.hosted import SECRET, SECRET_KEY
from support.hosted_backend import Hosted

pytestmark = pytest.mark.integration

SUFFIX = "gsm8k-0123456789"

# Endpoints and credentials that are not right


async def test_nobody_listens(emulator: Emulator) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
        async with Hosted(emulator, endpoint=url) as hosted:
            with pytest.raises(Transient) as caught:
                await hosted.create(SUFFIX)
    assert caught.value.reason is Reason.ENDPOINT_UNREACHABLE
    assert not caught.value.waits_for_user


async def test_a_certificate_that_is_not_trusted(emulator: Emulator) -> None:
    async with Hosted(emulator, ca_file=None) as hosted:
        with pytest.raises(Transient, match="certificate that is not trusted") as caught:
            await hosted.create(SUFFIX)
    assert caught.value.waits_for_user


async def test_a_host_without_an_address(emulator: Emulator) -> None:
    async with Hosted(emulator, endpoint="https://nowhere.invalid") as hosted:
        with pytest.raises(Transient, match=r"nowhere\.invalid has no address"):
            await hosted.create(SUFFIX)


async def test_an_endpoint_that_is_not_allowed_gets_no_request(emulator: Emulator) -> None:
    emulator.reset()
    async with Hosted(emulator, allowed_endpoints=()) as hosted:
        with pytest.raises(Transient) as caught:
            await hosted.create(SUFFIX)
        assert caught.value.reason is Reason.ENDPOINT_NOT_ALLOWED
        assert hosted.requests == {}
        assert hosted.namespace.requests == 0


async def test_a_wrong_key_is_named_and_its_replacement_is_taken_up_at_once(
    hosted: Hosted,
) -> None:
    right = hosted.namespace.secrets[SECRET][SECRET_KEY]
    hosted.namespace.secrets[SECRET][SECRET_KEY] = "wrong"
    with pytest.raises(Transient) as caught:
        await hosted.create(SUFFIX)
    assert caught.value.reason is Reason.AUTHENTICATION_FAILED
    assert caught.value.waits_for_user
    assert "Secret `azure` (key `api-key`)" in caught.value.message
    hosted.namespace.secrets[SECRET][SECRET_KEY] = right
    assert (await hosted.create(SUFFIX)).raw_status == "pending"


async def test_a_secret_that_may_not_be_read_is_told_before_anything_is_begun(
    hosted: Hosted,
) -> None:
    hosted.namespace.denies.add(SECRETS)
    with pytest.raises(Transient) as caught:
        await hosted.backend.authenticate(hosted.job())
    assert caught.value.reason is Reason.SECRET_ACCESS_DENIED
    hosted.namespace.denies.clear()
    await hosted.backend.authenticate(hosted.job())
    assert hosted.requests == {}, "nothing is asked of the service"


async def test_an_unknown_model_is_the_end(hosted: Hosted) -> None:
    with pytest.raises(Terminal) as caught:
        await hosted.create(SUFFIX, spec__model__name="gpt-9-nano")
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert "gpt-9-nano" in caught.value.message


# A service that misbehaves more than the emulator does


class OddService:
    """Answers every POST in one way, and remembers which paths were asked."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self.asked: list[str] = []

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[tuple[str, Path]]:
        files = make_server_certificate(folder, "127.0.0.1")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(files.certificate, files.key)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        try:
            yield f"https://127.0.0.1:{runner.addresses[0][1]}", files.ca
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.Response(**self._response)


@pytest.mark.parametrize(
    ("response", "want_error", "want_reason"),
    [
        pytest.param(
            {"status": 307, "headers": {"Location": "/elsewhere"}},
            Terminal,
            Reason.ENDPOINT_NOT_ALLOWED,
            id="redirect: the key is not sent on",
        ),
        pytest.param(
            {"status": 200, "text": "<html>ok</html>"},
            Ambiguous,
            Reason.CONFIRMING_SUBMISSION,
            id="success in HTML",
        ),
        pytest.param(
            {"status": 200, "text": '{"object": "fine_tuning.job"}'},
            Ambiguous,
            Reason.CONFIRMING_SUBMISSION,
            id="success without an id",
        ),
        pytest.param(
            {"status": 502, "text": "<html>Bad gateway</html>"},
            Ambiguous,
            Reason.CONFIRMING_SUBMISSION,
            id="a gateway's page",
        ),
    ],
)
async def test_odd_answers(
    emulator: Emulator,
    tmp_path: Path,
    response: dict[str, Any],
    want_error: type[OperatorError],
    want_reason: Reason,
) -> None:
    odd = OddService(response)
    async with (
        odd.listening(tmp_path) as (url, ca),
        Hosted(emulator, endpoint=url, ca_file=str(ca)) as hosted,
    ):
        with pytest.raises(want_error) as caught:
            await hosted.create(SUFFIX)
    assert caught.value.reason is want_reason
    assert "html" not in caught.value.message
    assert odd.asked == ["/openai/v1/fine_tuning/jobs"]
