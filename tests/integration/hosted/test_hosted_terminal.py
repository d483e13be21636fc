"""A job that is over never runs again by itself, only for a retry token, with a new marker.

Each scenario has a site of its own; they are played side by side.
"""

import pytest
import yaml

from support.emulator import RAI_AFTER_TRAINING, RAI_BEFORE_TRAINING
from support.hosted_site import SLOW, SPEED, Outcomes, Scenario, Site, condition
from support.kube import Json
from support.waiting import wait_for

pytestmark = pytest.mark.integration

_BATCH = "/apis/batch/v1/namespaces/{}/jobs"


def _nothing_runs_again(site: Site, before: Json) -> None:
    """After a witness has gone all the way, the job is as it was."""
    site.submit("witness")
    site.wait_for_phase("witness", "Succeeded")
    assert site.status("orca") == before
    assert len(site.remote("orca")) == 1


def restarted_stripped_and_applied_again(site: Site) -> None:
    manifest = yaml.safe_dump(site.manifest("orca"))
    here = f"--namespace={site.namespace}"
    with site.lone_operator().wait_until_leading():
        site.kube.kubectl("apply", here, "--filename=-", stdin=manifest)
        site.wait_for_phase("orca", "Succeeded")
        site.wait_until_let_go("orca")
    done = site.status("orca")
    [child] = site.kube.list(_BATCH, site.namespace)
    site.kube.delete(_BATCH, site.namespace, child["metadata"]["name"])
    annotations = {name: None for name in (site.job("orca") or {})["metadata"]["annotations"]}
    site.edit("orca", {"metadata": {"annotations": annotations, "labels": {"touched": "yes"}}})
    with site.operator("operator-2").wait_until_leading():
        site.kube.kubectl("apply", here, "--filename=-", stdin=manifest)
        _nothing_runs_again(site, done)
        site.retry("orca", "a success is not repeated")
        status = site.wait("orca", "is told", lambda s: bool(s.get("lastHandledRetryAt")))
        assert status["phase"] == "Succeeded"
        assert len(site.remote("orca")) == 1


def edited_after_its_end(site: Site) -> None:
    """Whoever waits for the success after an edit is not told of an older generation."""
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Succeeded")
        site.edit("orca", {"spec": {"deletionPolicy": {"job": "Keep"}}})
        said = site.kube.kubectl(
            "wait",
            f"--namespace={site.namespace}",
            "--for=condition=Succeeded",
            "--timeout=20s",
            "ftj/orca",
        )
        assert "condition met" in said
        assert site.status("orca")["observedGeneration"] == 2
    assert len(site.remote("orca")) == 1


def failed_and_restarted(site: Site) -> None:
    site.emulator.doom("Evaluation", RAI_AFTER_TRAINING)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        status = site.wait_for_phase("orca", "Failed")
        assert condition(status, "Stalled")["status"] == "True"
        assert "Violence" in condition(status, "Ready")["message"]
        site.wait_until_let_go("orca")
    done = site.status("orca")
    with site.operator("operator-2").wait_until_leading():
        _nothing_runs_again(site, done)


def deleted_and_created_again(site: Site) -> None:
    """The second job of the name adopts nothing of the first unasked: neither job nor result."""
    with site.lone_operator().wait_until_leading():
        first = site.submit("orca")
        site.wait_for_phase("orca", "Succeeded")
        site.delete("orca")
        site.wait_until_gone("orca")
        second = site.submit("orca")
        assert second["metadata"]["uid"] != first["metadata"]["uid"]
        site.wait_for_reason("orca", "PossibleDuplicate")
        assert len(site.remote("orca")) == 1
        annotations = {"finetune.dev/force-new": "true"}
        site.edit("orca", {"metadata": {"annotations": annotations}})
        status = site.wait_for_phase("orca", "Succeeded")
    newer, older = site.remote("orca")
    assert newer["suffix"] != older["suffix"]
    assert status["azureOpenAI"]["jobID"] == newer["id"]
    assert status["attempt"] == 1
    result = site.result("orca")
    assert result is not None
    assert result["model"] == newer["fine_tuned_model"]


def deleted_while_it_runs_and_created_again(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.delete("orca")
        site.wait_until_gone("orca")
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.emulator.run_at(SPEED)
        status = site.wait_for_phase("orca", "Succeeded")
    newer, older = site.remote("orca")
    assert (older["status"], newer["status"]) == ("cancelled", "succeeded")
    assert status["azureOpenAI"]["jobID"] == newer["id"]


def retried_after_a_failure(site: Site) -> None:
    site.emulator.doom("Validation", RAI_BEFORE_TRAINING)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        before = site.wait_for_phase("orca", "Failed")
        assert condition(before, "Succeeded")["reason"] == "DataInvalid"
        site.retry("orca", "2026-11-22")
        status = site.wait_for_phase("orca", "Succeeded")
        site.retry("orca", "2026-11-22")
    newer, older = site.remote("orca")
    assert (older["status"], newer["status"]) == ("failed", "succeeded")
    assert status["lastHandledRetryAt"] == "2026-11-22"
    assert [attempt["number"] for attempt in status["attempts"]] == [1, 2]
    assert status["azureOpenAI"]["submission"]["attempt"] == 2
    assert newer["suffix"] == f"orca-{status['azureOpenAI']['submission']['marker']}"
    assert newer["suffix"] != older["suffix"]
    assert condition(status, "Stalled")["status"] is None


def retried_after_a_cancellation(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.edit("orca", {"spec": {"cancel": True}})
        site.wait_for_phase("orca", "Cancelled")
        site.retry("orca", "one")
        site.wait_for_reason("orca", "CancelRequested")
        site.emulator.run_at(SPEED)
        site.edit("orca", {"spec": {"cancel": False}})
        site.retry("orca", "two")
        site.wait_for_phase("orca", "Succeeded")
    assert [job["status"] for job in site.remote("orca")] == ["succeeded", "cancelled"]


def unknown_to_the_account(site: Site) -> None:
    """The account has forgotten the job: that is for a person to look at, never a reason to pay."""
    site.emulator.run_at(SLOW)
    with site.operator(stalled_after_seconds=0.001).wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.emulator.reset()
        status = site.wait_for_reason("orca", "RemoteJobNotFound")
        assert condition(status, "Stalled")["status"] == "True"
        assert condition(status, "Succeeded")["status"] is None
        site.edit("orca", {"metadata": {"labels": {"touched": "yes"}}})
        polls = site.emulator.requests()["total"]
        wait_for(lambda: site.emulator.requests()["total"] > polls + 2, "polls go on")
    assert site.emulator.jobs() == []


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(deleted_and_created_again, "deleted and created again: adopts nothing"),
        row(deleted_while_it_runs_and_created_again, "deleted while it runs, and created again"),
        row(restarted_stripped_and_applied_again, "restarted, stripped and applied again"),
        row(edited_after_its_end, "edited after its end: kubectl wait still sees the success"),
        row(failed_and_restarted, "failed, and the operator is restarted"),
        row(retried_after_a_failure, "a retry token: runs again, with a new marker"),
        row(retried_after_a_cancellation, "a retry token after a cancellation"),
        row(unknown_to_the_account, "unknown to the account: never submitted again"),
    ],
)
def test_terminal(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()
