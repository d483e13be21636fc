"""A create is sent once, or known not to have been sent, or looked for: never guessed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.core.azure_errors import Fenced
from finetune_operator.core.errors import Ambiguous, OperatorError, Terminal, Transient
from support.azure_account import submit, v1_client
from support.emulator import Emulator
from support.emulator_control import JOBS_PATH
from support.hosted_backend import CREATE_TIMEOUT, Hosted

pytestmark = pytest.mark.integration


SUFFIX = "gsm8k-0123456789"


async def test_a_job_is_created_as_asked(hosted: Hosted) -> None:
    created = await hosted.create(
        SUFFIX,
        spec__seed=105,
        spec__azureOpenAI__trainingType="Developer",
        spec__hyperparameters={"epochs": 2, "batchSize": 4, "learningRateMultiplier": "1.5"},
    )
    [at_service] = hosted.emulator.jobs()
    assert created.id == at_service["id"]
    assert (created.suffix, created.seed, created.raw_status) == (SUFFIX, 105, "pending")
    assert at_service["trainingType"] == "developerTier"
    assert created.hyperparameters == {
        "n_epochs": "2",
        "batch_size": "4",
        "learning_rate_multiplier": "1.5",
    }
    assert hosted.requests == {("create", "200"): 1}


@pytest.mark.parametrize(
    ("fault", "options", "want_error", "want_jobs"),
    [
        pytest.param("cut", {"moment": "after"}, Ambiguous, 1, id="cut off after it was done"),
        pytest.param("cut", {"moment": "before"}, Ambiguous, 0, id="cut off before"),
        pytest.param("delay", {"seconds": 3}, Ambiguous, 1, id="timed out after it was done"),
        pytest.param("reply", {"status": 500, "moment": "after"}, Ambiguous, 1, id="500, done"),
        pytest.param("reply", {"status": 503}, Ambiguous, 0, id="503, not done"),
        pytest.param("reply", {"status": 409}, Ambiguous, 0, id="409"),
        pytest.param("reply", {"status": 429}, Transient, 0, id="429"),
        pytest.param("reply", {"status": 403}, Transient, 0, id="403"),
        pytest.param("reply", {"status": 400}, Terminal, 0, id="400"),
    ],
)
async def test_a_create_is_sent_once_whatever_comes_back(
    hosted: Hosted,
    fault: str,
    options: dict[str, Any],
    want_error: type[OperatorError],
    want_jobs: int,
) -> None:
    inject = {
        "cut": hosted.emulator.cut,
        "delay": hosted.emulator.delay,
        "reply": hosted.emulator.reply,
    }[fault]
    inject(method="POST", path=JOBS_PATH, name="fault", **options)
    with pytest.raises(want_error) as caught:
        await hosted.create(SUFFIX)
    assert type(caught.value) is want_error
    assert len(hosted.emulator.jobs()) == want_jobs
    [met] = hosted.emulator.faults()
    assert met["seen"] == 1


async def test_an_accepted_create_without_an_answer_is_found(hosted: Hosted) -> None:
    hosted.emulator.cut("POST", JOBS_PATH)
    with pytest.raises(Ambiguous):
        await hosted.create(SUFFIX)
    started = datetime.now(UTC)
    [found] = await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=started)
    assert found.id == hosted.emulator.jobs()[0]["id"]


async def test_throttling_is_waited_out_as_long_as_the_service_asks(hosted: Hosted) -> None:
    hosted.emulator.reply(429, "POST", JOBS_PATH, headers={"retry-after": "600"})
    with pytest.raises(Transient) as caught:
        await hosted.create(SUFFIX)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.RATE_LIMITED, 600)


async def test_a_new_job_is_found_when_the_list_shows_it(hosted: Hosted) -> None:
    hosted.emulator.configure(list_lag_seconds=0.5)
    created = await hosted.create(SUFFIX)
    started = datetime.now(UTC)
    assert await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=started) == ()
    async with asyncio.timeout(10):
        while not (
            found := await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=started)
        ):
            await asyncio.sleep(0.05)
    assert [job.id for job in found] == [created.id]


async def test_only_jobs_of_this_submission_are_found_oldest_first(hosted: Hosted) -> None:
    async with v1_client(hosted.emulator) as client:
        first = await submit(client, rows=12, validate=False, suffix=SUFFIX)
        await submit(client, rows=12, validate=False, suffix="gsm8k-9876543210")
        await submit(client, rows=12, validate=False)
        hosted.emulator.advance(2)
        second = await submit(client, rows=12, validate=False, suffix=SUFFIX)
    started = datetime.fromtimestamp(first.created_at, UTC)
    found = await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=started)
    assert [job.id for job in found] == [first.id, second.id]


@pytest.mark.parametrize(
    ("suffix", "later"),
    [
        pytest.param(SUFFIX, timedelta(minutes=11), id="our clock is 11 minutes ahead"),
        pytest.param(SUFFIX, timedelta(hours=2), id="our clock is hours ahead"),
        pytest.param("GSM8K-0123456789ABCDEF", timedelta(0), id="kept in another case"),
    ],
)
async def test_neither_clocks_nor_spelling_hide_a_job_that_exists(
    hosted: Hosted, suffix: str, later: timedelta
) -> None:
    created = await hosted.create(suffix)
    [found] = await hosted.backend.find(
        hosted.job(), suffix=suffix.lower(), started_at=created.created_at + later
    )
    assert found.id == created.id


async def test_the_search_goes_back_no_further_than_the_submission(hosted: Hosted) -> None:
    async with v1_client(hosted.emulator) as client:
        old = await submit(client, rows=12, validate=False)
        jobs = client.fine_tuning.jobs
        copies = [jobs.create(model=old.model, training_file=old.training_file) for _ in range(120)]
        await asyncio.gather(*copies)
    created = datetime.fromtimestamp(old.created_at, UTC)
    started = created + timedelta(hours=2)
    assert await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=started) == ()
    assert hosted.requests == {("list", "200"): 1}
    assert await hosted.backend.find(hosted.job(), suffix=SUFFIX, started_at=created) == ()
    assert hosted.requests == {("list", "200"): 3}


# The fence


class Gateway:
    """A TCP relay before the emulator that lets a client wait for its TLS handshake."""

    def __init__(self, emulator: Emulator) -> None:
        self._port = int(emulator.url.rsplit(":", 1)[1])
        self.connected = asyncio.Event()
        self.open = asyncio.Event()
        self._closed = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        async with server:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.open.set()
            await asyncio.wait_for(self._closed.wait(), timeout=5)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        await self.open.wait()
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
        self._closed.set()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("lease", "want_jobs"),
    [
        pytest.param(CREATE_TIMEOUT + 5, 1, id="the lease lasts: sent"),
        pytest.param(CREATE_TIMEOUT, 0, id="shorter than the request may take: not sent"),
        pytest.param(-20.0, 0, id="lost long ago: not sent"),
    ],
)
async def test_the_lease_is_looked_at_when_the_body_goes_out(
    emulator: Emulator, lease: float, want_jobs: int
) -> None:
    emulator.reset()
    gateway = Gateway(emulator)
    async with gateway.listening() as url, Hosted(emulator, endpoint=url) as hosted:
        create = asyncio.create_task(hosted.create(SUFFIX))
        await gateway.connected.wait()
        hosted.lease = lease
        gateway.open.set()
        [outcome] = await asyncio.gather(create, return_exceptions=True)
    assert len(emulator.jobs()) == want_jobs
    assert isinstance(outcome, Fenced) is (want_jobs == 0)


async def test_without_a_lease_nothing_is_even_connected(hosted: Hosted) -> None:
    hosted.lease = CREATE_TIMEOUT / 2
    with pytest.raises(Fenced):
        await hosted.create(SUFFIX)
    assert hosted.requests == {}
    assert hosted.emulator.jobs() == []


async def test_a_connection_that_does_not_come_about_ends_the_create_in_time(
    emulator: Emulator,
) -> None:
    emulator.reset()
    gateway = Gateway(emulator)
    async with gateway.listening() as url, Hosted(emulator, endpoint=url) as hosted:
        started = asyncio.get_running_loop().time()
        with pytest.raises(Transient) as caught:
            await hosted.create(SUFFIX)
        took = asyncio.get_running_loop().time() - started
    assert caught.value.reason is Reason.ENDPOINT_UNREACHABLE
    assert took < CREATE_TIMEOUT + 1
    assert emulator.jobs() == []
