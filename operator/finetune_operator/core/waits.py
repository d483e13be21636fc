"""A child that is not running yet: when to read Events, and when waiting becomes Stalled.

Pure; the explanations themselves are in `waiting`.
"""

from dataclasses import replace

from finetune_api.reasons import ConditionType, Phase
from finetune_operator.core.conditions import FALSE, Fact, Summary
from finetune_operator.core.observed import ChildJob, ChildPod, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import Policy, ReadEvents
from finetune_operator.core.waiting import Wait, explain

_EXPLAIN_EVERY = 10.0
"""Seconds between two looks at a child that does not start."""


def current_pod(seen: Observed, child: ChildJob) -> ChildPod | None:
    """The newest pod of a child Job, one that is not on its way out if there is one."""
    pods = [pod for pod in seen.pods if pod.job_uid == child.uid]
    return max(pods, key=lambda pod: (not pod.deleting, pod.created), default=None)


def waiting(seen: Observed, policy: Policy, child: ChildJob, otherwise: Summary) -> Outcome:
    """Why the child does not run, or `otherwise` when it does or nothing is known to be wrong."""
    pod = current_pod(seen, child)
    if pod is not None and pod.phase != "Pending":
        return Outcome(summary=otherwise)
    age = (seen.now - (pod.created if pod else child.created)).total_seconds()
    if not child.suspended and seen.events is None:
        if age < policy.explain_after:
            return Outcome(summary=otherwise, look_again_after=policy.explain_after - age)
        return Outcome(action=ReadEvents(job_uid=child.uid, pod_uid=pod.uid if pod else None))
    wait = explain(child, pod, seen.events or ())
    if wait is None:
        return Outcome(summary=otherwise, look_again_after=_EXPLAIN_EVERY)
    return Outcome(
        summary=_summary(wait, otherwise, stalled=wait.for_user and age >= policy.stalled_after),
        look_again_after=None if child.suspended else _EXPLAIN_EVERY,
    )


def _summary(wait: Wait, otherwise: Summary, *, stalled: bool) -> Summary:
    suspended_by_queue = not wait.for_user
    extra = otherwise.extra
    if suspended_by_queue:
        extra = (
            *extra,
            Fact(
                type=ConditionType.QUOTA_RESERVED,
                status=FALSE,
                reason=wait.reason,
                message=wait.message,
            ),
        )
    return replace(
        otherwise,
        phase=Phase.QUEUED if suspended_by_queue else otherwise.phase,
        reason=wait.reason,
        message=wait.message,
        reconciling=not stalled,
        stalled=stalled,
        extra=extra,
    )
