"""The in-cluster backend: one child Job per attempt, its retries, its pauses, its result.

Pure. A pod lost to a disruption is replaced within its child Job and costs no retry; any other
failure ends that Job, and another attempt is decided here.
"""

from dataclasses import replace

from finetune_api.constants import COMPONENT_TRAINER
from finetune_api.reasons import ConditionType, ExitCode, Phase, Reason
from finetune_api.status import FineTuneJobStatus, KubernetesStatus, Progress
from finetune_operator.core import (
    attempts,
    claims,
    conditions,
    failure,
    kubernetes_end,
    names,
    progress,
)
from finetune_operator.core.conditions import TRUE, Fact
from finetune_operator.core.observed import ChildJob, ChildPod, ChildState, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    ConfirmAbsent,
    CreateTraining,
    DeleteChild,
    Policy,
    ReadPods,
    WriteStatus,
)
from finetune_operator.core.pod_story import follow, told_by
from finetune_operator.core.waits import current_pod, lacks_ours, until_gone, waiting


def training_child(seen: Observed) -> ChildJob | None:
    """The child Job of the current attempt."""
    if seen.job.status.attempt is None:
        return None
    wanted = names.training_name(seen.job, seen.job.status.attempt)
    return next((child for child in seen.jobs if child.name == wanted), None)


def active_children(seen: Observed) -> list[ChildJob]:
    """Children that run or could run."""
    return [child for child in seen.jobs if child.state is ChildState.ACTIVE]


def leftover(seen: Observed) -> ChildJob | None:
    """A trainer Job of an earlier attempt that is not over: two must never share a volume."""
    over = attempts.is_over(seen.job.status)
    current = None if over else training_child(seen)
    return next(
        (
            child
            for child in active_children(seen)
            if child.component == COMPONENT_TRAINER and child is not current
        ),
        None,
    )


def decide(seen: Observed, policy: Policy) -> Outcome:
    """The next step of training in the cluster; the data is in order."""
    status = seen.job.status
    if (old := leftover(seen)) is not None:
        return _wait_for_removal(seen, old)
    if attempts.is_over(status):
        return _next_attempt(seen, policy)
    if (over := ended(seen, policy)) is not None:
        return over
    child = training_child(seen)
    if child is None:
        return _absent(seen)
    if child.deleting:
        return _lost(seen, child)
    return _active(seen, policy, child)


def _wait_for_removal(seen: Observed, child: ChildJob) -> Outcome:
    if not child.deleting:
        return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    message = f"Waiting for Job {child.name} to stop"
    return until_gone(seen, conditions.working(Phase.PENDING, Reason.STARTING, message), child)


def _next_attempt(seen: Observed, policy: Policy) -> Outcome:
    """Begin it, a retry only after its delay: what failed at once would fail at once again."""
    status = seen.job.status
    told = conditions.get(status, ConditionType.READY)
    if status.attempts and told is not None and told.reason == Reason.RETRYING:
        since, retries = status.attempts[-1].end_time, status.retries or 0
        wait = attempts.seconds_to_retry(since, retries, policy.retry_delay, seen.now)
        if wait > 0:
            return Outcome(look_again_after=wait)
    if (lost := claims.lost(seen)) is not None:
        return lost
    # After a status was lost there may be Jobs that it said nothing of any more.
    known = [names.attempt_number(child.name) or 0 for child in seen.jobs]
    started = attempts.begin(
        seen.job,
        seen.now,
        above=max(known, default=0),
        kubernetes=_fresh(status),
        progress=_saved(status),
        result=None,
    )
    return Outcome(action=WriteStatus(status=started))


def _saved(status: FineTuneJobStatus) -> Progress | None:
    """Where the next attempt begins: at the checkpoint, of whose loss nothing is known."""
    checkpoint = status.kubernetes.checkpoint if status.kubernetes else None
    if checkpoint is None:
        return None
    total = status.progress.total_steps if status.progress else None
    percent = min(99, 100 * checkpoint.step // total) if total else None
    return Progress(
        percent=percent,
        text=None if percent is None else f"{percent}%",
        step=checkpoint.step,
        total_steps=total,
    )


def _fresh(status: FineTuneJobStatus) -> KubernetesStatus:
    """Nothing of the last child, but the checkpoint and what speaks for NoProgress."""
    before = status.kubernetes or KubernetesStatus()
    return before.model_copy(update={"job_name": None, "pod_name": None, "node_name": None})


def _absent(seen: Observed) -> Outcome:
    """Not created yet, or gone: only the API server itself knows."""
    status = seen.job.status
    recorded = status.kubernetes.job_name if status.kubernetes else None
    if recorded is None:
        return Outcome(action=CreateTraining(attempt=status.attempt or 1))
    if not seen.found.confirmed_absent:
        return Outcome(action=ConfirmAbsent(name=recorded))
    return _lost(seen, None)


def _lost(seen: Observed, child: ChildJob | None) -> Outcome:
    """Deleted by somebody: by us, if a pause had begun and was taken back half-way."""
    if conditions.pause_was_asked(seen.job.status):
        message = "Going on as soon as the paused pod has stopped"
        summary = conditions.working(Phase.PENDING, Reason.STARTING, message)
        return Outcome(status=suspended(seen), summary=summary, again=True)
    return kubernetes_end.failed(seen, _deleted("The attempt's Job"), child, None)


def _deleted(what: str) -> failure.Verdict:
    """Another attempt makes a new one; who deletes that too uses up the retries."""
    return failure.Verdict(reason=Reason.TRAINING_FAILED, message=f"{what} was deleted", retry=True)


def ended(seen: Observed, policy: Policy) -> Outcome | None:
    """What follows when the attempt's Job is over; None while it is not."""
    child = training_child(seen)
    over = attempts.is_over(seen.job.status) or child is None or child.deleting
    if over or child is None or child.state is ChildState.ACTIVE:
        return None
    complete = child.state is ChildState.COMPLETE
    pod = _successful_pod(seen, child) if complete else current_pod(seen, child)
    if (pod is None or pod.exit_code is None) and not seen.found.pods_confirmed:
        return Outcome(action=ReadPods())
    if complete:
        return kubernetes_end.complete(seen, child, pod)
    return kubernetes_end.failed(seen, failure.judge(child, pod), child, pod)


def _successful_pod(seen: Observed, child: ChildJob) -> ChildPod | None:
    """The pod that completed the Job; those lost before it may be there still."""
    pods = (pod for pod in seen.pods if pod.job_uid == child.uid)
    return next((pod for pod in pods if pod.exit_code == ExitCode.OK), None)


def suspended(seen: Observed) -> FineTuneJobStatus:
    """Status with the attempt ended on request, which says nothing of its progress."""
    status = last_seen(seen)
    if attempts.is_over(status):
        return status
    kubernetes = (status.kubernetes or KubernetesStatus()).model_copy(
        update={"replacements": None, "replaced_at_step": None}
    )
    over = attempts.end(status, seen.now, Reason.SUSPENDED, "")
    return over.model_copy(update={"kubernetes": kubernetes})


def last_seen(seen: Observed) -> FineTuneJobStatus:
    """Status with what the current child and its pod told last."""
    child = training_child(seen)
    if child is None or attempts.is_over(seen.job.status):
        return seen.job.status
    return follow(seen, child, current_pod(seen, child))


def _facts(child: ChildJob) -> tuple[Fact, ...]:
    created = Fact(
        type=ConditionType.SUBMITTED,
        status=TRUE,
        reason=Reason.JOB_CREATED,
        message=f"Job {child.name} was created",
    )
    if child.queue is None or child.suspended:
        return (created,)
    admitted = Fact(
        type=ConditionType.QUOTA_RESERVED,
        status=TRUE,
        reason=Reason.ADMITTED,
        message=f"Queue {child.queue} admitted the Job",
    )
    return (created, admitted)


def _active(seen: Observed, policy: Policy, child: ChildJob) -> Outcome:
    pod = current_pod(seen, child)
    status = follow(seen, child, pod)
    lost = (status.kubernetes or KubernetesStatus()).replacements or 0
    if lost >= policy.no_progress_limit:
        message = (
            f"{lost} pods were lost without a step gained:"
            " look for what ends them, or save checkpoints more often"
        )
        return kubernetes_end.over(
            seen, status, failure.Verdict(reason=Reason.NO_PROGRESS, message=message, retry=False)
        )
    if pod is not None and pod.phase in ("Succeeded", "Failed"):
        return Outcome(status=status)  # the Job's own verdict follows, or another pod
    running = pod is not None and pod.phase == "Running"
    if not running and child.spec_digest not in ("", names.pod_digest(seen.job)):
        return _edited(seen, status)
    if pod is not None and pod.deleting and running:
        message = "Waiting for the training pod to save a checkpoint and stop"
        stopping = conditions.working(Phase.RUNNING, Reason.RUNNING, message)
        return replace(until_gone(seen, stopping, child), status=status)
    if pod is not None and running:
        said = progress.sentence(
            status, "The training pod is running", progress.scoring(told_by(seen, child))
        )
        left = progress.seconds_to_silence(status, pod.created, seen.now)
        said += progress.SILENCE if left <= 0 else ""
        summary = conditions.working(Phase.RUNNING, Reason.RUNNING, said, *_facts(child))
        return Outcome(status=status, summary=summary, look_again_after=left if left > 0 else None)
    starting = "Starting the training pod"
    otherwise = conditions.working(Phase.PENDING, Reason.STARTING, starting, *_facts(child))
    outcome = waiting(seen, policy, child, otherwise)
    if outcome.action is not None:
        return outcome
    told = outcome.summary
    if told is not None and (lacking := lacks_ours(seen.job, told, child)) is not None:
        return kubernetes_end.failed(seen, _deleted(lacking), child, pod)
    return Outcome(status=status, summary=told, look_again_after=outcome.look_again_after)


def _edited(seen: Observed, status: FineTuneJobStatus) -> Outcome:
    """A pod that could not start, and settings that somebody has mended: no retry is used up."""
    message = "Starting again with the edited settings"
    return Outcome(
        status=attempts.end(status, seen.now, Reason.RETRYING, message),
        summary=conditions.working(Phase.PENDING, Reason.STARTING, message),
        again=True,
    )
