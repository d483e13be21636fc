"""Data first: the prepare Job, its report, and what bad data means for the job.

Pure. Runs before anything that costs money, on both backends.
"""

from datetime import timedelta

from pydantic import ValidationError

from finetune_api.constants import COMPONENT_PREPARE
from finetune_api.pods import PrepareReport
from finetune_api.reasons import ConditionType, ExitCode, Phase, Reason
from finetune_api.status import AzureOpenAIStatus, DataStatus, FineTuneJobStatus
from finetune_operator.core import attempts, conditions, names
from finetune_operator.core.conditions import FALSE, TRUE, UNKNOWN, Fact, Summary
from finetune_operator.core.failure import known_reason
from finetune_operator.core.observed import ChildJob, ChildPod, ChildState, Observed
from finetune_operator.core.outcome import Outcome
from finetune_operator.core.plan import CreatePrepare, DeleteChild, Policy, ReadPods
from finetune_operator.core.waits import current_pod, until_gone, waiting

_ABOUT_THE_DATA = frozenset({Reason.DATA_INVALID, Reason.DATA_CHANGED, Reason.DATA_UNAVAILABLE})
"""Reasons that say something of the data; any other leaves open whether it is in order."""
_READING = conditions.working(Phase.PREPARING, Reason.PREPARING, "Reading and checking the data")


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
        return _create(seen)
    newest = children[-1]
    if newest.state is ChildState.ACTIVE:
        otherwise = _blocked(seen, policy, children[:-1]) or _READING
        pod = current_pod(seen, newest)
        if pod is not None and pod.deleting:
            return until_gone(seen, otherwise, newest)
        return waiting(seen, policy, newest, otherwise)
    return _finished(seen, policy, children)


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


def _create(seen: Observed) -> Outcome:
    """A name that is free: one of the same generation may be there for another retry token."""
    retry = names.next_prepare(child.name for child in seen.jobs)
    return Outcome(action=CreatePrepare(retry=retry))


def read_report(pod: ChildPod | None) -> PrepareReport | None:
    """The prepare pod's last words, if it left some that can be read."""
    if pod is None or not pod.last_words:
        return None
    try:
        return PrepareReport.model_validate_json(pod.last_words)
    except ValidationError:
        return None


def _blocked(
    seen: Observed, policy: Policy, ended: list[ChildJob], then: str = "trying again"
) -> Summary | None:
    """What keeps the data from being read, as the last of these Jobs found, if that may pass.

    An outage ends by itself, a wrong key is mended outside: neither ends the job.
    """
    report = read_report(current_pod(seen, ended[-1])) if ended else None
    if report is None or not (report.waits_for_user or report.transient):
        return None
    first, last = (names.prepare_number(child.name) or 0 for child in (ended[0], ended[-1]))
    tries = last - first + 1
    lasts = (seen.now - ended[0].created).total_seconds()
    said = (report.message or "The data cannot be read: see the prepare pod's log").rstrip(".")
    return Summary(
        phase=Phase.PREPARING,
        reason=known_reason(report.reason, Reason.PREPARE_FAILED),
        message=f"{said} (tried {'once' if tries == 1 else f'{tries} times'}; {then})",
        reconciling=lasts < policy.stalled_after,
        stalled=lasts >= policy.stalled_after,
    )


def _ask_again(seen: Observed, policy: Policy, children: list[ChildJob]) -> Outcome:
    """What has passed shows only by trying; the Jobs of earlier tries do not pile up."""
    pod = current_pod(seen, children[-1])
    kept = len(children)
    wait = attempts.seconds_to_retry(
        pod.finished if pod else None, kept, policy.retry_delay, seen.now
    )
    if wait > 0:
        moment = (seen.now + timedelta(seconds=wait)).strftime("%H:%M:%S UTC")
        told = _blocked(seen, policy, children, f"next try at {moment}")
        return Outcome(summary=told, look_again_after=wait)
    if kept >= policy.prepare_retries:
        oldest = children[1]  # the first says since when
        if not oldest.deleting:
            return Outcome(action=DeleteChild(name=oldest.name, uid=oldest.uid))
        return Outcome(summary=_blocked(seen, policy, children))
    return _create(seen)


def _finished(seen: Observed, policy: Policy, children: list[ChildJob]) -> Outcome:
    """`retries` counts from 1: the retry that would follow."""
    child, retries = children[-1], len(children)
    pod = current_pod(seen, child)
    if (pod is None or pod.exit_code is None) and not seen.found.pods_confirmed:
        return Outcome(action=ReadPods())
    if _blocked(seen, policy, children) is not None:
        return _ask_again(seen, policy, children)
    report = read_report(pod)
    lost = report is None and not _killed(pod)
    if not lost or retries > policy.prepare_retries:
        return Outcome(summary=_refused(report, pod), finished=True)
    ended = pod.finished if pod else None
    wait = attempts.seconds_to_retry(ended, retries, policy.retry_delay, seen.now)
    if wait <= 0:
        return _create(seen)
    message = f"The prepare pod was lost; trying again ({retries} of {policy.prepare_retries})"
    summary = conditions.working(Phase.PREPARING, Reason.RETRYING, message)
    return Outcome(summary=summary, look_again_after=wait)


def _killed(pod: ChildPod | None) -> bool:
    return pod is not None and (
        pod.exit_reason == "OOMKilled"
        or (pod.exit_code == ExitCode.KILLED and not (pod.disrupted or pod.deleting))
    )


def accepted_status(seen: Observed) -> FineTuneJobStatus | None:
    """Status with the report of a prepare Job that found everything in order, if there is one."""
    children = prepare_jobs(seen)
    report = read_report(current_pod(seen, children[-1])) if children else None
    if report is None or not report.ok or children[-1].state is ChildState.ACTIVE:
        return None
    status = _accept(seen.job.status, report, names.spec_digest(seen.job))
    rows = report.training.examples if report.training else 0
    fact = Fact(
        type=ConditionType.DATA_VALID,
        status=TRUE,
        reason=Reason.DATA_ACCEPTED,
        message="1 training row is in order" if rows == 1 else f"{rows} training rows are in order",
    )
    generation = seen.job.metadata.generation
    return conditions.merge(status, [fact], generation=generation, now=seen.now)


def validated(seen: Observed) -> Outcome:
    """The end of a job that only looks at its data."""
    fact = conditions.get(seen.job.status, ConditionType.DATA_VALID)
    said = fact.message if fact else "The data is in order"
    message = f"{said}, and nothing is trained: set validateOnly to false and ask for a retry"
    return Outcome(status=seen.job.status, summary=conditions.validated(message), finished=True)


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
        message = report.message or "The data cannot be used"
    said = FALSE if report is not None and reason in _ABOUT_THE_DATA else UNKNOWN
    fact = Fact(type=ConditionType.DATA_VALID, status=said, reason=reason, message=message)
    return conditions.failed(reason, message, fact)
