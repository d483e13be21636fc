"""A child that does not run yet, or does not stop: when to read Events, and what becomes Stalled.

Pure; the explanations themselves are in `waiting`.
"""

from dataclasses import replace
from datetime import datetime

from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.core import conditions, names
from finetune_operator.core.conditions import FALSE, Fact, Summary, parse_time
from finetune_operator.core.manifests import TRAINER_ACCOUNT
from finetune_operator.core.mounts import mounted_objects
from finetune_operator.core.observed import ChildJob, ChildPod, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import EnsureAccount, Policy, ReadEvents
from finetune_operator.core.waiting import Wait, explain

_SHORTEST_LOOK, _LONGEST_LOOK = 5.0, 60.0
"""Seconds between two looks at a child that does not start: the older the wait, the fewer."""
_QUEUE_EXPLAINED_AFTER = 180.0
"""Seconds; Kueue admits within seconds what has quota."""

_OVERDUE_SECONDS = 30.0
"""After a pod's grace: a kubelet that is there has reported its end by then."""


def current_pod(seen: Observed, child: ChildJob) -> ChildPod | None:
    """The newest pod of a child Job, one that is not on its way out if there is one."""
    pods = [pod for pod in seen.pods if pod.job_uid == child.uid]
    return max(pods, key=_newest, default=None)


def _newest(pod: ChildPod) -> tuple[bool, datetime, bool, datetime]:
    """Creation times count in seconds: of two in one second, the one that ended last."""
    return (not pod.deleting, pod.created, pod.finished is None, pod.finished or pod.created)


def waiting(seen: Observed, policy: Policy, child: ChildJob, otherwise: Summary) -> Outcome:
    """Why the child does not run, or `otherwise` when it does or nothing is known to be wrong."""
    pod = current_pod(seen, child)
    if pod is not None and pod.phase != "Pending":
        return Outcome(summary=otherwise)
    if child.suspended:
        return _queued(seen, child, otherwise)
    since = pod.created if pod else child.started or child.created
    age = (seen.now - since).total_seconds()
    if age < policy.explain_after:
        return Outcome(summary=otherwise, look_again_after=policy.explain_after - age)
    wait = explain(pod, seen.found.events or (), seen.now, mounted_objects(seen.job))
    if wait is None and seen.found.events is None:
        return Outcome(action=ReadEvents(job_uid=child.uid, pod_uid=pod.uid if pod else None))
    look = min(_LONGEST_LOOK, max(_SHORTEST_LOOK, age / 4))
    if wait is None or _lacks_our_account(wait):
        lacking = wait is not None and not seen.found.account_ensured
        return Outcome(
            action=EnsureAccount() if lacking else None, summary=otherwise, look_again_after=look
        )
    stalled = age >= policy.stalled_after
    return Outcome(summary=_summary(seen, wait, otherwise, stalled=stalled), look_again_after=look)


def _lacks_our_account(wait: Wait) -> bool:
    """Not the user's to mend: the account is the operator's, and went with its namespace."""
    ours = f'serviceaccount "{TRAINER_ACCOUNT}"' in wait.message
    return wait.reason is Reason.SERVICE_ACCOUNT_NOT_FOUND and ours


def until_gone(seen: Observed, summary: Summary, *children: ChildJob) -> Outcome:
    """The summary while pods of these children stop; one that does not is named, with a remedy.

    Nobody replaces a pod before it is gone, and a lost node keeps it for ever.
    """
    uids = {child.uid for child in children}
    going = [(pod.due, pod) for pod in seen.pods if pod.job_uid in uids and pod.due is not None]
    if not going:
        return Outcome(summary=summary)
    due, pod = min(going, key=lambda one: one[0])
    left = (due - seen.now).total_seconds() + _OVERDUE_SECONDS
    if left > 0:
        return Outcome(summary=summary, look_again_after=left)
    by = f"{due:%Y-%m-%d %H:%M:%S} UTC"
    message = (
        f"Pod {pod.name} on node {pod.node or 'unknown'} should have stopped by {by}: if the node"
        " is gone, delete the Node, or the pod with --force"
    )
    if pod.exit_code is not None:
        message = (
            f"Pod {pod.name} has ended and should have been gone by {by}: see which of its"
            " finalizers holds it, and whether what should remove that runs"
        )
    return Outcome(summary=replace(summary, message=message, reconciling=False, stalled=True))


def lacks_ours(job: FineTuneJob, summary: Summary, child: ChildJob) -> str | None:
    """What the pod lacks, if the operator made it: the attempt's ConfigMap, the job's own claim."""
    ours = {
        Reason.CONFIG_MAP_NOT_FOUND: f"ConfigMap {child.name}",
        Reason.VOLUME_NOT_FOUND: f"PersistentVolumeClaim {names.output_claim_name(job)}",
    }
    lacking = ours.get(summary.reason)
    return lacking if lacking and summary.message.startswith(f"{lacking} is missing") else None


def _queued(seen: Observed, child: ChildJob, otherwise: Summary) -> Outcome:
    """Held back by a queue: its own change wakes us, but where there is no queue nothing does.

    A wait for quota may last for days and is nobody's fault: it is explained, never Stalled.
    """
    queue = f"queue {child.queue}" if child.queue else "its queue"
    message = f"Waiting in {queue} for quota"
    told = conditions.get(seen.job.status, ConditionType.QUOTA_RESERVED)
    waits = told is not None and told.status is FALSE
    since = parse_time(told.last_transition_time) if told and waits else seen.now
    left = _QUEUE_EXPLAINED_AFTER - (seen.now - since).total_seconds()
    if left <= 0:
        message += (
            f"; nothing has admitted Job {child.name} yet: check that Kueue runs, that namespace"
            f" {seen.job.metadata.namespace} has this LocalQueue, and its ClusterQueue quota left"
        )
    fact = Fact(
        type=ConditionType.QUOTA_RESERVED, status=FALSE, reason=Reason.QUEUED, message=message
    )
    summary = replace(
        otherwise,
        phase=Phase.QUEUED,
        reason=Reason.QUEUED,
        message=message,
        extra=(*otherwise.extra, fact),
    )
    return Outcome(summary=summary, look_again_after=left if left > 0 else None)


def _summary(seen: Observed, wait: Wait, otherwise: Summary, *, stalled: bool) -> Summary:
    told = conditions.get(seen.job.status, ConditionType.READY)
    known = told is not None and told.reason == wait.reason
    return replace(
        otherwise,
        reason=wait.reason,
        message=told.message if told and known and wait.repeated else wait.message,
        reconciling=not stalled,
        stalled=stalled,
    )
