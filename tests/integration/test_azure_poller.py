"""One list per interval for all active jobs, and nothing at all for those that are over."""

import asyncio
from collections import Counter

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_operator.core.errors import Declined, Transient
from finetune_operator.core.observed import RemoteDetails
from support.azure_account import submit, v1_client
from support.builders_api import condition
from support.emulator import Emulator
from support.emulator_control import JOBS_PATH
from support.hosted import SECRET, SECRET_KEY
from support.hosted_backend import POLL_SECONDS, Hosted, key_of, status_is, until

pytestmark = pytest.mark.integration

FAST = 2000
FOREVER = 1_000_000


async def waiting_jobs(hosted: Hosted, count: int) -> list[FineTuneJob]:
    """FineTuneJobs whose hosted jobs stay in the queue."""
    hosted.emulator.configure(queue_seconds=FOREVER)
    async with v1_client(hosted.emulator) as client:
        first = await submit(client, rows=12, validate=False)
        rest = [
            client.fine_tuning.jobs.create(model=first.model, training_file=first.training_file)
            for _ in range(count - 1)
        ]
        ids = [first.id, *(job.id for job in await asyncio.gather(*rest))]
    return [hosted.submitted(job_id, f"job-{number}") for number, job_id in enumerate(ids)]


async def polls(hosted: Hosted, count: int) -> None:
    """Wait for this many more lists."""
    before = hosted.requests.copy()

    def lists(requests: Counter[tuple[str, str]]) -> int:
        return sum(n for (operation, _), n in requests.items() if operation == "list")

    await until(lambda: lists(hosted.requests) >= lists(before) + count)


async def test_a_job_is_followed_to_its_end_and_then_costs_nothing(hosted: Hosted) -> None:
    hosted.emulator.configure(silent_seconds=300)
    hosted.emulator.run_at(FAST / 20)
    async with v1_client(hosted.emulator) as client:
        created = await submit(client, suffix="followed")
    job = hosted.submitted(created.id)
    assert hosted.observe(job) is None

    remote = await hosted.observe_until(job, lambda remote: remote.details.step is not None)
    assert remote.job is not None
    assert remote.job.raw_status == "running"
    assert remote.job.hyperparameters["batch_size"] == "4"

    hosted.emulator.run_at(FAST)
    remote = await hosted.observe_until(job, status_is("succeeded"))
    assert remote.job is not None
    assert str(remote.job.fine_tuned_model).endswith("-followed")
    assert remote.job.trained_tokens
    assert remote.details.billed_tokens is not None
    assert remote.details.step == 20
    assert [c.step for c in remote.details.checkpoints] == [20, 10]
    assert remote.details.checkpoints[0].name == remote.job.fine_tuned_model
    assert hosted.woken[key_of(job)] >= 3

    hosted.emulator.forget_requests()
    await asyncio.sleep(5 * POLL_SECONDS)
    assert hosted.observe(job) == remote
    assert hosted.emulator.requests()["total"] == 0


async def test_many_waiting_jobs_cost_one_request_per_interval(hosted: Hosted) -> None:
    jobs = await waiting_jobs(hosted, 60)
    for job in jobs:
        hosted.observe(job)
    await until(lambda: all(hosted.observe(job) for job in jobs))
    await polls(hosted, 4)
    assert set(hosted.requests) == {("list", "200")}
    assert hosted.woken == {key_of(job): 1 for job in jobs}


async def test_a_poll_reads_no_further_than_it_must(hosted: Hosted) -> None:
    jobs = await waiting_jobs(hosted, 130)
    for job in jobs[-5:]:  # the newest
        hosted.observe(job)
    await polls(hosted, 2)
    assert hosted.requests == {("list", "200"): 2}


async def test_nothing_is_asked_before_there_is_a_job(hosted: Hosted) -> None:
    assert hosted.observe(hosted.job()) is None
    await asyncio.sleep(2 * POLL_SECONDS)
    assert hosted.requests == {}


@pytest.mark.parametrize("how", ["finished", "forgotten", "without an id"])
async def test_who_is_no_longer_waited_for_is_no_longer_asked_for(hosted: Hosted, how: str) -> None:
    [job] = await waiting_jobs(hosted, 1)
    await hosted.observe_until(job, status_is("pending"))
    if how == "finished":
        done = [condition("Succeeded", "False", "Cancelled")]
        job_id = job.status.azure_open_ai.job_id
        assert hosted.observe(hosted.submitted(job_id, "job-0", status__conditions=done)) is None
    elif how == "forgotten":
        hosted.backend.forget(key_of(job))
    else:
        assert hosted.observe(hosted.job("job-0")) is None
    hosted.requests.clear()
    await asyncio.sleep(3 * POLL_SECONDS)
    assert hosted.requests == {}


async def test_a_job_that_the_list_does_not_show_yet_is_asked_for_by_name(hosted: Hosted) -> None:
    hosted.emulator.configure(list_lag_seconds=30)
    [job] = await waiting_jobs(hosted, 1)
    await hosted.observe_until(job, status_is("pending"))
    assert hosted.requests[("get", "200")] >= 1


async def test_a_job_that_the_account_does_not_know(hosted: Hosted) -> None:
    job = hosted.submitted("ftjob-of-another-account")
    remote = await hosted.observe_until(job, lambda remote: remote.job is None)
    assert remote.details == RemoteDetails()
    assert hosted.backend.error(key_of(job)) is None


async def test_a_job_of_the_same_suffix_is_a_twin_until_it_is_over(hosted: Hosted) -> None:
    hosted.emulator.configure(queue_seconds=FOREVER)
    ours = await hosted.create("gsm8k-0123456789")
    job = hosted.submitted(ours.id)
    remote = await hosted.observe_until(job, status_is("pending"))
    assert remote.twins == ()

    twin = await hosted.create("gsm8k-0123456789")
    await hosted.create("gsm8k-9876543210")
    await hosted.observe_until(job, lambda remote: [t.id for t in remote.twins] == [twin.id])
    # As its submission's own job, each is the other's twin only while nobody follows it.
    other = hosted.submitted(twin.id, "other")
    hosted.observe(other)
    await hosted.observe_until(job, lambda remote: remote.twins == ())
    hosted.backend.forget(key_of(other))

    await hosted.observe_until(job, lambda remote: [t.id for t in remote.twins] == [twin.id])
    await hosted.backend.cancel(job, twin.id)
    await hosted.observe_until(job, lambda remote: remote.twins == ())


async def test_an_unknown_status_is_shown_and_watched_on(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    hosted.emulator.show_status(job_id, "quarantined")
    await hosted.observe_until(job, status_is("quarantined"))
    hosted.emulator.show_status(job_id, None)
    await hosted.observe_until(job, status_is("pending"))


async def test_throttling_keeps_the_last_snapshot_and_is_honoured(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    known = await hosted.observe_until(job, status_is("pending"))
    hosted.emulator.reply(429, "GET", JOBS_PATH, headers={"retry-after-ms": "2500"})
    await until(lambda: hosted.backend.error(key_of(job)) is not None)
    error = hosted.backend.error(key_of(job))
    assert isinstance(error, Transient)
    assert (error.reason, error.retry_after) == (Reason.RATE_LIMITED, 2.5)
    assert hosted.observe(job) == known
    asked = hosted.requests.total()
    await asyncio.sleep(5 * POLL_SECONDS)
    assert hosted.requests.total() == asked
    await until(lambda: hosted.backend.error(key_of(job)) is None)
    assert hosted.woken[key_of(job)] == 3  # seen, throttled, well again


async def test_one_job_that_cannot_be_read_is_its_own_trouble(hosted: Hosted) -> None:
    hosted.emulator.configure(list_lag_seconds=FOREVER)
    broken, *others = await waiting_jobs(hosted, 3)
    broken_id = broken.status.azure_open_ai.job_id
    hosted.emulator.reply(500, "GET", f"{broken_id}$", name="broken", times=None)
    for job in (broken, *others):
        hosted.observe(job)
    await until(lambda: hosted.backend.error(key_of(broken)) is not None)
    error = hosted.backend.error(key_of(broken))
    assert error is not None
    assert error.reason is Reason.SERVICE_UNAVAILABLE
    for job in others:
        await hosted.observe_until(job, status_is("pending"))
        assert hosted.backend.error(key_of(job)) is None
    assert hosted.observe(broken) is None
    hosted.emulator.clear_fault("broken")
    await hosted.observe_until(broken, status_is("pending"))
    assert hosted.backend.error(key_of(broken)) is None


@pytest.mark.parametrize(
    ("status", "want"),
    [
        pytest.param(401, Reason.AUTHENTICATION_FAILED, id="the key"),
        pytest.param(429, Reason.RATE_LIMITED, id="the rate"),
        pytest.param(503, Reason.SERVICE_UNAVAILABLE, id="the service"),
    ],
)
async def test_a_list_that_cannot_be_read_is_the_trouble_of_all(
    hosted: Hosted, status: int, want: Reason
) -> None:
    jobs = await waiting_jobs(hosted, 2)
    hosted.emulator.reply(status, "GET", JOBS_PATH, times=None)
    for job in jobs:
        hosted.observe(job)
    await until(lambda: all(hosted.backend.error(key_of(job)) for job in jobs))
    for job in jobs:
        error = hosted.backend.error(key_of(job))
        assert error is not None
        assert error.reason is want


async def test_a_key_that_stops_working_is_told_until_it_works_again(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    await hosted.observe_until(job, status_is("pending"))
    hosted.emulator.reply(401, "GET", JOBS_PATH)
    await until(lambda: hosted.backend.error(key_of(job)) is not None)
    error = hosted.backend.error(key_of(job))
    assert error is not None
    assert error.reason is Reason.AUTHENTICATION_FAILED
    await until(lambda: hosted.backend.error(key_of(job)) is None)
    assert hosted.namespace.requests == 2, "the Secret was read anew"


async def test_a_missing_secret_is_an_error_of_the_poll(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    del hosted.namespace.secrets[SECRET][SECRET_KEY]
    hosted.observe(job)
    await until(lambda: hosted.backend.error(key_of(job)) is not None)
    error = hosted.backend.error(key_of(job))
    assert error is not None
    assert error.reason is Reason.SECRET_NOT_FOUND
    assert hosted.requests == {("list", "unsent"): 1}


async def test_an_endpoint_that_is_no_longer_allowed(emulator: Emulator) -> None:
    emulator.reset()
    async with Hosted(emulator, allowed_endpoints=()) as hosted:
        job = hosted.submitted("ftjob-1")
        assert hosted.observe(job) is None
        error = hosted.backend.error(key_of(job))
        assert error is not None
        assert error.reason is Reason.ENDPOINT_NOT_ALLOWED
        hosted.backend.forget(key_of(job))
        assert hosted.backend.error(key_of(job)) is None


async def test_the_end_waits_for_the_last_events_but_not_for_ever(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    await hosted.observe_until(job, status_is("pending"))
    hosted.emulator.reply(500, "GET", "/events$", name="events", times=None)
    hosted.emulator.fail_job(job_id, "The account burns", code="internalFailure")
    remote = await hosted.observe_until(job, status_is("failed"))
    assert remote.job is not None
    assert remote.job.error_message == "The account burns"
    assert hosted.requests[("events", "500")] == 3


async def test_progress_goes_on_while_one_jobs_events_cannot_be_read(hosted: Hosted) -> None:
    hosted.emulator.configure(queue_seconds=0, step_seconds=1, silent_seconds=FOREVER)
    hosted.emulator.run_at(20)
    async with v1_client(hosted.emulator) as client:
        broken, fine = [await submit(client, validate=False) for _ in range(2)]
    hosted.emulator.reply(500, "GET", f"{broken.id}/events$", times=None)
    hosted.observe(hosted.submitted(broken.id, "broken"))
    job = hosted.submitted(fine.id, "fine")
    remote = await hosted.observe_until(job, lambda remote: remote.details.step == 20)
    assert remote.details.figures.train_loss is not None
    assert hosted.requests[("events", "500")] > 0


# Changes ordered by the reconciler


async def test_what_was_just_created_needs_no_poll_to_be_seen(hosted: Hosted) -> None:
    created = await hosted.create()
    remote = hosted.observe(hosted.submitted(created.id))
    assert remote is not None
    assert remote.job == created


async def test_a_cancelled_job_is_seen_at_once_with_its_last_words(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    await hosted.observe_until(job, status_is("pending"))
    cancelled = await hosted.backend.cancel(job, job_id)
    assert cancelled.raw_status == "cancelled"
    remote = hosted.observe(job)
    assert remote is not None
    assert remote.job == cancelled
    assert hosted.requests[("events", "200")] == 1
    asked = hosted.requests.total()
    again = await hosted.backend.cancel(job, job_id)
    assert again == cancelled, "what is over stays as it is"
    assert hosted.requests[("cancel", "409")] == 1
    await asyncio.sleep(3 * POLL_SECONDS)
    assert hosted.requests.total() - asked <= 4, "and is not polled"


async def test_a_poll_under_way_does_not_undo_what_was_just_learned(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    await hosted.observe_until(job, status_is("pending"))
    hosted.emulator.hold("GET", JOBS_PATH)
    await asyncio.to_thread(hosted.emulator.wait_until_held)
    hosted.emulator.show_status(job_id, "pausing")
    newer = await hosted.backend.refresh(job, job_id)
    hosted.emulator.show_status(job_id, None)
    lists = hosted.requests[("list", "200")]
    hosted.emulator.release()
    await until(lambda: hosted.requests[("list", "200")] > lists)
    assert hosted.observe(job) == newer
    await hosted.observe_until(job, status_is("pending"))


async def test_pause_and_resume(hosted: Hosted) -> None:
    hosted.emulator.configure(queue_seconds=0, step_seconds=10, pausing_seconds=0)
    async with v1_client(hosted.emulator) as client:
        created = await submit(client, validate=False)
    job = hosted.submitted(created.id)
    with pytest.raises(Declined, match=r"does not pause hosted job .*, which is running"):
        await hosted.backend.pause(job, created.id)
    hosted.emulator.advance(15)
    paused = await hosted.backend.pause(job, created.id)
    assert paused.raw_status in ("pausing", "paused")
    await hosted.observe_until(job, status_is("paused"))
    again = await hosted.backend.pause(job, created.id)
    assert again.raw_status == "paused", "what rests already stays as it is"
    resumed = await hosted.backend.resume(job, created.id)
    assert resumed.raw_status in ("resuming", "running")


@pytest.mark.parametrize("status", [400, 409])
async def test_a_cancellation_that_is_refused_is_said(hosted: Hosted, status: int) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    hosted.emulator.reply(status, "POST", "/cancel$")
    with pytest.raises(Declined, match=r"does not cancel .*, which is pending") as caught:
        await hosted.backend.cancel(job, job_id)
    assert caught.value.waits_for_user
    assert (await hosted.backend.cancel(job, job_id)).raw_status == "cancelled"


async def test_a_change_to_a_job_that_is_not_there(hosted: Hosted) -> None:
    with pytest.raises(Transient) as caught:
        await hosted.backend.cancel(hosted.job(), "ftjob-gone")
    assert caught.value.reason is Reason.REMOTE_JOB_NOT_FOUND


async def test_a_look_on_request(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    remote = await hosted.backend.refresh(job, job_id)
    assert remote.job is not None
    assert remote.job.raw_status == "pending"
    assert hosted.requests[("events", "200")] == 1
    assert hosted.observe(job) == remote
    gone = await hosted.backend.refresh(job, "ftjob-gone")
    assert gone.job is None


async def test_credentials_may_be_changed_for_the_next_attempt(hosted: Hosted) -> None:
    [job] = await waiting_jobs(hosted, 1)
    job_id = job.status.azure_open_ai.job_id
    hosted.namespace.secrets["new"] = {SECRET_KEY: hosted.namespace.secrets[SECRET][SECRET_KEY]}
    hosted.namespace.secrets[SECRET][SECRET_KEY] = "revoked"
    hosted.observe(job)
    await until(lambda: hosted.backend.error(key_of(job)) is not None)
    changed = hosted.submitted(
        job_id, "job-0", spec__azureOpenAI__auth__apiKeySecretRef__name="new"
    )
    assert hosted.observe(changed) is None
    await hosted.observe_until(changed, status_is("pending"))
    assert hosted.backend.error(key_of(changed)) is None
