"""What a training pod tells, in status: its progress, its checkpoints, its end.

Pure. Knows where a job writes, and counts the pods that were lost without a step gained.
"""

from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerReport
from finetune_api.reasons import ExitCode
from finetune_api.status import CheckpointStatus, FineTuneJobStatus, KubernetesStatus, Result
from finetune_operator.core import attempts, failure, names, progress
from finetune_operator.core.conditions import parse_time
from finetune_operator.core.observed import ChildJob, ChildPod, Observed, ReportedProgress

_MOST_SETTINGS = 32
"""As in the schema."""


def output_location(job: FineTuneJob) -> tuple[str, str]:
    """The claim and the path in it where the job writes."""
    if job.spec.output:
        return job.spec.output.volume.claim_name, job.spec.output.volume.path.strip("/")
    return names.output_claim_name(job), job.metadata.name


def output_uri(job: FineTuneJob) -> str:
    """The reference of the job's output folder."""
    claim, path = output_location(job)
    return f"pvc://{claim}/{path}"


def told_result(job: FineTuneJob, report: TrainerReport | None) -> Result | None:
    """The result that a report tells of: an adapter or a whole model; None if of none."""
    if report is None or report.code != ExitCode.OK or report.result_path is None:
        return None
    return Result(model=f"{output_uri(job)}/{report.result_path}")


def told_by(seen: Observed, child: ChildJob) -> ReportedProgress | None:
    """The newest progress, if a pod of this very Job reported it."""
    told = seen.progress
    return told if told is not None and told.job_uid == child.uid else None


def follow(seen: Observed, child: ChildJob, pod: ChildPod | None) -> FineTuneJobStatus:
    """Status with the child's pod, its progress and its replacements."""
    status = seen.job.status
    before = status.kubernetes or KubernetesStatus()
    told = told_by(seen, child)
    moved = progress.from_pod(told) if told else status.progress
    after = before.model_copy(
        update={
            "job_name": child.name,
            "queue_name": child.queue,
            "checkpoint": _newest_checkpoint(seen, child, before.checkpoint),
        }
    )
    if pod is not None and pod.name != before.pod_name:
        after = _replaced(after, before, progress.gained_step(after, moved)).model_copy(
            update={"pod_name": pod.name, "node_name": None}
        )
    if pod is not None and pod.node:
        after = after.model_copy(update={"node_name": pod.node})
    settled = dict(told.resolved) if told and told.resolved else status.resolved
    update = {"kubernetes": after, "progress": moved, "resolved": settled}
    followed = status.model_copy(update=update)
    return attempts.note(
        followed, step=moved.step if moved else None, node=pod.node if pod else None
    )


def _newest_checkpoint(
    seen: Observed, child: ChildJob, known: CheckpointStatus | None
) -> CheckpointStatus | None:
    """The furthest checkpoint of which progress, last words or status tell, with its place."""
    told = told_by(seen, child)
    reports = [failure.read_report(pod) for pod in seen.pods if pod.job_uid == child.uid]
    saved = [report.checkpoint for report in reports if report]
    saved.append(progress.reported_checkpoint(told) if told else None)
    return _furthest(seen.job, known, saved)


def with_last_words(seen: Observed) -> FineTuneJob:
    """The job with what a pod of this attempt told when it went.

    Such a pod saves at the very end, and is gone a moment later: its successor starts from there.
    One that was done by then has told of its result and its losses nowhere else.
    """
    job, pod = seen.job, seen.departed
    report, status = failure.read_report(pod), job.status
    if pod is None or report is None:
        return job
    if not status.attempts or attempts.is_over(status):
        return job
    if pod.created < parse_time(status.attempts[-1].start_time):
        return job
    told = with_report(status, report)
    known = told.kubernetes or KubernetesStatus()
    furthest = _furthest(job, known.checkpoint, [report.checkpoint])
    update = {
        "kubernetes": known.model_copy(update={"checkpoint": furthest}),
        "result": told_result(job, report) or status.result,
    }
    return job.model_copy(update={"status": told.model_copy(update=update)})


def _furthest(
    job: FineTuneJob, known: CheckpointStatus | None, saved: list[CheckpointStatus | None]
) -> CheckpointStatus | None:
    newest = max(
        (checkpoint for checkpoint in saved if checkpoint),
        key=lambda checkpoint: (checkpoint.step, checkpoint.path is not None),
        default=None,
    )
    if newest is None or (known is not None and newest.step <= known.step):
        return known
    place = f"{output_uri(job)}/{newest.path or 'checkpoints'}"
    return newest.model_copy(update={"path": place[:1024]})


def _replaced(after: KubernetesStatus, before: KubernetesStatus, step: int) -> KubernetesStatus:
    """Counts a replacement, from anew when a step was gained since the last one."""
    if before.pod_name is None and before.replaced_at_step is None:
        return after.model_copy(update={"replaced_at_step": step})
    reached = before.replaced_at_step or 0
    return after.model_copy(
        update={
            "replacements": 1 if step > reached else (before.replacements or 0) + 1,
            "replaced_at_step": max(step, reached),
        }
    )


def with_report(status: FineTuneJobStatus, report: TrainerReport | None) -> FineTuneJobStatus:
    """Status with what only the trainer knows: resolved settings, losses, supervised tokens."""
    if report is None:
        return status
    update: dict[str, object] = {}
    if report.resolved:
        update["resolved"] = dict(list(report.resolved.items())[:_MOST_SETTINGS])
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
