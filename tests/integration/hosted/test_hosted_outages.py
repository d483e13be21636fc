"""What the service and the API server may do to a running job: survived, and paid for once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.emulator_control import JOBS_PATH
from support.hosted_site import SLOW, SPEED, Outcomes, Scenario, Site, condition
from support.operator_process import LIST_LAG_S
from support.waiting import wait_for

pytestmark = pytest.mark.integration

MANY = 60
_POLL_S = 1.0


def an_unknown_status(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        [remote] = site.remote("orca")
        site.emulator.show_status(remote["id"], "quarantined")
        site.emulator.add_event(remote["id"], "quarantine.begun", "In quarantine.", {"why": [1]})
        status = site.wait_for_reason("orca", "UnknownRemoteStatus")
        assert status["azureOpenAI"]["rawStatus"] == "quarantined"
        assert "quarantined" in condition(status, "Ready")["message"]
        assert condition(status, "Reconciling")["status"] == "True"
        site.emulator.show_status(remote["id"], None)
        site.emulator.run_at(SPEED)
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


def absent_keys(site: Site) -> None:
    """The service leaves out what it does not know yet, and forgets to put it in later."""
    absent = ["suffix", "seed", "hyperparameters", "estimated_finish", "trained_tokens", "method"]
    site.emulator.configure(absent_keys=absent)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        status = site.wait_for_phase("orca", "Succeeded")
    assert status["result"]["model"] == site.emulator.jobs()[0]["fine_tuned_model"]
    assert "trainedTokens" not in status["azureOpenAI"]


def a_lost_answer_and_a_job_without_its_suffix(site: Site) -> None:
    """Nobody can tell whose it is, so nothing is sent again until somebody has decided."""
    site.emulator.run_at(SLOW)
    site.emulator.configure(absent_keys=["suffix"])
    site.emulator.cut("POST", JOBS_PATH, moment="after")
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        status = site.wait(
            "orca", "is in doubt", lambda status: "without a suffix" in status.get("message", "")
        )
        [remote] = site.remote("orca")
        assert remote["id"] in status["message"]
        assert condition(status, "Ready")["reason"] == "ConfirmingSubmission"
        time.sleep(3 * LIST_LAG_S)
        assert len(site.remote("orca")) == 1
        site.cancel_behind_our_back(remote)
        site.emulator.run_at(SPEED)
        site.wait_for_phase("orca", "Succeeded")
    assert sorted(job["status"] for job in site.remote("orca")) == ["cancelled", "succeeded"]


def a_failure_of_which_only_an_event_says_why(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        [remote] = site.remote("orca")
        why = "The training file is of another tenant."
        site.emulator.add_event(remote["id"], "failed", why, {}, level="error")
        site.emulator.show_status(remote["id"], "failed")
        status = site.wait_for_phase("orca", "Failed")
    assert why in status["message"]


def _polls_fail(spoil: Callable[[Site], None], reason: str) -> Scenario:
    """Polls fail until the condition says so, then work again."""

    def scenario(site: Site) -> None:
        site.emulator.run_at(SLOW)
        with site.lone_operator().wait_until_leading():
            site.submit("orca")
            site.wait_for_phase("orca", "Queued")
            spoil(site)
            status = site.wait_for_reason("orca", reason)
            assert condition(status, "Stalled")["status"] is None
            site.emulator.clear_fault("spoiled")
            site.emulator.run_at(SPEED)
            site.wait_for_phase("orca", "Succeeded")
        assert len(site.remote("orca")) == 1

    return scenario


def _answering(status: int) -> Callable[[Site], None]:
    return lambda site: site.emulator.reply(
        status, "GET", JOBS_PATH, times=None, headers={"retry-after": "1"}, name="spoiled"
    )


def _cutting(site: Site) -> None:
    site.emulator.cut("GET", JOBS_PATH, times=None, name="spoiled")


too_many_requests = _polls_fail(_answering(429), "RateLimited")
a_failing_service = _polls_fail(_answering(500), "ServiceUnavailable")
a_cut_connection = _polls_fail(_cutting, "ServiceUnavailable")


def many_jobs_share_their_polls(site: Site) -> None:
    site.emulator.run_at(SLOW)
    names = [f"job-{number}" for number in range(MANY)]
    with site.lone_operator(azure_poll_seconds=_POLL_S).wait_until_leading():
        # Prepare pods that look for the file in the same moment would each upload it.
        site.submit(names[0])
        site.wait_for_phase(names[0], "Queued")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(site.submit, names[1:]))
        for name in names:
            site.wait_for_phase(name, "Queued")
        assert len(site.training_files()) == 1
        site.emulator.forget_requests()
        wait_for(lambda: site.emulator.requests()["seconds"] > 5 * _POLL_S, "5 polls")
        seen = site.emulator.requests()
        assert set(seen["counts"]) == {"GET /openai/v1/fine_tuning/jobs"}, seen["counts"]
        assert seen["total"] <= seen["seconds"] / (_POLL_S * 0.9) + 1
        site.emulator.run_at(SPEED)
        for name in names:
            site.wait_for_phase(name, "Succeeded")
    assert sorted(len(site.remote(name)) for name in names) == [1] * MANY


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(many_jobs_share_their_polls, "60 jobs share their polls"),
        row(an_unknown_status, "an unknown status"),
        row(absent_keys, "absent keys"),
        row(a_lost_answer_and_a_job_without_its_suffix, "a lost answer, and no suffix in the list"),
        row(a_failure_of_which_only_an_event_says_why, "failed, and only an event says why"),
        row(too_many_requests, "429 on polls"),
        row(a_failing_service, "500 on polls"),
        row(a_cut_connection, "cut connections on polls"),
    ],
)
def test_service(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()


def test_the_api_server_goes_away_while_a_job_runs(site: Site) -> None:
    """The leader exits once; its successor waits without exiting, then goes on."""
    site.emulator.run_at(SLOW)
    first = site.operator().wait_until_leading()
    site.submit("orca")
    site.wait_for_phase("orca", "Queued")
    with site.kube.plane.outage():
        assert first.wait_until_ended(within=20) == 1
        site.emulator.run_at(SPEED)
        second = site.operator("operator-2")
        wait_for(lambda: second.read("livez") == "ok\n", "the successor lives", within=20)
    with second.wait_until_leading():
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


def test_the_api_server_goes_away_while_a_job_is_created(site: Site) -> None:
    """The id cannot be written down: the job is found by its marker afterwards."""
    site.emulator.run_at(SLOW)
    site.emulator.hold("POST", JOBS_PATH, moment="after")
    first = site.operator(azure_create_timeout_seconds=4).wait_until_leading()
    site.submit("orca")
    site.emulator.wait_until_held()
    with site.kube.plane.outage():
        site.emulator.release()
        assert first.wait_until_ended(within=20) == 1
    site.emulator.run_at(SPEED)
    with site.operator("operator-2").wait_until_leading():
        status = site.wait_for_phase("orca", "Succeeded")
    [remote] = site.remote("orca")
    assert status["azureOpenAI"]["jobID"] == remote["id"]
