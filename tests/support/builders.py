"""Valid values for decisions: a job, its children, its pods, its hosted job, and all of it seen.

A test names only what it is about. Moments are seconds after NOW, which is when things are seen.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_api.constants import COMPONENT_PREPARE, COMPONENT_TRAINER, FINALIZER
from finetune_api.job import FineTuneJob
from finetune_api.pods import PrepareReport, ProgressMetric, TrainerReport, TrainerStatus
from finetune_api.reasons import ConditionType, Reason
from finetune_api.status import (
    Attempt,
    AzureOpenAIStatus,
    Condition,
    DataSetReport,
    DataStatus,
    FineTuneJobStatus,
    KubernetesStatus,
    Submission,
)
from finetune_operator.core import conditions, names
from finetune_operator.core.conditions import Fact, Summary, timestamp
from finetune_operator.core.observed import (
    ChildJob,
    ChildPod,
    ChildState,
    Found,
    ObjectEvent,
    Observed,
    Remote,
    RemoteDetails,
    RemoteJob,
    ReportedProgress,
    SubmissionFacts,
)
from finetune_operator.core.plan import Plan, Policy
from support.builders_api import changed, hosted_job, pod_job

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICY = Policy()
UID = "3f1a6f2e-0000-4000-8000-000000000001"
SHA = "ab" * 32


def at(seconds: float) -> datetime:
    """So many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    """The same as status writes it."""
    return timestamp(at(seconds))


# The job


def a_job(
    *,
    hosted: bool = False,
    name: str = "tune",
    uid: str = UID,
    generation: int = 1,
    spec: Mapping[str, Any] | None = None,
    status: FineTuneJobStatus | None = None,
    annotations: Mapping[str, str] | None = None,
    held: bool = False,
    deleting: bool = False,
) -> FineTuneJob:
    """A job that was seen already; `spec` by dotted paths; `held` has our finalizer."""
    manifest = hosted_job(name) if hosted else pod_job(name)
    manifest = changed(manifest, {f"spec.{path}": value for path, value in (spec or {}).items()})
    manifest["metadata"] |= {
        "uid": uid,
        "generation": generation,
        "resourceVersion": "100",
        "creationTimestamp": stamp(-60),
        "annotations": dict(annotations or {}),
        "finalizers": [FINALIZER] if held else [],
    }
    if deleting:
        manifest["metadata"]["deletionTimestamp"] = stamp(-1)
    if status is None:
        status = FineTuneJobStatus(observed_generation=1)
    return FineTuneJob.model_validate(
        {**manifest, "status": status.model_dump(mode="json", exclude_none=True)}
    )


def with_status(job: FineTuneJob, **fields: Any) -> FineTuneJob:
    """The job with other fields of status."""
    return job.model_copy(update={"status": job.status.model_copy(update=fields)})


def told(job: FineTuneJob, summary: Summary, *, at_second: float = 0) -> FineTuneJob:
    """The job after this summary was written into its status."""
    status = conditions.summarise(job.status, summary, meta=job.metadata, now=at(at_second))
    return job.model_copy(update={"status": status})


def prepared(job: FineTuneJob) -> FineTuneJob:
    """The job with a good data report in status."""
    data = DataStatus(training=a_data_set(), spec_digest=names.spec_digest(job))
    fact = Fact(type=ConditionType.DATA_VALID, status=conditions.TRUE, reason=Reason.DATA_ACCEPTED)
    status = conditions.merge(job.status, [fact], generation=1, now=NOW)
    hosted = AzureOpenAIStatus(training_file_id="file-1") if job.spec.azure_open_ai else None
    return job.model_copy(
        update={"status": status.model_copy(update={"data": data, "azure_open_ai": hosted})}
    )


def started(
    job: FineTuneJob,
    *,
    attempt: int = 1,
    retries: int | None = None,
    since: float = -100,
    **fields: Any,
) -> FineTuneJob:
    """The prepared job with an attempt under way in the cluster."""
    job = job if job.status.data else prepared(job)
    under_way = [Attempt(number=attempt, start_time=stamp(since))]
    return with_status(
        job,
        started_generation=1,
        start_time=stamp(since),
        attempt=attempt,
        attempts=under_way,
        retries=retries,
        **{"kubernetes": KubernetesStatus(), **fields},
    )


def marker_of(job: FineTuneJob, attempt: int = 1) -> str:
    """The marker of a hosted job that starts from a model by name."""
    return names.marker(job, attempt, job.spec.model.name or "")


def submitted(
    job: FineTuneJob, *, job_id: str | None = "ftjob-1", since: float = -100, attempt: int = 1
) -> FineTuneJob:
    """The prepared hosted job with a marker in status, and by default an id."""
    job = started(job, attempt=attempt, since=since, kubernetes=None)
    submission = Submission(
        marker=marker_of(job, attempt),
        attempt=attempt,
        model=job.spec.model.name,
        started_at=stamp(since),
    )
    part = AzureOpenAIStatus(
        endpoint="https://my-account.openai.azure.com",
        training_file_id="file-1",
        job_id=job_id,
        raw_status="pending" if job_id else None,
        submission=submission,
    )
    return with_status(job, azure_open_ai=part)


def a_hosted(**spec: Any) -> FineTuneJob:
    """A hosted job that was submitted, held by its finalizer, of that spec."""
    return submitted(a_job(hosted=True, held=True, spec=spec))


def over(
    job: FineTuneJob, summary: Summary, *, reason: Reason = Reason.TRAINING_FAILED
) -> FineTuneJob:
    """The job after its end: attempt, conditions, completion time."""
    ended = [
        attempt.model_copy(update={"end_time": stamp(-10), "reason": reason})
        for attempt in job.status.attempts or ()
    ]
    job = told(with_status(job, attempts=ended or None), summary, at_second=-10)
    return with_status(job, completion_time=stamp(-10))


def condition(job_or_status: Any, kind: ConditionType) -> Condition | None:
    """The condition of a job or a status."""
    status = job_or_status.status if isinstance(job_or_status, FineTuneJob) else job_or_status
    return conditions.get(status, kind)


def reason_of(plan: Plan) -> str:
    """The reason of Ready in a plan's status."""
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    return ready.reason


def kinds_true(plan: Plan) -> set[str]:
    """The types of the conditions that are True in a plan's status."""
    return {c.type for c in plan.status.conditions if c.status == "True"}


# Its children


def a_child(
    job: FineTuneJob,
    *,
    attempt: int | None = 1,
    prepare: int | None = None,
    state: ChildState = ChildState.ACTIVE,
    created: float = -60,
    **fields: Any,
) -> ChildJob:
    """The trainer Job of an attempt, or with `prepare` the prepare Job of that number."""
    preparing = prepare is not None
    name = names.prepare_name(job, prepare) if preparing else names.training_name(job, attempt or 1)
    values: dict[str, Any] = {
        "name": name,
        "uid": f"uid-of-{name}",
        "component": COMPONENT_PREPARE if preparing else COMPONENT_TRAINER,
        "created": at(created),
        "state": state,
        "spec_digest": names.spec_digest(job) if preparing else names.pod_digest(job),
    }
    return ChildJob(**{**values, **fields})


def a_pod(
    child: ChildJob,
    *,
    phase: str = "Running",
    words: TrainerReport | PrepareReport | str = "",
    created: float = -50,
    name: str | None = None,
    **fields: Any,
) -> ChildPod:
    """A pod of that child; one that ended has an exit code."""
    name = name or f"{child.name}-pod"
    text = words if isinstance(words, str) else words.model_dump_json(exclude_none=True)
    ended = {"Succeeded": 0, "Failed": 1}.get(phase)
    values: dict[str, Any] = {
        "name": name,
        "uid": f"uid-of-{name}",
        "job_uid": child.uid,
        "created": at(created),
        "phase": phase,
        "node": None if phase == "Pending" else "node-1",
        "last_words": text,
        "exit_code": ended,
        "finished": None if ended is None else at(-5),
    }
    return ChildPod(**{**values, **fields})


def a_success(**fields: Any) -> TrainerReport:
    """A training pod's last words: there is a result."""
    values = {"code": 0, "reason": "Succeeded", "message": "Done", "result_path": "result"}
    return TrainerReport(**{**values, **fields})


def progress_of(child_uid: str, **metrics: str) -> ReportedProgress:
    """What a pod reported just now, at 20 %."""
    return ReportedProgress(
        job_uid=child_uid,
        status=TrainerStatus(
            progress_percentage=20,
            metrics=[ProgressMetric(name=name, value=value) for name, value in metrics.items()],
        ),
        received_at=NOW,
    )


def a_data_set(**fields: Any) -> DataSetReport:
    """What was found in a file of 100 rows."""
    return DataSetReport(**{"sha256": SHA, "bytes": 1000, "examples": 100, **fields})


def a_data_report(**fields: Any) -> PrepareReport:
    """A prepare pod's last words: everything in order, unless said otherwise."""
    return PrepareReport(**{"ok": True, "training": a_data_set(), **fields})


def an_event(reason: str, message: str, *, ago: float = 5) -> ObjectEvent:
    """An Event about a child or its pod."""
    return ObjectEvent(reason=reason, message=message, at=at(-ago))


# Its hosted job


def a_remote(
    raw_status: str = "running",
    *,
    job_id: str = "ftjob-1",
    step: int | None = None,
    seen_at: float = 0,
    details: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Remote:
    """A snapshot of the hosted job."""
    values = {"id": job_id, "raw_status": raw_status, "created_at": at(-90), **fields}
    return Remote(
        job=RemoteJob(**values),
        details=RemoteDetails(**{"step": step, **(details or {})}),
        seen_at=at(seen_at),
    )


UNKNOWN_REMOTE = Remote(job=None, details=RemoteDetails(), seen_at=NOW)


def facts(
    *,
    here: bool = False,
    since: float = -100,
    posted: float | None = None,
    looked: float | None = None,
) -> SubmissionFacts:
    """What this leadership knows of a submission; `here`: it wrote the marker itself."""
    return SubmissionFacts(
        recorded_here=here,
        known_since=at(since),
        posted_at=None if posted is None else at(posted),
        last_look_at=None if looked is None else at(looked),
    )


# All of it


def seen(
    job: FineTuneJob, *children: ChildJob, pods: tuple[ChildPod, ...] = (), **fields: Any
) -> Observed:
    """What a decision is made from; members of Found by their own names."""
    found = {
        name: fields.pop(name)
        for name in Found.__dataclass_fields__
        if name in fields and name != "remote"
    }
    return Observed(
        job=job, jobs=children, pods=pods, found=Found(**found), **{"now": NOW, **fields}
    )


def a_running(job: FineTuneJob, **fields: Any) -> Observed:
    """A job in the cluster whose training pod runs."""
    child = a_child(job)
    return seen(job, child, pods=(a_pod(child),), **fields)
