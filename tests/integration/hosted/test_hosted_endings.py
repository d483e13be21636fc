"""Pause, cancel and deadline: what is stopped here is stopped at the service first.

Each scenario has a site of its own; they are played side by side.
"""

from collections.abc import Callable

import pytest

from support.emulator_control import JOBS_PATH
from support.hosted_site import (
    LONG,
    PAUSING_S,
    SLOW,
    SPEED,
    TRAINING_S,
    Outcomes,
    Scenario,
    Site,
    condition,
)
from support.kube import CONFIG_MAPS, Json
from support.waiting import wait_for

pytestmark = pytest.mark.integration

_PAUSE, _RESUME = "/pause$", "/resume$"


def _paths(site: Site) -> list[str]:
    return [f"{entry['method']} {entry['path']}" for entry in site.emulator.requests()["log"]]


# Pause


def paused_after_the_first_step_and_resumed(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca", **LONG)
        site.wait_for_phase("orca", "Queued")
        site.edit("orca", {"spec": {"suspend": True}})
        site.wait_for_reason("orca", "Pausing")
        assert not any(path.endswith("/pause") for path in _paths(site))
        site.emulator.advance(TRAINING_S)
        site.wait_for_remote("orca", "pausing", lambda job: job["status"] == "pausing")
        site.emulator.advance(PAUSING_S)
        status = site.wait_for_phase("orca", "Suspended")
        assert condition(status, "Suspended")["status"] == "True"
        assert condition(status, "Reconciling")["status"] is None
        assert [job["status"] for job in site.remote("orca")] == ["paused"]
        site.edit("orca", {"spec": {"suspend": False}})
        site.wait_for_remote("orca", "resuming", lambda job: job["status"] == "resuming")
        site.emulator.run_at(SPEED)
        status = site.wait_for_phase("orca", "Succeeded")
        assert condition(status, "Suspended")["status"] is None
    assert len(site.remote("orca")) == 1


def killed_while_it_asks(path: str) -> Scenario:
    """For a pause, or to go on: the successor sees what became of it, and nothing is posted."""

    def scenario(site: Site) -> None:
        site.emulator.run_at(SLOW)
        site.emulator.hold("POST", path, moment="after")
        first = site.operator().wait_until_leading()
        site.submit("orca", **LONG)
        site.wait_for_phase("orca", "Queued")
        site.emulator.advance(TRAINING_S)
        site.edit("orca", {"spec": {"suspend": True}})
        if path == _RESUME:
            site.wait_for_remote("orca", "pausing", lambda job: job["status"] == "pausing")
            site.emulator.advance(PAUSING_S)
            site.wait_for_phase("orca", "Suspended")
            site.edit("orca", {"spec": {"suspend": False}})
        site.emulator.wait_until_held()
        first.kill()
        site.emulator.release()
        with site.operator("operator-2").wait_until_leading():
            if path == _PAUSE:
                site.emulator.advance(PAUSING_S)
                site.wait_for_phase("orca", "Suspended")
                site.edit("orca", {"spec": {"suspend": False}})
            site.emulator.run_at(SPEED)
            site.wait_for_phase("orca", "Succeeded")
        assert len(site.remote("orca")) == 1

    return scenario


def a_pause_that_is_refused(site: Site) -> None:
    """It is said and not asked for at every look; the job trains to its end when it may."""
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca", **LONG)
        site.wait_for_phase("orca", "Queued")
        site.emulator.reply(400, "POST", "/pause$", times=None)
        site.edit("orca", {"spec": {"suspend": True}})
        site.emulator.advance(TRAINING_S)
        status = site.wait_for_reason("orca", "RequestRefused")
        assert "does not pause" in status["message"]
        assert condition(status, "Stalled")["status"] == "True"
        site.edit("orca", {"spec": {"suspend": False}})
        site.emulator.run_at(SPEED)
        site.wait_for_phase("orca", "Succeeded")
    assert len([path for path in _paths(site) if path.endswith("/pause")]) == 1


def created_suspended(site: Site) -> None:
    with site.lone_operator().wait_until_leading():
        site.submit("orca", suspend=True)
        site.wait_for_phase("orca", "Suspended")
        assert site.emulator.requests()["total"] == 0
        site.edit("orca", {"spec": {"suspend": False}})
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


def suspended_while_its_creation_is_in_doubt(site: Site) -> None:
    """What was created in spite of a lost answer is found, then paused; never created again."""
    site.emulator.run_at(SLOW)
    site.emulator.hold("POST", JOBS_PATH, moment="after")
    first = site.operator().wait_until_leading()
    site.submit("orca", **LONG)
    site.emulator.wait_until_held()
    first.kill()
    site.emulator.release()
    site.edit("orca", {"spec": {"suspend": True}})
    with site.operator("operator-2").wait_until_leading():
        site.wait_for_reason("orca", "Pausing")
        site.emulator.advance(TRAINING_S)
        site.wait_for_remote("orca", "pausing", lambda job: job["status"] == "pausing")
        site.emulator.advance(PAUSING_S)
        site.wait_for_phase("orca", "Suspended")
        site.edit("orca", {"spec": {"suspend": False}})
        site.emulator.run_at(SPEED)
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


# Cancel


def _cancelled(site: Site, *, remote: list[str]) -> None:
    """It says so, holds nothing any more, and unsetting `cancel` changes nothing."""
    status = site.wait_for_phase("orca", "Cancelled")
    site.wait_until_let_go("orca")
    assert condition(status, "Cancelled")["status"] == "True"
    assert condition(status, "Stalled")["reason"] == "Cancelled"
    assert condition(status, "Succeeded")["status"] == "False"
    assert [job["status"] for job in site.remote("orca")] == remote
    generation = site.edit("orca", {"spec": {"cancel": False}})["metadata"]["generation"]
    status = site.wait("orca", "is seen", lambda s: s["observedGeneration"] == generation)
    assert status["phase"] == "Cancelled"
    assert [job["status"] for job in site.remote("orca")] == remote


def cancelled_while_the_data_are_read(site: Site) -> None:
    site.kube.patch(CONFIG_MAPS, site.namespace, "gsm8k", {"data": {"train.jsonl": None}})
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Preparing")
        site.edit("orca", {"spec": {"cancel": True}})
        _cancelled(site, remote=[])
    jobs = f"/apis/batch/v1/namespaces/{site.namespace}/jobs"
    wait_for(lambda: not site.kube.call("GET", jobs)["items"], "no Job is left")


def cancelled_while_its_creation_is_in_doubt(site: Site) -> None:
    site.emulator.run_at(SLOW)
    site.emulator.configure(list_lag_seconds=1)
    site.emulator.cut("POST", JOBS_PATH, moment="after")
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        wait_for(lambda: bool(site.remote("orca")), "the job is created")
        site.edit("orca", {"spec": {"cancel": True}})
        _cancelled(site, remote=["cancelled"])


def _cancelled_when(
    look: Callable[[Json], bool], *, after: float, suspend: bool = False
) -> Scenario:
    """Cancelled at a stage that is reached after so many service seconds."""

    def scenario(site: Site) -> None:
        site.emulator.run_at(SLOW)
        with site.lone_operator().wait_until_leading():
            site.submit("orca", **LONG)
            site.wait_for_phase("orca", "Queued")
            site.emulator.advance(after)
            if suspend:
                site.edit("orca", {"spec": {"suspend": True}})
                site.wait_for_remote("orca", "pausing", lambda job: job["status"] == "pausing")
                site.emulator.advance(PAUSING_S)
            site.wait("orca", "is at its stage", look)
            site.edit("orca", {"spec": {"cancel": True}})
            _cancelled(site, remote=["cancelled"])

    return scenario


def _in_phase(phase: str) -> Callable[[Json], bool]:
    return lambda status: status.get("phase") == phase


cancelled_in_the_queue = _cancelled_when(_in_phase("Queued"), after=0)
cancelled_while_it_trains = _cancelled_when(_in_phase("Running"), after=TRAINING_S)
cancelled_while_it_is_paused = _cancelled_when(
    _in_phase("Suspended"), after=TRAINING_S, suspend=True
)


def cancelled_beside_a_duplicate_that_goes_on(site: Site) -> None:
    """What cannot be cancelled does not hold up what can."""
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        [ours] = site.remote("orca")
        site.emulator.reply(503, "POST", "/cancel$", times=None, name="any")
        site.create_again(ours)
        wait_for(lambda: _met(site, "any"), "the other is to be cancelled")
        [other] = [job for job in site.remote("orca") if job["id"] != ours["id"]]
        site.emulator.reply(503, "POST", f"/{other['id']}/cancel$", times=None, name="other")
        site.emulator.clear_fault("any")
        site.edit("orca", {"spec": {"cancel": True}})
        site.wait_for_phase("orca", "Cancelled")
        site.wait_until_let_go("orca")
    told = {job["id"]: job["status"] for job in site.remote("orca")}
    assert told == {ours["id"]: "cancelled", other["id"]: "pending"}


def _met(site: Site, name: str) -> bool:
    return any(fault["met"] for fault in site.emulator.faults() if fault["name"] == name)


def cancelled_at_the_service(site: Site) -> None:
    """Somebody cancelled it there: that is a failure here, and nothing is submitted again."""
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.cancel_behind_our_back(site.remote("orca")[0])
        status = site.wait_for_phase("orca", "Failed")
        assert condition(status, "Succeeded")["reason"] == "CancelledRemotely"
    assert len(site.remote("orca")) == 1


def past_its_deadline(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca", activeDeadlineSeconds=3)
        status = site.wait_for_phase("orca", "Failed")
        assert condition(status, "Succeeded")["reason"] == "DeadlineExceeded"
        site.wait_until_let_go("orca")
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(paused_after_the_first_step_and_resumed, "suspend: paused after step 1, then resumed"),
        row(killed_while_it_asks(_PAUSE), "suspend: killed while it asks for the pause"),
        row(killed_while_it_asks(_RESUME), "suspend: killed while it asks to go on"),
        row(a_pause_that_is_refused, "suspend: the service refuses"),
        row(created_suspended, "suspend: created suspended, nothing is asked of the service"),
        row(suspended_while_its_creation_is_in_doubt, "suspend: while its creation is in doubt"),
        row(cancelled_while_the_data_are_read, "cancel: while the data are read"),
        row(cancelled_while_its_creation_is_in_doubt, "cancel: while its creation is in doubt"),
        row(cancelled_in_the_queue, "cancel: in the service's queue"),
        row(cancelled_while_it_trains, "cancel: while it trains"),
        row(cancelled_while_it_is_paused, "cancel: while it is paused"),
        row(cancelled_beside_a_duplicate_that_goes_on, "cancel: beside a duplicate that goes on"),
        row(cancelled_at_the_service, "cancelled at the service, not by us"),
        row(past_its_deadline, "deadline: cancelled at the service"),
    ],
)
def test_ending(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()
