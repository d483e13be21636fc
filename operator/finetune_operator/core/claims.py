"""The job's own PVC: whether it goes with the job follows the deletion policy, at any time.

Pure. It is created without an owner; only the policy `Delete` gives it one.
"""

from finetune_api.spec import DeletePolicy
from finetune_operator.core import names
from finetune_operator.core.observed import Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import OwnClaim


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
