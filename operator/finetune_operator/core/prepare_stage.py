"""Data first: the prepare Job, its report, and what bad data means for the job.

Pure. Runs before anything that costs money, on both backends.
"""

from pydantic import ValidationError

from finetune_api.constants import COMPONENT_PREPARE
from finetune_api.pods import PrepareReport
from finetune_api.reasons import ConditionType, ExitCode, Phase, Reason
from finetune_api.status import AzureOpenAIStatus, DataStatus, FineTuneJobStatus
from finetune_operator.core import conditions, names
from finetune_operator.core.conditions import FALSE, TRUE, Fact, Summary
from finetune_operator.core.failure import known_reason
from finetune_operator.core.observed import ChildJob, ChildPod, ChildState, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import CreatePrepare, DeleteChild, Policy
from finetune_operator.core.waits import waiting

_SHOWN_ROWS = 5


def is_prepared(seen: Observed) -> bool:
    """Whether status holds a good report for the spec as it is now."""
    data = seen.job.status.data
    return (
        data is not None
        and data.spec_digest == names.spec_digest(seen.job)
        and conditions.is_true(seen.job.status, ConditionType.DATA_VALID)
    )


def prepare_jobs(seen: Observed) -> list[ChildJob]:
    """The prepare Jobs made for the spec as it is now, oldest first."""
    digest = names.spec_digest(seen.job)
    mine = [
        child
        for child in seen.jobs
        if child.component == COMPONENT_PREPARE and child.spec_digest == digest
    ]
    return sorted(mine, key=lambda child: (child.created, child.name))


def decide(seen: Observed, policy: Policy) -> Outcome:
    """The next step towards a data report; a good one is taken over by `accepted_status`."""
    if outdated := _outdated(seen):
        return Outcome(action=DeleteChild(name=outdated.name, uid=outdated.uid))
    children = prepare_jobs(seen)
    if not children:
        return _create(0)
    newest = children[-1]
    if newest.state is ChildState.ACTIVE:
        return waiting(
            seen,
            policy,
            newest,
            Summary(
                phase=Phase.PREPARING,
                reason=Reason.PREPARING,
                message="Reading and checking the data",
                reconciling=True,
            ),
        )
    return _finished(seen, policy, newest, retries=len(children) - 1)


def _outdated(seen: Observed) -> ChildJob | None:
    """A prepare Job that still runs for a spec that is no longer wanted."""
    digest = names.spec_digest(seen.job)
    return next(
        (
            child
            for child in seen.jobs
            if child.component == COMPONENT_PREPARE
            and child.spec_digest != digest
            and child.state is ChildState.ACTIVE
            and not child.deleting
        ),
        None,
    )


def _create(retry: int) -> Outcome:
    return Outcome(
        action=CreatePrepare(retry=retry),
        summary=conditions.working(
            Phase.PREPARING, Reason.PREPARING, "Reading and checking the data"
        ),
    )


def _last_pod(seen: Observed, child: ChildJob) -> ChildPod | None:
    pods = [pod for pod in seen.pods if pod.job_uid == child.uid]
    return max(pods, key=lambda pod: pod.created, default=None)


def read_report(pod: ChildPod | None) -> PrepareReport | None:
    """The prepare pod's last words, if it left some that can be read."""
    if pod is None or not pod.last_words:
        return None
    try:
        return PrepareReport.model_validate_json(pod.last_words)
    except ValidationError:
        return None


def _finished(seen: Observed, policy: Policy, child: ChildJob, *, retries: int) -> Outcome:
    pod = _last_pod(seen, child)
    report = read_report(pod)
    transient = report.transient if report else not _killed(pod)
    if transient and retries < policy.prepare_retries:
        return _create(retries + 1)
    return Outcome(summary=_refused(report, pod), finished=True)


def _killed(pod: ChildPod | None) -> bool:
    return pod is not None and pod.exit_code == ExitCode.KILLED


def accepted_status(seen: Observed) -> FineTuneJobStatus | None:
    """Status with the report of a prepare Job that found everything in order, if there is one."""
    children = prepare_jobs(seen)
    report = read_report(_last_pod(seen, children[-1])) if children else None
    if report is None or not report.ok or children[-1].state is ChildState.ACTIVE:
        return None
    status = _accept(seen.job.status, report, names.spec_digest(seen.job))
    rows = report.training.examples if report.training else 0
    fact = Fact(
        type=ConditionType.DATA_VALID,
        status=TRUE,
        reason=Reason.DATA_ACCEPTED,
        message=f"{rows} training rows are in order",
    )
    generation = seen.job.metadata.generation
    return conditions.merge(status, [fact], generation=generation, now=seen.now)


def _accept(status: FineTuneJobStatus, report: PrepareReport, digest: str) -> FineTuneJobStatus:
    data = DataStatus(training=report.training, validation=report.validation, spec_digest=digest)
    if report.training_file_id is None:
        return status.model_copy(update={"data": data})
    hosted = (status.azure_open_ai or AzureOpenAIStatus()).model_copy(
        update={
            "training_file_id": report.training_file_id,
            "validation_file_id": report.validation_file_id,
        }
    )
    return status.model_copy(update={"data": data, "azure_open_ai": hosted})


def _refused(report: PrepareReport | None, pod: ChildPod | None) -> Summary:
    if report is None:
        killed = _killed(pod)
        reason = Reason.OUT_OF_MEMORY if killed else Reason.PREPARE_FAILED
        message = (
            "The prepare pod was killed at its memory limit: use a smaller data file"
            if killed
            else "The prepare pod ended without a report: see its log, then ask for a retry"
        )
    else:
        reason = known_reason(report.reason, Reason.DATA_INVALID)
        message = _with_rows(report)
    fact = Fact(type=ConditionType.DATA_VALID, status=FALSE, reason=reason, message=message)
    return conditions.failed(reason, message, fact)


def _with_rows(report: PrepareReport) -> str:
    rows = "; ".join(f"line {row.line}: {row.problem}" for row in report.bad_rows[:_SHOWN_ROWS])
    said = report.message or "The data cannot be used"
    return f"{said} ({rows})" if rows and f"line {report.bad_rows[0].line}:" not in said else said
