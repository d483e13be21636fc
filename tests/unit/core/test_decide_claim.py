"""The claim that a job in the cluster writes to: its own, gone, or never shared."""

from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Phase, Reason
from finetune_api.status import CheckpointStatus, KubernetesStatus, Progress
from finetune_operator.core import names
from finetune_operator.core.decide import decide
from finetune_operator.core.plan import DeleteChild, FindClaim, WriteStatus
from support.builders import (
    POLICY,
    a_child,
    a_job,
    a_pod,
    an_event,
    reason_of,
    seen,
    stamp,
    started,
    with_status,
)

GONE = f"PersistentVolumeClaim {names.output_claim_name(a_job())}"
SAVED = KubernetesStatus(checkpoint=CheckpointStatus(step=42), replaced_at_step=42)
OWNED = KubernetesStatus(claim_policy="Delete")


def _resumed(kubernetes: KubernetesStatus, message: str | None = None, **spec: Any) -> FineTuneJob:
    """Between two attempts."""
    job = started(a_job(spec=spec), kubernetes=kubernetes, progress=Progress(step=44))
    assert job.status.attempts
    over = job.status.attempts[0].model_copy(update={"end_time": stamp(-9), "message": message})
    return with_status(job, attempts=[over])


@pytest.mark.parametrize(
    ("job", "want"),
    [
        pytest.param(_resumed(SAVED), True, id="a checkpoint is in it"),
        pytest.param(
            _resumed(OWNED, deletionPolicy={"model": "Delete"}), True, id="it goes with the job"
        ),
        pytest.param(_resumed(KubernetesStatus()), False, id="status says nothing of it"),
        pytest.param(
            _resumed(SAVED, output={"volume": {"claimName": "models", "path": "orca"}}),
            False,
            id="the user's own volume",
        ),
    ],
)
def test_the_claim_is_looked_for_before_an_attempt_builds_on_it(
    job: FineTuneJob, want: bool
) -> None:
    first = decide(seen(job), POLICY).action
    assert (first == FindClaim(name=names.output_claim_name(job))) == want
    assert isinstance(decide(seen(job, claim_there=True), POLICY).action, WriteStatus)


@pytest.mark.parametrize(
    ("before", "want_before"),
    [
        pytest.param(f"{GONE} was deleted", "", id="after a pod that lacked it: said once"),
        pytest.param(None, "", id="after a pause"),
        pytest.param("A bug.", "A bug; ", id="after a failure"),
    ],
)
def test_a_claim_that_is_gone_is_told_and_its_checkpoint_forgotten(
    before: str | None, want_before: str
) -> None:
    job = _resumed(SAVED, before)
    plan = decide(seen(job, claim_there=False), POLICY)
    told_so = (
        f"PersistentVolumeClaim {names.output_claim_name(job)} was deleted, and with it the"
        " checkpoint of step 42: training starts from the beginning, with a new one"
    )
    assert (plan.action, plan.look_again_after) == (None, 0)
    assert (plan.status.message, reason_of(plan)) == (told_so, Reason.CHECKPOINT_LOST)
    assert plan.status.attempts is not None
    assert plan.status.attempts[-1].message == want_before + told_so, "it stays to be read"
    assert (plan.status.kubernetes, plan.status.progress) == (KubernetesStatus(), None)
    forgotten = job.model_copy(update={"status": plan.status})
    after = decide(seen(forgotten, claim_there=False), POLICY)
    assert isinstance(after.action, WriteStatus)
    assert after.action.status.attempt == 2


@pytest.mark.parametrize("whose", ["its own", "the user's"])
@pytest.mark.parametrize("kind", ["ConfigMap", "PersistentVolumeClaim"])
def test_what_the_operator_made_is_not_the_users_to_mend(kind: str, whose: str) -> None:
    job = started(a_job())
    child = a_child(job)
    pod = a_pod(child, phase="Pending", node="n1")
    own = {"ConfigMap": child.name, "PersistentVolumeClaim": names.output_claim_name(job)}[kind]
    name = own if whose == "its own" else "gsm8k"
    said = f'MountVolume.SetUp failed for volume "x" : {kind.lower()} "{name}" not found'
    plan = decide(seen(job, child, pods=(pod,), events=(an_event("FailedMount", said),)), POLICY)
    assert plan.status.attempts is not None
    again = plan.status.attempts[-1].end_time is not None
    assert again == (whose == "its own"), "its Job is stopped, another attempt has one of its own"
    assert plan.status.retries == (1 if again else None), "who deletes it ever again ends the job"
    if again:
        assert plan.status.message == f"{kind} {name} was deleted; trying again (1 of 3)"


def test_what_is_deleted_again_and_again_ends_the_job() -> None:
    job = started(a_job(), retries=3)
    child, claim = a_child(job), names.output_claim_name(job)
    event = an_event("FailedMount", f'persistentvolumeclaim "{claim}" not found')
    pod = a_pod(child, phase="Pending", node="n1")
    plan = decide(seen(job, child, pods=(pod,), events=(event,)), POLICY)
    told = f"PersistentVolumeClaim {claim} was deleted; all 3 retries are used"
    assert (plan.status.phase, plan.status.message) == (Phase.FAILED, told)


def test_two_attempts_never_share_a_volume() -> None:
    job = started(a_job(), attempt=2)
    old = a_child(job, attempt=1)
    assert decide(seen(job, old), POLICY).action == DeleteChild(name=old.name, uid=old.uid)
    waiting = decide(seen(job, a_child(job, attempt=1, deleting=True)), POLICY)
    assert waiting.action is None
    assert waiting.status.message == f"Waiting for Job {old.name} to stop"
