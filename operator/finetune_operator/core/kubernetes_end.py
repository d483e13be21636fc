"""How an attempt in the cluster ends: a result, another attempt, or the end of the job.

Pure. A success is only what a pod told of; a failure is judged by `failure`.
"""

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.spec import RetryPolicy
from finetune_api.status import FineTuneJobStatus, Result
from finetune_operator.core import attempts, conditions, failure, progress
from finetune_operator.core.conditions import FALSE, Fact
from finetune_operator.core.observed import ChildJob, ChildPod, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import ExportResult
from finetune_operator.core.pod_story import follow, told_result, with_report

_DATA_AT_FAULT = (Reason.DATA_INVALID, Reason.DATA_CHANGED)


def complete(seen: Observed, child: ChildJob, pod: ChildPod | None) -> Outcome:
    """A success only with a result: told by the pod, or by one that is gone, which is in status."""
    report = failure.read_report(pod)
    result = told_result(seen.job, report) if pod else seen.job.status.result
    if result is None:
        return failed(seen, failure.NO_RESULT if pod else failure.UNHEARD, child, pod)
    if not seen.exported:
        return _export(seen, child, result)
    status = with_report(follow(seen, child, pod), report)
    done = attempts.end(status, seen.now, Reason.SUCCEEDED, "")
    return Outcome(
        status=done.model_copy(
            update={"result": result, "progress": progress.completed(done, seen.now)}
        ),
        summary=conditions.succeeded(f"The model is at {result.model}"),
        finished=True,
    )


def _export(seen: Observed, child: ChildJob, result: Result) -> Outcome:
    exported = {
        "model": result.model,
        "jobName": child.name,
        "baseModel": seen.job.spec.model.uri or "",
    }
    return Outcome(action=ExportResult(data=tuple(sorted(exported.items()))))


def failed(
    seen: Observed, verdict: failure.Verdict, child: ChildJob | None, pod: ChildPod | None
) -> Outcome:
    """Another attempt if that may help and one is left."""
    report = failure.read_report(pod)
    status = with_report(follow(seen, child, pod) if child else seen.job.status, report)
    status = attempts.note(status, step=report.step if report else None, node=None)
    allowed = (seen.job.spec.retry_policy or RetryPolicy()).max_retries
    used = status.retries or 0
    if not verdict.retry or used >= allowed:
        tried = f"; all {allowed} retries are used" if verdict.retry and allowed else ""
        return over(seen, status, verdict, tried)
    ended = attempts.end(status, seen.now, verdict.reason, verdict.message)
    message = f"{verdict.message.rstrip('.')}; trying again ({used + 1} of {allowed})"
    return Outcome(
        status=ended.model_copy(update={"retries": used + 1}),
        summary=conditions.working(Phase.PENDING, Reason.RETRYING, message),
        again=True,
    )


def over(
    seen: Observed, status: FineTuneJobStatus, verdict: failure.Verdict, tried: str = ""
) -> Outcome:
    """The end of the attempt and of the job."""
    message = f"{verdict.message.rstrip('.')}{tried}"
    facts = (_refused_data(verdict),) if verdict.reason in _DATA_AT_FAULT else ()
    return Outcome(
        status=attempts.end(status, seen.now, verdict.reason, verdict.message),
        summary=conditions.failed(verdict.reason, message, *facts),
        finished=True,
    )


def _refused_data(verdict: failure.Verdict) -> Fact:
    """What the trainer alone can find, such as rows that leave nothing to learn."""
    return Fact(
        type=ConditionType.DATA_VALID,
        status=FALSE,
        reason=verdict.reason,
        message=verdict.message.rstrip("."),
    )
