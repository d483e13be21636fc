"""Money is spent once: whatever happens around a submission, one job at the service, Succeeded.

Each scenario has a site of its own; they are played side by side.
"""

import time
from itertools import pairwise

import pytest

from support.api_gate import ApiGate
from support.emulator_control import JOBS_PATH, Moment
from support.hosted_site import SLOW, SPEED, Outcomes, Scenario, Site
from support.kube import EVENTS
from support.operator_process import CREATE_TIMEOUT_S, LEASE_S, LIST_LAG_S
from support.waiting import wait_for

pytestmark = pytest.mark.integration

_FROZEN_S = 30
_EVENTS, _CHECKPOINTS = "/events$", "/checkpoints$"


def _succeeded_once(site: Site, name: str = "orca") -> None:
    status = site.wait_for_phase(name, "Succeeded")
    [remote] = site.remote(name)
    assert status["azureOpenAI"]["jobID"] == remote["id"]
    assert status["result"]["model"] == remote["fine_tuned_model"]


# Killed at a request to the service


def killed_at(
    method: str, path: str, moment: Moment, *, nth: int = 1, drop: bool = False
) -> Scenario:
    """Killed while the request is held, which then goes on without its sender."""

    def scenario(site: Site) -> None:
        site.emulator.hold(method, path, moment=moment, nth=nth)
        first = site.operator().wait_until_leading()
        site.submit("orca")
        site.emulator.wait_until_held()
        first.kill()
        site.emulator.release(drop=drop)
        with site.operator("operator-2").wait_until_leading():
            _succeeded_once(site)

    return scenario


def killed_while_it_reads_the_key(*, marked: bool) -> Scenario:
    """It is read before anything is asked, for the search of equal jobs, and for the request."""

    def scenario(site: Site) -> None:
        with ApiGate(site.kube.plane, site.folder) as gate:
            reads = [gate.hold("GET", "/secrets/azure$") for _ in range(3 if marked else 1)]
            first = site.operator(kubeconfig=gate.kubeconfig).wait_until_leading()
            site.submit("orca")
            for earlier, read in pairwise([None, *reads]):
                if earlier is not None:
                    gate.release(earlier)
                assert read is not None
                wait_for(read.held.is_set, "the key is read", told=first.told)
            first.kill()
            assert ("submission" in site.status("orca").get("azureOpenAI", {})) == marked
        with site.operator("operator-2").wait_until_leading():
            _succeeded_once(site)

    return scenario


def killed_again_while_it_looks(site: Site) -> None:
    site.emulator.hold("POST", JOBS_PATH, moment="after", name="create")
    first = site.operator().wait_until_leading()
    site.submit("orca")
    site.emulator.wait_until_held("create")
    first.kill()
    site.emulator.hold("GET", JOBS_PATH, moment="after", name="look")
    site.emulator.release("create")
    second = site.operator("operator-2").wait_until_leading()
    site.emulator.wait_until_held("look")
    second.kill()
    site.emulator.release("look")
    with site.operator("operator-3").wait_until_leading():
        _succeeded_once(site)


def killed_and_the_list_does_not_show_the_job_yet(site: Site) -> None:
    site.emulator.configure(list_lag_seconds=2 * LEASE_S + CREATE_TIMEOUT_S)
    killed_at("POST", JOBS_PATH, "after")(site)


# The service misbehaves


def created_but_never_answered(site: Site) -> None:
    site.emulator.delay(CREATE_TIMEOUT_S + 2, "POST", JOBS_PATH, moment="after")
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        _succeeded_once(site)


def created_after_the_client_gave_up(site: Site) -> None:
    site.emulator.delay(CREATE_TIMEOUT_S + LIST_LAG_S / 2, "POST", JOBS_PATH, moment="before")
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        _succeeded_once(site)


def answered(status: int, moment: Moment) -> Scenario:
    """The create is answered by an error, before or after it had its effect."""

    def scenario(site: Site) -> None:
        site.emulator.reply(status, "POST", JOBS_PATH, moment=moment, headers={"retry-after": "1"})
        with site.lone_operator().wait_until_leading():
            site.submit("orca")
            _succeeded_once(site)

    return scenario


def cut(moment: Moment) -> Scenario:
    """The connection breaks, before or after the effect."""

    def scenario(site: Site) -> None:
        site.emulator.cut("POST", JOBS_PATH, moment=moment)
        with site.lone_operator().wait_until_leading():
            site.submit("orca")
            _succeeded_once(site)

    return scenario


def cut_and_the_list_is_late(site: Site) -> None:
    site.emulator.configure(list_lag_seconds=LIST_LAG_S * 0.8)
    cut("after")(site)


def cut_and_the_list_fails(site: Site) -> None:
    site.emulator.reply(503, "GET", JOBS_PATH, times=2)
    cut("after")(site)


def created_twice_the_older_counts(site: Site) -> None:
    """Nobody but us posts with our marker: what another leader did beyond all bounds of time."""
    site.emulator.run_at(SLOW)
    site.emulator.hold("POST", JOBS_PATH, moment="after")
    first = site.operator().wait_until_leading()
    site.submit("orca")
    site.emulator.wait_until_held()
    first.kill()
    [older] = site.remote("orca")
    site.emulator.release()
    site.emulator.advance(1)
    site.create_again(older)
    with site.operator("operator-2").wait_until_leading():
        site.wait_for_phase("orca", "Queued")
        site.emulator.run_at(SPEED)
        status = site.wait_for_phase("orca", "Succeeded")
    assert status["azureOpenAI"]["jobID"] == older["id"]
    assert sorted(job["status"] for job in site.remote("orca")) == ["cancelled", "succeeded"]
    reasons = {event["reason"] for event in site.kube.list(EVENTS, site.namespace)}
    assert "DuplicateJobCancelled" in reasons


def created_twice_and_seen_late(site: Site) -> None:
    """The other one shows in the list only when the first is in status already."""
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        [ours] = site.remote("orca")
        site.create_again(ours)
        wait_for(lambda: _statuses(site)[0] == "cancelled", "the other is cancelled")
        site.emulator.run_at(SPEED)
        status = site.wait_for_phase("orca", "Succeeded")
    assert status["azureOpenAI"]["jobID"] == ours["id"]
    assert _statuses(site) == ["cancelled", "succeeded"]
    reasons = {event["reason"] for event in site.kube.list(EVENTS, site.namespace)}
    assert "DuplicateJobCancelled" in reasons


def _statuses(site: Site) -> list[str]:
    return sorted(job["status"] for job in site.remote("orca"))


# Two replicas


def the_standby_takes_over_from_a_killed_leader(site: Site) -> None:
    site.emulator.hold("POST", JOBS_PATH, moment="after")
    leader = site.operator().wait_until_leading()
    with site.operator("operator-standby") as standby:
        wait_for(lambda: standby.read("readyz") == "standby\n", "it stands by")
        site.submit("orca")
        site.emulator.wait_until_held()
        leader.kill()
        site.emulator.release()
        standby.wait_until_leading()
        _succeeded_once(site)


def a_leader_told_to_stop_finishes_its_submission(site: Site) -> None:
    site.emulator.delay(0.8, "POST", JOBS_PATH, moment="after")
    leader = site.operator().wait_until_leading()
    with site.operator("operator-standby") as standby:
        wait_for(lambda: standby.read("readyz") == "standby\n", "it stands by")
        site.submit("orca")
        wait_for(lambda: bool(site.remote("orca")), "the job is created")
        assert leader.stop() == 0
        standby.wait_until_leading()
        _succeeded_once(site)
    creates = [entry for entry in site.emulator.requests()["log"] if _is_create(entry)]
    assert len(creates) == 1


def _is_create(entry: dict[str, object]) -> bool:
    return entry["method"] == "POST" and str(entry["path"]).endswith("/fine_tuning/jobs")


def frozen_in_the_middle_of_its_create(site: Site) -> None:
    """The request stands at the service while its sender is frozen; the other one adopts it."""
    site.emulator.hold("POST", JOBS_PATH, moment="before")
    leader = site.operator().wait_until_leading()
    with site.operator("operator-standby") as standby:
        site.submit("orca")
        site.emulator.wait_until_held()
        leader.freeze()
        site.emulator.release()
        standby.wait_until_leading()
        _succeeded_once(site)
        leader.thaw()
        assert leader.wait_until_ended() == 1
        _succeeded_once(site)


def frozen_with_its_marker_written_and_woken_as_a_zombie(site: Site) -> None:
    """What it has to do next is the POST: only the fence stands before it."""
    with ApiGate(site.kube.plane, site.folder) as gate:
        barrier = gate.hold("PATCH", "/orca/status$", body='"marker"', moment="after")
        leader = site.operator(kubeconfig=gate.kubeconfig).wait_until_leading()
        with site.operator("operator-standby") as standby:
            site.submit("orca")
            wait_for(barrier.held.is_set, "the marker is written", told=leader.told)
            leader.freeze()
            frozen_at = time.monotonic()
            gate.release(barrier)
            standby.wait_until_leading()
            _succeeded_once(site)
            time.sleep(max(0.0, frozen_at + _FROZEN_S - time.monotonic()))
            leader.thaw()
            assert leader.wait_until_ended() == 1
            _succeeded_once(site)


def frozen_before_its_marker_and_woken_as_a_zombie(site: Site) -> None:
    """Its marker comes too late: the resourceVersion is not the one it has read."""
    with ApiGate(site.kube.plane, site.folder) as gate:
        barrier = gate.hold("PATCH", "/orca/status$", body='"marker"', moment="before")
        leader = site.operator(kubeconfig=gate.kubeconfig).wait_until_leading()
        with site.operator("operator-standby") as standby:
            site.submit("orca")
            wait_for(barrier.held.is_set, "the marker is on its way", told=leader.told)
            leader.freeze()
            standby.wait_until_leading()
            site.wait_for_remote("orca", "is there", lambda job: True)
            gate.release(barrier)
            assert barrier.status.result(10) == 409
            leader.thaw()
            assert leader.wait_until_ended() == 1
            _succeeded_once(site)


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(killed_while_it_reads_the_key(marked=False), "killed while it reads the key"),
        row(killed_while_it_reads_the_key(marked=True), "killed with its marker just written"),
        row(killed_at("POST", JOBS_PATH, "before"), "killed at the create, which is late"),
        row(killed_at("POST", JOBS_PATH, "before", drop=True), "killed at a create that is lost"),
        row(killed_at("POST", JOBS_PATH, "after"), "killed before the create is answered"),
        row(killed_at("GET", JOBS_PATH, "after"), "killed at the search for equal jobs"),
        row(killed_at("GET", JOBS_PATH, "after", nth=2), "killed at a poll's list"),
        row(killed_at("GET", _EVENTS, "after"), "killed at a job's events"),
        row(killed_at("GET", _CHECKPOINTS, "after"), "killed at a job's checkpoints"),
        row(killed_again_while_it_looks, "killed at the create, and again while it looks"),
        row(killed_and_the_list_does_not_show_the_job_yet, "killed, and the list is late"),
        row(created_but_never_answered, "the create times out after being accepted"),
        row(created_after_the_client_gave_up, "the create times out and is accepted later"),
        row(answered(500, "after"), "500 after the job was created"),
        row(answered(500, "before"), "500 and nothing was created"),
        row(answered(503, "after"), "503 after the job was created"),
        row(answered(409, "after"), "409 after the job was created"),
        row(answered(429, "before"), "429 before the job was created"),
        row(cut("after"), "the connection is cut after the job was created"),
        row(cut("before"), "the connection is cut and nothing was created"),
        row(cut_and_the_list_is_late, "cut after the creation, and the list is late"),
        row(cut_and_the_list_fails, "cut after the creation, and the list fails twice"),
        row(created_twice_the_older_counts, "created twice by others: the older counts"),
        row(created_twice_and_seen_late, "created twice, which shows when one is in status"),
        row(the_standby_takes_over_from_a_killed_leader, "two replicas, the leader killed"),
        row(a_leader_told_to_stop_finishes_its_submission, "two replicas, the leader told to stop"),
        row(frozen_in_the_middle_of_its_create, "frozen in the middle of its create"),
        row(frozen_with_its_marker_written_and_woken_as_a_zombie, "frozen before its create"),
        row(frozen_before_its_marker_and_woken_as_a_zombie, "frozen before its marker"),
    ],
)
def test_one_job_at_the_service(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()
