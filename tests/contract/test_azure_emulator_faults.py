"""Each fault of the emulator does what its name says, and nothing when it is over."""

import asyncio
import ssl
import time
from collections.abc import Iterator

import aiohttp
import openai
import pytest
from aiohttp.test_utils import TestClient, TestServer

from azure_openai.app import build_app
from azure_openai.clock import ServiceClock
from azure_openai.context import Context
from azure_openai.faults import FaultBoard
from azure_openai.identity import Directory
from azure_openai.settings import Settings
from azure_openai.store import Store
from azure_openai.traffic import TrafficLog
from support.azure_account import MODEL, chat_rows, submit, upload, v1_client
from support.emulator import API_KEY, Emulator
from support.emulator_control import JOBS_PATH, ControlError

ROUTE = "POST /openai/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    options = ["--pending-polls=0"]
    with Emulator(tmp_path_factory.mktemp("azure"), speed=0, options=options) as emulator:
        yield emulator


@pytest.fixture
async def file_id(client: openai.AsyncOpenAI) -> str:
    return (await upload(client, chat_rows(10))).id


@pytest.mark.parametrize(
    ("moment", "want_jobs"),
    [
        pytest.param("before", 0, id="500 without having created the job"),
        pytest.param("after", 1, id="500 after having created the job"),
    ],
)
async def test_server_error(
    emulator: Emulator, client: openai.AsyncOpenAI, file_id: str, moment: str, want_jobs: int
) -> None:
    emulator.reply(500, "POST", JOBS_PATH, moment=moment)  # type: ignore[arg-type]
    with pytest.raises(openai.InternalServerError):
        await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert len(emulator.jobs()) == want_jobs
    await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert len(emulator.jobs()) == want_jobs + 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"retry-after-ms": "50"}, id="in milliseconds"),
        pytest.param({"retry-after": "600"}, id="in seconds"),
    ],
)
async def test_too_many_requests(
    emulator: Emulator, client: openai.AsyncOpenAI, headers: dict[str, str]
) -> None:
    emulator.reply(429, "GET", JOBS_PATH, headers=headers, code="tooManyRequests")
    with pytest.raises(openai.RateLimitError) as refused:
        await client.fine_tuning.jobs.list()
    assert refused.value.code == "tooManyRequests"
    assert headers.items() <= dict(refused.value.response.headers).items()
    assert (await client.fine_tuning.jobs.list()).data == []


@pytest.mark.parametrize(
    ("moment", "want_jobs"),
    [
        pytest.param("before", 0, id="before the effect"),
        pytest.param("after", 1, id="after the effect"),
    ],
)
async def test_a_cut_connection(
    emulator: Emulator, client: openai.AsyncOpenAI, file_id: str, moment: str, want_jobs: int
) -> None:
    emulator.cut("POST", JOBS_PATH, moment=moment)  # type: ignore[arg-type]
    with pytest.raises(openai.APIConnectionError):
        await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert len(emulator.jobs()) == want_jobs


async def test_a_client_that_retries_by_itself_submits_three_times(
    emulator: Emulator, file_id: str
) -> None:
    emulator.reply(
        500, "POST", JOBS_PATH, moment="after", headers={"retry-after-ms": "1"}, times=None
    )
    async with v1_client(emulator, max_retries=2) as careless:
        with pytest.raises(openai.InternalServerError):
            await careless.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert len(emulator.jobs()) == 3


async def test_a_late_answer(emulator: Emulator, client: openai.AsyncOpenAI, file_id: str) -> None:
    emulator.delay(0.4, "POST", JOBS_PATH)
    hasty = client.with_options(timeout=0.1)
    with pytest.raises(openai.APITimeoutError):
        await hasty.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert len(emulator.jobs()) == 1


async def test_only_the_nth_requests_are_met(
    emulator: Emulator, client: openai.AsyncOpenAI
) -> None:
    emulator.reply(503, "GET", JOBS_PATH, nth=2, times=2)
    seen = []
    for _ in range(5):
        try:
            await client.fine_tuning.jobs.list()
            seen.append(200)
        except openai.InternalServerError as error:
            seen.append(error.status_code)
    assert seen == [200, 503, 503, 200, 200]
    assert emulator.faults() == [
        {"name": "reply", "seen": 5, "met": 2, "holding": 0, "released": False}
    ]


class TestBarrier:
    async def test_holds_the_answer_until_released(
        self, emulator: Emulator, client: openai.AsyncOpenAI, file_id: str
    ) -> None:
        emulator.hold("POST", JOBS_PATH)
        creating = asyncio.create_task(
            client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        )
        await asyncio.to_thread(emulator.wait_until_held)
        assert len(emulator.jobs()) == 1
        assert not creating.done()
        emulator.release()
        assert (await creating).id == emulator.jobs()[0]["id"]

    async def test_holds_before_the_effect(
        self, emulator: Emulator, client: openai.AsyncOpenAI, file_id: str
    ) -> None:
        emulator.hold("POST", JOBS_PATH, moment="before")
        creating = asyncio.create_task(
            client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        )
        await asyncio.to_thread(emulator.wait_until_held)
        assert emulator.jobs() == []
        emulator.release()
        assert (await creating).id == emulator.jobs()[0]["id"]

    @pytest.mark.parametrize(
        ("drop", "want_jobs"),
        [
            pytest.param(False, 1, id="released: accepted late"),
            pytest.param(True, 0, id="dropped: never arrived"),
        ],
    )
    async def test_outlives_its_client(
        self,
        emulator: Emulator,
        client: openai.AsyncOpenAI,
        file_id: str,
        drop: bool,
        want_jobs: int,
    ) -> None:
        emulator.hold("POST", JOBS_PATH, moment="before")
        hasty = client.with_options(timeout=0.2)
        with pytest.raises(openai.APITimeoutError):
            await hasty.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        emulator.wait_until_held()
        emulator.release(drop=drop)
        deadline = time.monotonic() + 5
        while emulator.requests()["counts"].get(ROUTE) != 1:
            assert time.monotonic() < deadline
        assert len(emulator.jobs()) == want_jobs

    async def test_an_upload_outlives_its_client_too(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        emulator.hold("POST", "/files$", moment="before")
        hasty = client.with_options(timeout=0.2)
        with pytest.raises(openai.APITimeoutError):
            await upload(hasty, chat_rows(10))
        emulator.release()
        deadline = time.monotonic() + 5
        while not emulator.files():
            assert time.monotonic() < deadline
        assert emulator.files()[0]["bytes"] == len(chat_rows(10))

    async def test_several_have_names(
        self, emulator: Emulator, client: openai.AsyncOpenAI, file_id: str
    ) -> None:
        emulator.hold("GET", f"/files/{file_id}$", name="look at the file")
        emulator.hold("GET", JOBS_PATH, name="list")
        looking = asyncio.create_task(client.files.retrieve(file_id))
        await asyncio.to_thread(emulator.wait_until_held, "look at the file")
        with pytest.raises(ControlError, match="No request has come"):
            emulator.wait_until_held("list", timeout=0.05)
        emulator.clear_fault("look at the file")
        assert (await looking).id == file_id

    async def test_a_reset_lets_everybody_go(
        self, emulator: Emulator, client: openai.AsyncOpenAI
    ) -> None:
        emulator.hold("GET", "/ftjob-1$")
        listing = asyncio.create_task(client.fine_tuning.jobs.retrieve("ftjob-1"))
        await asyncio.to_thread(emulator.wait_until_held)
        emulator.reset()
        with pytest.raises(openai.APIConnectionError):
            await listing


async def test_a_new_job_is_missing_from_lists_for_a_while(
    emulator: Emulator, client: openai.AsyncOpenAI, file_id: str
) -> None:
    emulator.configure(list_lag_seconds=0.3)
    job = await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
    assert (await client.fine_tuning.jobs.list()).data == []
    assert (await client.fine_tuning.jobs.retrieve(job.id)).id == job.id
    assert [known["id"] for known in emulator.jobs()] == [job.id]
    deadline = time.monotonic() + 5
    while not (await client.fine_tuning.jobs.list()).data:
        assert time.monotonic() < deadline


async def test_an_unknown_status(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await submit(client)
    emulator.show_status(job.id, "quarantined")
    assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "quarantined"
    assert (await client.fine_tuning.jobs.list()).data[0].status == "quarantined"
    assert emulator.jobs()[0]["status"] == "pending"
    emulator.show_status(job.id, None)
    assert (await client.fine_tuning.jobs.retrieve(job.id)).status == "pending"


async def test_an_unknown_event_type(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await submit(client)
    emulator.add_event(job.id, "weather", "It rains.", {"scores": {"rain": 1}})
    event = (await client.fine_tuning.jobs.list_events(job.id)).data[0]
    assert (event.type, event.message, event.data) == (
        "weather",
        "It rains.",
        {"scores": {"rain": 1}},
    )


async def test_absent_keys(emulator: Emulator, client: openai.AsyncOpenAI) -> None:
    job = await submit(client, suffix="abc")
    emulator.configure(absent_keys=["suffix", "seed", "hyperparameters"])
    shown = (await client.fine_tuning.jobs.retrieve(job.id)).to_dict()
    assert not {"suffix", "seed", "hyperparameters"} & shown.keys()
    assert emulator.jobs()[0]["suffix"] == "abc"


async def test_requests_are_counted_by_route(
    emulator: Emulator, client: openai.AsyncOpenAI, file_id: str
) -> None:
    emulator.forget_requests()
    for _ in range(2):
        job = await client.fine_tuning.jobs.create(model=MODEL, training_file=file_id)
        await client.fine_tuning.jobs.retrieve(job.id)
    report = emulator.requests()
    assert report["counts"] == {
        "POST /openai/v1/fine_tuning/jobs": 2,
        "GET /openai/v1/fine_tuning/jobs/{job}": 2,
    }
    assert report["total"] == 4
    assert [line["status"] for line in report["log"]] == [200] * 4


async def test_a_thousand_jobs_are_paged_quickly(emulator: Emulator, file_id: str) -> None:
    url = f"{emulator.base_url}fine_tuning/jobs"
    tls = ssl.create_default_context(cafile=emulator.ca)
    body = {"model": MODEL, "training_file": file_id}
    async with aiohttp.ClientSession(
        headers={"api-key": API_KEY}, connector=aiohttp.TCPConnector(ssl=tls, limit=20)
    ) as http:

        async def create() -> None:
            async with http.post(url, json=body) as reply:
                assert reply.status == 200

        await asyncio.gather(*(create() for _ in range(1000)))
        started = time.monotonic()
        listed: list[str] = []
        more = True
        while more:
            after = {"after": listed[-1]} if listed else {}
            async with http.get(url, params={"limit": "100", **after}) as reply:
                page = await reply.json()
            listed += [job["id"] for job in page["data"]]
            more = page["has_more"]
    assert len(set(listed)) == 1000
    assert time.monotonic() - started < 2


async def test_an_unknown_setting_is_refused(emulator: Emulator) -> None:
    with pytest.raises(ControlError, match="bad_setting"):
        emulator.configure(bad_setting=1)


async def test_the_control_api_is_closed_unless_asked_for() -> None:
    context = Context(
        api_keys=frozenset(),
        clock=ServiceClock(1),
        settings=Settings(),
        store=Store(),
        faults=FaultBoard(),
        traffic=TrafficLog(),
        directory=Directory(issuer=None, keys=None, federations=[], token_seconds=1),
    )
    app = build_app(context, controlled=False)
    async with TestClient(TestServer(app)) as http:
        assert (await http.get("/_health")).status == 200
        assert (await http.get("/_control/state")).status == 404
