"""The job's own PVC: what becomes of it, and of what status says when it is gone.

Pure. It is created without an owner; only the deletion policy `Delete` gives it one, at any time.
"""

from finetune_api.reasons import Phase, Reason
from finetune_api.spec import DeletePolicy
from finetune_api.status import KubernetesStatus
from finetune_operator.core import attempts, conditions, names
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import FindClaim, OwnClaim


def decide(seen: Observed) -> Outcome | None:
    """The change of owner that the policy asks for; None if there is nothing to change."""
    job, part = seen.job, seen.job.status.kubernetes
    if job.spec.output is not None or part is None or part.job_name is None:
        return None
    wanted = job.spec.deletion_policy.model
    if wanted == (part.claim_policy or DeletePolicy.KEEP):
        return None
    after = part.model_copy(update={"claim_policy": wanted.value})
    return Outcome(
        action=OwnClaim(
            name=names.output_claim_name(job),
            delete=wanted is DeletePolicy.DELETE,
            status=job.status.model_copy(update={"kubernetes": after}),
        )
    )


def lost(seen: Observed) -> Outcome | None:
    """Before another attempt: tells of a claim that somebody deleted; None if all is as it was.

    It is asked for only where status says something that would not be true of a new one.
    """
    job, part = seen.job, seen.job.status.kubernetes
    if job.spec.output is not None or part is None:
        return None
    if part.checkpoint is None and part.claim_policy is None:
        return None
    name = names.output_claim_name(job)
    if seen.found.claim_there is None:
        return Outcome(action=FindClaim(name=name))
    if seen.found.claim_there:
        return None
    message = f"PersistentVolumeClaim {name} was deleted"
    if part.checkpoint is not None:
        message += f", and with it the checkpoint of step {part.checkpoint.step}"
    message += ": training starts from the beginning, with a new one"
    told = attempts.remark(job.status, message)
    forgotten = KubernetesStatus(queue_name=part.queue_name)
    return Outcome(
        status=told.model_copy(update={"kubernetes": forgotten, "progress": None}),
        summary=conditions.working(Phase.PENDING, Reason.CHECKPOINT_LOST, message),
        again=True,
    )
