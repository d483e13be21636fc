"""After the end, and at a deletion: what is cleaned up, and how long that is insisted on."""

from typing import Any

import pytest

from finetune_api.constants import DETACH_ANNOTATION
from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState, Observed
from finetune_operator.core.plan import (
    CancelRemote,
    DeleteChild,
    DropFinalizer,
    Look,
    Refresh,
    SetTtl,
)
from support.builders import (
    NOW,
    POLICY,
    a_child,
    a_hosted,
    a_job,
    a_remote,
    at,
    facts,
    over,
    prepared,
    seen,
    stamp,
    started,
    submitted,
)

# After the end


FAILED = conditions.failed(Reason.TRAINING_FAILED, "It failed")


@pytest.mark.parametrize("final", [FAILED, conditions.succeeded("Done"), conditions.cancelled("")])
def test_what_still_runs_is_stopped(final: conditions.Summary) -> None:
    job = over(started(a_job()), final)
    child = a_child(job)
    assert decide(seen(job, child), POLICY).action == DeleteChild(name=child.name, uid=child.uid)
    plan = decide(seen(job, a_child(job, deleting=True)), POLICY)
    assert (plan.action, plan.look_again_after) == (None, None)


@pytest.mark.parametrize("final", [FAILED, conditions.succeeded("Done"), conditions.cancelled("")])
def test_nothing_runs_again_when_the_children_are_gone(final: conditions.Summary) -> None:
    job = over(started(a_job()), final)
    plan = decide(seen(job), POLICY)
    assert (plan.action, plan.look_again_after, plan.status.phase) == (None, None, final.phase)


def test_the_finalizer_is_dropped() -> None:
    assert decide(seen(over(a_hosted(), FAILED)), POLICY).action == DropFinalizer()


def test_the_ttl_is_set_on_every_child_that_lacks_it() -> None:
    job = over(started(a_job(spec={"ttlSecondsAfterFinished": 60}), attempt=2), FAILED)
    done = {"state": ChildState.FAILED}
    first = a_child(job, attempt=1, has_ttl=True, **done)
    second = a_child(job, attempt=2, **done)
    going = a_child(job, prepare=0, deleting=True, state=ChildState.COMPLETE)
    plan = decide(seen(job, first, going, second), POLICY)
    assert plan.action == SetTtl(name=second.name, seconds=60)


def test_an_edit_after_the_end_is_observed() -> None:
    job = over(started(a_job(generation=2)), FAILED)
    status = job.status.model_copy(update={"observed_generation": 1})
    plan = decide(seen(job.model_copy(update={"status": status})), POLICY)
    assert plan.status.observed_generation == 2


# Deletion


def going(job: FineTuneJob, **annotations: str) -> FineTuneJob:
    meta = job.metadata.model_copy(
        update={"deletion_timestamp": stamp(-9999), "annotations": annotations}
    )
    return job.model_copy(update={"metadata": meta})


@pytest.mark.parametrize(
    ("observed", "want"),
    [
        pytest.param(seen(going(started(a_job()))), None, id="in the cluster: owners see to it"),
        pytest.param(
            seen(going(a_hosted()), remote=a_remote()),
            CancelRemote(job_id="ftjob-1"),
            id="a running hosted job is cancelled",
        ),
        pytest.param(
            seen(going(a_hosted()), remote=a_remote("cancelled")), DropFinalizer(), id="until it is"
        ),
        pytest.param(
            seen(going(a_hosted())), Refresh(job_id="ftjob-1"), id="one not seen yet is asked for"
        ),
        pytest.param(
            seen(going(over(a_hosted(), FAILED))), DropFinalizer(), id="nothing to do after the end"
        ),
        pytest.param(
            seen(going(prepared(a_job(hosted=True, held=True)))),
            DropFinalizer(),
            id="nothing was submitted",
        ),
        pytest.param(
            seen(going(a_hosted(**{"deletionPolicy.job": "Keep"})), remote=a_remote()),
            DropFinalizer(),
            id="the policy is to let it run",
        ),
        pytest.param(
            seen(going(a_hosted(), **{DETACH_ANNOTATION: "true"}), remote=a_remote()),
            DropFinalizer(),
            id="detached",
        ),
        pytest.param(
            seen(going(a_hosted(), **{DETACH_ANNOTATION: "yes"}), remote=a_remote()),
            CancelRemote(job_id="ftjob-1"),
            id="detached in other words",
        ),
    ],
)
def test_deletion(observed: Observed, want: Any) -> None:
    assert decide(observed, POLICY).action == want


@pytest.mark.parametrize(
    ("known", "want"),
    [
        pytest.param(facts(here=True), DropFinalizer, id="never sent"),
        pytest.param(facts(since=0), Look, id="perhaps sent by the leader before"),
        pytest.param(facts(since=-99, looked=-1), DropFinalizer, id="surely never sent"),
    ],
)
def test_deletion_with_a_submission_in_doubt(known: Any, want: type) -> None:
    job = going(submitted(a_job(hosted=True, held=True), job_id=None))
    assert isinstance(decide(seen(job, submission=known), POLICY).action, want)


@pytest.mark.parametrize(
    ("since", "job_id", "want"),
    [
        pytest.param(
            0, "ftjob-1", Refresh(job_id="ftjob-1"), id="deleted while nobody was looking"
        ),
        pytest.param(-599, "ftjob-1", Refresh(job_id="ftjob-1"), id="insisting for ten minutes"),
        pytest.param(-601, "ftjob-1", DropFinalizer(orphaned="ftjob-1"), id="then letting go"),
        pytest.param(-601, None, DropFinalizer(orphaned="marker"), id="by its marker at least"),
    ],
)
def test_credentials_that_are_gone_do_not_hold_an_object_for_ever(
    since: float, job_id: str | None, want: Any
) -> None:
    job = going(submitted(a_job(hosted=True, held=True), job_id=job_id))
    part = job.status.azure_open_ai
    assert part is not None
    assert part.submission is not None
    if want == DropFinalizer(orphaned="marker"):
        want = DropFinalizer(orphaned=part.submission.marker)
    doubt = facts(since=-10, looked=-1)
    plan = decide(seen(job, deleting_since=at(since), submission=doubt), POLICY)
    assert plan.action == want


def test_the_end_of_insisting_wakes_the_job() -> None:
    job = going(a_hosted())
    plan = decide(seen(job, remote=a_remote(), cancel_sent=True, deleting_since=at(-590)), POLICY)
    assert plan.look_again_after == 10


def test_a_deletion_without_our_finalizer_is_nobody_of_ours() -> None:
    plan = decide(seen(going(a_job(hosted=True)), deleting_since=NOW), POLICY)
    assert (plan.action, plan.look_again_after) == (None, None)
