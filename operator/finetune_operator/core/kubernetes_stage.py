"""The in-cluster backend: one child Job per attempt, retries, replacements, the result.

Pure. A pod lost to a disruption is replaced within its child Job and costs no retry; any other
failure ends that Job, and another attempt is decided here.
"""

from finetune_api.constants import COMPONENT_TRAINER
from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.spec import RetryPolicy
from finetune_api.status import CheckpointStatus, FineTuneJobStatus, KubernetesStatus, Result
from finetune_operator.core import attempts, conditions, failure, names, progress
from finetune_operator.core.conditions import TRUE, Fact
from finetune_operator.core.observed import ChildJob, ChildPod, ChildState, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import (
    ConfirmAbsent,
    CreateTraining,
    DeleteChild,
    ExportResult,
    Policy,
    WriteStatus,
)
from finetune_operator.core.waits import current_pod, waiting

RESULT_FOLDER = "result"


def output_location(job: FineTuneJob) -> tuple[str, str]:
    """The claim and the path in it where the job writes."""
    if job.spec.output:
        return job.spec.output.volume.claim_name, job.spec.output.volume.path.strip("/")
    return names.output_claim_name(job), job.metadata.name


def result_uri(seen: Observed) -> str:
    """The reference of the result."""
    claim, path = output_location(seen.job)
    return f"pvc://{claim}/{path}/{RESULT_FOLDER}"


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
    current = training_child(seen)
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
        return _wait_for_removal(old)
    if attempts.is_over(status):
        started = attempts.begin(seen.job, seen.now, kubernetes=_fresh(status))
        return Outcome(action=WriteStatus(status=started))
    child = training_child(seen)
    if child is None:
        return _absent(seen)
    if child.deleting:
        return _lost(seen)
    match child.state:
        case ChildState.ACTIVE:
            return _active(seen, policy, child)
        case ChildState.COMPLETE:
            return _complete(seen, child)
        case ChildState.FAILED:
            pod = current_pod(seen, child)
            return _failed(seen, failure.judge(child, pod), pod)


def _wait_for_removal(child: ChildJob) -> Outcome:
    if not child.deleting:
        return Outcome(action=DeleteChild(name=child.name, uid=child.uid))
    message = f"Waiting for Job {child.name} to stop"
    return Outcome(summary=conditions.working(Phase.PENDING, Reason.STARTING, message))


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
    if not seen.confirmed_absent:
        return Outcome(action=ConfirmAbsent(name=recorded))
    return _lost(seen)


def _lost(seen: Observed) -> Outcome:
    verdict = failure.Verdict(
        reason=Reason.TRAINING_FAILED, message="The attempt's Job was deleted", retry=True
    )
    return _failed(seen, verdict, None)


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
    status = _follow(seen, child, pod)
    kubernetes = status.kubernetes or KubernetesStatus()
    if (kubernetes.replacements or 0) >= policy.no_progress_limit:
        message = (
            f"{kubernetes.replacements} pods were lost without a step gained:"
            " look for what ends them, or save checkpoints more often"
        )
        return Outcome(
            status=attempts.end(status, seen.now, Reason.NO_PROGRESS, message),
            summary=conditions.failed(Reason.NO_PROGRESS, message),
            finished=True,
        )
    running = pod is not None and pod.phase == "Running"
    otherwise = conditions.working(
        Phase.RUNNING if running else Phase.PENDING,
        Reason.RUNNING if running else Reason.STARTING,
        running_message(status) if running else "Starting the training pod",
        *_facts(child),
    )
    outcome = waiting(seen, policy, child, otherwise)
    if outcome.action is not None:
        return outcome
    return Outcome(
        status=status, summary=outcome.summary, look_again_after=outcome.look_again_after
    )


def running_message(status: FineTuneJobStatus) -> str:
    """`Step 120 of 600, loss 0.83`, as far as it is known."""
    told = status.progress
    if told is None or told.step is None:
        return "The training pod is running"
    total = f" of {told.total_steps}" if told.total_steps else ""
    loss = f", loss {told.loss}" if told.loss else ""
    return f"Step {told.step}{total}{loss}"


def _follow(seen: Observed, child: ChildJob, pod: ChildPod | None) -> FineTuneJobStatus:
    """Status with the child's pod, its progress and its replacements."""
    status = seen.job.status
    before = status.kubernetes or KubernetesStatus()
    told = seen.progress if seen.progress and seen.progress.job_uid == child.uid else None
    moved = progress.from_pod(told) if told else status.progress
    checkpoint = (progress.reported_checkpoint(told) if told else None) or _saved(seen, child)
    update: dict[str, object] = {"job_name": child.name, "queue_name": child.queue}
    if checkpoint and checkpoint.step >= (before.checkpoint.step if before.checkpoint else 0):
        update["checkpoint"] = checkpoint.model_copy(
            update={"path": checkpoint.path or f"{result_uri(seen).rsplit('/', 1)[0]}/checkpoints"}
        )
    after = before.model_copy(update=update)
    if pod is not None and pod.name != before.pod_name:
        after = _replaced(after, before, progress.gained_step(after, moved)).model_copy(
            update={"pod_name": pod.name}
        )
    if pod is not None and pod.node:
        after = after.model_copy(update={"node_name": pod.node})
    followed = status.model_copy(update={"kubernetes": after, "progress": moved})
    return attempts.note(
        followed, step=moved.step if moved else None, node=pod.node if pod else None
    )


def _saved(seen: Observed, child: ChildJob) -> CheckpointStatus | None:
    """The checkpoint that a replaced pod's last words name."""
    reports = [failure.read_report(pod) for pod in seen.pods if pod.job_uid == child.uid]
    saved = [report.checkpoint for report in reports if report and report.checkpoint]
    return max(saved, key=lambda checkpoint: checkpoint.step, default=None)


def _replaced(after: KubernetesStatus, before: KubernetesStatus, step: int) -> KubernetesStatus:
    """Counts a replacement, from anew when a step was gained since the last one."""
    if before.pod_name is None and not before.replacements and before.replaced_at_step is None:
        return after.model_copy(update={"replaced_at_step": step})
    gained = step > (before.replaced_at_step or 0)
    return after.model_copy(
        update={
            "replacements": 1 if gained else (before.replacements or 0) + 1,
            "replaced_at_step": step,
        }
    )


def _complete(seen: Observed, child: ChildJob) -> Outcome:
    pod = current_pod(seen, child)
    report = failure.read_report(pod)
    status = _with_report(_follow(seen, child, pod), report)
    uri = result_uri(seen)
    if not seen.exported:
        exported = {
            "model": uri,
            "jobName": child.name,
            "baseModel": seen.job.spec.model.uri or "",
        }
        return Outcome(action=ExportResult(data=tuple(sorted(exported.items()))))
    done = attempts.end(status, seen.now, Reason.SUCCEEDED, "")
    return Outcome(
        status=done.model_copy(
            update={
                "result": Result(model=uri),
                "progress": progress.completed(done, seen.now),
            }
        ),
        summary=conditions.succeeded(f"The model is at {uri}"),
        finished=True,
    )


def _with_report(status: FineTuneJobStatus, report: TrainerReport | None) -> FineTuneJobStatus:
    """Status with what only the trainer knows: resolved settings, losses, supervised tokens."""
    if report is None:
        return status
    update: dict[str, object] = {}
    if report.resolved:
        update["resolved"] = report.resolved
    if report.metrics:
        update["metrics"] = report.metrics
    if report.data and status.data and status.data.training:
        counted = status.data.training.model_copy(
            update={
                "supervised_tokens": report.data.supervised_tokens,
                "truncated": report.data.truncated,
            }
        )
        update["data"] = status.data.model_copy(update={"training": counted})
    return status.model_copy(update=update)


def _failed(seen: Observed, verdict: failure.Verdict, pod: ChildPod | None) -> Outcome:
    report = failure.read_report(pod)
    status = _with_report(seen.job.status, report)
    ended = attempts.end(
        attempts.note(status, step=report.step if report else None, node=None),
        seen.now,
        verdict.reason,
        verdict.message,
    )
    allowed = (seen.job.spec.retry_policy or RetryPolicy()).max_retries
    used = status.retries or 0
    if verdict.retry and used < allowed:
        again = ended.model_copy(update={"retries": used + 1})
        message = f"{verdict.message}; trying again ({used + 1} of {allowed})"
        return Outcome(
            status=again,
            summary=conditions.working(Phase.PENDING, Reason.RETRYING, message),
            again=True,
        )
    message = verdict.message
    if verdict.retry and allowed:
        message = f"{message}; all {allowed} retries are used"
    return Outcome(status=ended, summary=conditions.failed(verdict.reason, message), finished=True)
