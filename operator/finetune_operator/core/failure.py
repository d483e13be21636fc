"""What an attempt's end means: retry, or over; one table over exit codes.

Pure: the last pod and its last words in, a verdict out.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from finetune_api.pods import TrainerReport
from finetune_api.reasons import ExitCode, Reason
from finetune_operator.core.observed import ChildJob, ChildPod


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why an attempt ended, and whether another may help."""

    reason: Reason
    message: str
    retry: bool


_TABLE: dict[int, Verdict] = {
    ExitCode.BAD_DATA: Verdict(reason=Reason.DATA_INVALID, message="The data cannot be used: correct it", retry=False),
    ExitCode.UNAVAILABLE: Verdict(reason=Reason.DATA_UNAVAILABLE, message="The model or the data could not be read", retry=True),
    ExitCode.INTERNAL: Verdict(reason=Reason.TRAINING_FAILED, message="The trainer stopped with an unexpected error: see the pod's log", retry=True),
    ExitCode.GPU_OUT_OF_MEMORY: Verdict(reason=Reason.GPU_OUT_OF_MEMORY, message="The GPU's memory was not enough: use a larger GPU, or a lower microBatchSize in a new FineTuneJob", retry=False),
    ExitCode.DISK_FULL: Verdict(reason=Reason.DISK_FULL, message="The output volume is full: enlarge it, then ask for a retry", retry=False),
    ExitCode.DIVERGED: Verdict(reason=Reason.DIVERGED, message="The loss is not finite: lower the learning rate in a new FineTuneJob", retry=False),
    ExitCode.BAD_CONFIG: Verdict(reason=Reason.CONFIG_INVALID, message="A setting cannot be used: correct it", retry=False),
    ExitCode.KILLED: Verdict(reason=Reason.OUT_OF_MEMORY, message="The container was killed at its memory limit: raise kubernetes.resources.limits.memory, then ask for a retry", retry=False),
}  # fmt: skip


NO_RESULT = Verdict(
    reason=Reason.TRAINING_FAILED,
    message="The pod ended with exit code 0 but left no report of a result:"
    " check spec.kubernetes.image",
    retry=False,
)
UNHEARD = Verdict(
    reason=Reason.TRAINING_FAILED,
    message="The pod was gone before its report of the result was read",
    retry=True,
)
"""Another attempt costs little: a trainer that finds its finished result reports that."""


def known_reason(text: str | None, otherwise: Reason) -> Reason:
    """The reason that a pod's last words name, or another if they name none of ours."""
    return Reason(text) if text in set(Reason) else otherwise


def read_report(pod: ChildPod | None) -> TrainerReport | None:
    """The trainer's last words, if the pod left some that can be read."""
    if pod is None or not pod.last_words:
        return None
    try:
        return TrainerReport.model_validate_json(pod.last_words)
    except ValidationError:
        return None


def judge(job: ChildJob, pod: ChildPod | None) -> Verdict:
    """The verdict on a failed child Job, from its last pod."""
    report = read_report(pod)
    if pod is None:
        said = f" ({job.message})" if job.message else ""
        return Verdict(
            reason=Reason.TRAINING_FAILED, message=f"The training pod was deleted{said}", retry=True
        )
    if pod.exit_code is None:
        said = job.message or "its pod told nothing of its end"
        return Verdict(
            reason=Reason.TRAINING_FAILED, message=f"The training Job failed: {said}", retry=True
        )
    out_of_memory = pod.exit_reason == "OOMKilled"
    code = ExitCode.KILLED if out_of_memory else pod.exit_code
    if code == ExitCode.KILLED and not out_of_memory and (pod.disrupted or pod.deleting):
        message = "The pod was killed before it could save a checkpoint"
        return Verdict(reason=Reason.PREEMPTED, message=message, retry=True)
    row = _TABLE.get(code)
    if row is None:
        message = report.message if report else f"The trainer ended with exit code {code}"
        return Verdict(reason=Reason.TRAINING_FAILED, message=message, retry=True)
    if report is None or report.code != code:
        return Verdict(reason=row.reason, message=row.message, retry=row.retry)
    reason = known_reason(report.reason, row.reason)
    return Verdict(reason=reason, message=report.message or row.message, retry=row.retry)
