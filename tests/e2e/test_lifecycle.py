"""How jobs end, what stays when they are deleted, and that nothing ever runs twice by itself."""

import json

import pytest

from deploy.install import SYSTEM
from finetune_api import constants as c
from support.builders_api import Manifest, changed
from support.e2e import SOON, TRAINED, Run, Space
from support.e2e_objects import hosted, queued, tiny
from support.e2e_status import assert_failed, assert_told, condition
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

LASTING = {"hyperparameters": {"epochs": 50, "batchSize": 1}}
"""At the emulated account, a minute and more."""


def claims(space: Space) -> list[str]:
    return [each["metadata"]["name"] for each in space.objects("PersistentVolumeClaim")]


def test_a_deadline_ends_what_waits(space: Space) -> None:
    run = space.run(queued(activeDeadlineSeconds=5))
    status = run.until_phase("Failed")
    assert_failed(status, "DeadlineExceeded", r"longer than activeDeadlineSeconds \(5\): raise it")
    assert run.children(c.COMPONENT_TRAINER) == []
    assert [each["reason"] for each in status["attempts"]] == ["DeadlineExceeded"]


def test_a_deadline_cancels_at_the_service(space: Space) -> None:
    run = space.run(hosted(activeDeadlineSeconds=10, **LASTING))
    status = run.until_phase("Failed", within=2 * SOON)
    assert_failed(status, "DeadlineExceeded", "activeDeadlineSeconds")
    assert space.remote_job(status["azureOpenAI"]["jobID"])["status"] == "cancelled"


@pytest.mark.parametrize(
    ("policy", "want_kept"),
    [
        pytest.param({}, True, id="kept by default"),
        pytest.param({"deletionPolicy": {"model": "Delete"}}, False, id="deleted on request"),
    ],
)
def test_deletion_takes_the_children_and_the_claim_only_if_asked(
    space: Space, policy: dict[str, object], want_kept: bool
) -> None:
    run = space.run(queued(**policy))
    run.until_phase("Queued")
    [claim] = claims(space)
    run.delete()
    wait_for(lambda: space.objects("Job") == [], "the child Jobs are gone", within=SOON)
    wait_for(lambda: space.objects("Pod") == [], "their pods are gone", within=SOON)
    wait_for(lambda: run.children() == [], "nothing is left", within=SOON)
    if want_kept:
        assert claims(space) == [claim]
    else:
        wait_for(lambda: claims(space) == [], "the claim is gone", within=SOON)


def test_the_ttl_takes_jobs_and_pods_and_leaves_the_result(space: Space, training: None) -> None:
    run = space.run(tiny(steps=1, ttlSecondsAfterFinished=0))
    status = run.until_phase("Succeeded", within=TRAINED)
    wait_for(lambda: space.objects("Job") == [], "the child Jobs are gone", within=SOON)
    wait_for(lambda: space.objects("Pod") == [], "their pods are gone", within=SOON)
    assert len(claims(space)) == 1
    assert (space.get("ConfigMap", f"{run.name}-result") or {})["data"]["model"] == (
        status["result"]["model"]
    )
    assert run.status["conditions"] == status["conditions"]


def test_a_job_of_the_same_name_adopts_nothing(space: Space) -> None:
    first = space.run(queued("twin"))
    first.until_phase("Queued")
    before = {child["metadata"]["name"] for child in first.children()}
    space.delete(c.KIND, "twin", propagationPolicy="Orphan")
    wait_for(lambda: first.read() is None, "the first is gone", within=SOON)
    second = space.run(queued("twin"))
    second.until_phase("Queued")
    after = {child["metadata"]["name"] for child in second.children()}
    assert len(after) == 2
    assert not before & after
    assert len(claims(space)) == 2
    assert {child["metadata"]["name"] for child in first.children()} == before


def test_a_foreign_result_is_never_overwritten(space: Space) -> None:
    """Somebody else's ConfigMap has the name of the result."""
    theirs: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mine-result"},
    }
    space.create({**theirs, "data": {"model": "theirs"}})
    run = space.run(hosted("mine"))
    status = run.until_reason("NameConflict", within=2 * SOON)
    assert_told(status, status["phase"], "NameConflict", "mine-result.*delete it, or choose")
    # Found before anything is paid for.
    assert "jobID" not in status.get("azureOpenAI", {})
    assert (space.get("ConfigMap", "mine-result") or {})["data"] == {"model": "theirs"}
    space.delete("ConfigMap", "mine-result")
    run.until_phase("Succeeded", within=2 * SOON)


def test_a_namespace_with_a_hosted_job_goes_in_time(space: Space) -> None:
    run = space.run(hosted(**LASTING))
    status = run.until_phase("Running", within=2 * SOON)
    assert c.FINALIZER in (run.read() or {})["metadata"]["finalizers"]
    job_id = status["azureOpenAI"]["jobID"]
    space.remove()
    cluster, name = space.site.cluster, space.name
    wait_for(
        lambda: cluster.get("Namespace", "", name) is None,
        "the namespace is gone",
        within=3 * SOON,
        told=lambda: json.dumps(run.read(), indent=1),
    )
    # Cancelled, or, the credentials gone first, let go and told.
    still_runs = space.remote_job(job_id)["status"] not in ("cancelled", "cancelling")
    told = f"which may go on running: remote={job_id}"
    assert not still_runs or told in space.site.log(tail=10_000)


def test_cancelling_a_hosted_job_cancels_it_at_the_service(space: Space) -> None:
    run = space.run(hosted(**LASTING))
    status = run.until_phase("Running", within=2 * SOON)
    run.set(cancel=True)
    status = run.until_phase("Cancelled")
    assert space.remote_job(status["azureOpenAI"]["jobID"])["status"] == "cancelled"
    run.set(cancel=False)
    run.until(lambda s: s["observedGeneration"] == 3, "the change was seen")
    assert_told(run.status, "Cancelled", "Cancelled", "spec.cancel")


def restart(space: Space) -> None:
    """Ends the operator's pod and waits until another one leads."""
    site = space.site
    before = site.operator_pods()[0]["metadata"]["name"]
    site.cluster.delete("Pod", SYSTEM, before)
    wait_for(lambda: site.leader() not in (None, before), "another pod leads", within=2 * SOON)


def test_what_has_ended_never_runs_again(lonely_space: Space, training: None) -> None:
    space = lonely_space
    manifest = tiny(steps=1)
    runs = [space.run(manifest), space.run(hosted(**{"azureOpenAI.suffix": space.name}))]
    ended = [run.until_phase("Succeeded", within=TRAINED) for run in runs]
    children = {child["metadata"]["name"] for run in runs for child in run.children()}
    for child in sorted(children)[::2]:
        space.delete("Job", child, propagationPolicy="Background")
    for run in runs:
        run.annotate(touched="yes")
        run.annotate(touched=None)
    again = changed(manifest, {"metadata.namespace": space.name})
    space.patch(c.KIND, runs[0].name, {"spec": again["spec"]})
    restart(space)
    # The new operator has looked at everything once it has brought a new job this far.
    space.run(queued("witness")).until_phase("Queued", within=2 * SOON)
    assert [run.status for run in runs] == ended
    left = {child["metadata"]["name"] for run in runs for child in run.children()}
    assert left <= children
    assert len(space.remote_jobs()) == 1


def test_a_retry_never_repeats_a_success(space: Space) -> None:
    run = space.run(hosted())
    run.until_phase("Succeeded", within=2 * SOON)
    run.retry("again")
    status = run.until(lambda s: s.get("lastHandledRetryAt") == "again", "acknowledged")
    assert_told(status, "Succeeded", "Succeeded", "to train again, create a new FineTuneJob")
    assert status["attempt"] == 1


def test_a_hosted_job_is_paused_and_goes_on(space: Space) -> None:
    run: Run = space.run(hosted(**{"hyperparameters": {"epochs": 10, "batchSize": 1}}))
    run.until_phase("Running", within=2 * SOON)
    run.set(suspend=True)
    status = run.until_phase("Suspended", within=2 * SOON)
    assert condition(status, "Suspended")["status"] == "True"
    job_id = status["azureOpenAI"]["jobID"]
    assert space.remote_job(job_id)["status"] == "paused"
    run.set(suspend=False)
    status = run.until_phase("Succeeded", within=3 * SOON)
    assert status["azureOpenAI"]["jobID"] == job_id
