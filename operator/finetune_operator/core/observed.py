"""All that a decision may depend on: frozen values, made by adapters, read by `decide`.

Knows nothing of where the values come from; the clock is one of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerStatus
from finetune_api.status import Resolved


class ChildState(StrEnum):
    """What a child Job has come to."""

    ACTIVE = "Active"
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, kw_only=True)
class ChildJob:
    """One batch/v1 Job of ours, prepare or trainer."""

    name: str
    uid: str
    component: str
    """COMPONENT_PREPARE or COMPONENT_TRAINER."""
    created: datetime
    started: datetime | None = None
    """When it was last let go; later than `created` if a queue held it."""
    state: ChildState
    message: str = ""
    """Of its Failed condition."""
    suspended: bool = False
    deleting: bool = False
    queue: str | None = None
    spec_digest: str = ""
    """Of the part of the spec that it was made for."""
    has_ttl: bool = False


@dataclass(frozen=True, kw_only=True)
class ChildPod:
    """One pod of a child Job."""

    name: str
    uid: str
    job_uid: str
    created: datetime
    phase: str
    """Pending, Running, Succeeded, Failed, Unknown."""
    deleting: bool = False
    due: datetime | None = None
    """When it must be gone, if it is being deleted: its grace is over then."""
    node: str | None = None
    waiting_reason: str = ""
    """The container's waiting reason (ErrImagePull, CreateContainerConfigError …)."""
    waiting_message: str = ""
    unschedulable: str = ""
    """Message of PodScheduled=False."""
    disrupted: bool = False
    """Has the condition DisruptionTarget."""
    exit_code: int | None = None
    exit_reason: str = ""
    """OOMKilled, Error, Completed, …"""
    last_words: str = ""
    """The termination message, at most 4 KiB."""
    finished: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectEvent:
    """A Kubernetes Event about a child Job or pod, read only to explain a wait."""

    reason: str
    message: str
    at: datetime


TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
"""What the service calls a hosted job that changes no more."""


@dataclass(frozen=True, kw_only=True)
class RemoteJob:
    """A hosted job as the service tells it; absent keys are None, unknown statuses are kept."""

    id: str
    raw_status: str
    created_at: datetime
    model: str = ""
    suffix: str | None = None
    training_file: str | None = None
    fine_tuned_model: str | None = None
    estimated_finish: datetime | None = None
    trained_tokens: int | None = None
    result_files: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    seed: int | None = None
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    """Echoed values as strings; -1 (auto) left out."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How well a model does: losses of supervised and preference training, rewards of the other."""

    train_loss: float | None = None
    validation_loss: float | None = None
    train_reward: float | None = None
    validation_reward: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """The figures of one step, as the service's result file has them."""

    step: int
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class RemoteCheckpoint:
    """A checkpoint that the service keeps."""

    name: str
    step: int
    figures: Figures = Figures()


@dataclass(frozen=True, kw_only=True)
class RemoteDetails:
    """What events and checkpoints of a hosted job say."""

    step: int | None = None
    total_steps: int | None = None
    figures: Figures = Figures()
    """The newest of each."""
    billed_tokens: int | None = None
    error: str | None = None
    """What the newest event of an error says."""
    checkpoints: tuple[RemoteCheckpoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Remote:
    """The last snapshot of the hosted job that status names, and how fresh it is."""

    job: RemoteJob | None
    """None: the service does not know the id."""
    details: RemoteDetails
    seen_at: datetime
    twins: tuple[RemoteJob, ...] = ()
    """Other active jobs of the account with the same suffix."""


@dataclass(frozen=True, kw_only=True)
class SubmissionFacts:
    """What this process knows of the submission that status records."""

    recorded_here: bool
    """This leadership wrote the marker, so nobody else can have posted it."""
    known_since: datetime
    """When this leadership first saw the marker."""
    posted_at: datetime | None = None
    """When this leadership last posted it without getting an answer."""
    last_look_at: datetime | None = None
    """When the list of jobs was last searched for it, in vain."""
    unanswered: int = 0
    """How often in a row this leadership posted it without learning what became of it."""
    unanswered_since: datetime | None = None
    """When that happened first."""
    told: str = ""
    """What was said of it last, with the service's own words."""

    def shifted(self, by: timedelta) -> "SubmissionFacts":
        """The same facts by another clock."""
        moments = ("known_since", "posted_at", "last_look_at", "unanswered_since")
        known = {name: getattr(self, name) for name in moments}
        return replace(self, **{name: at + by for name, at in known.items() if at is not None})


@dataclass(frozen=True, kw_only=True)
class ReportedProgress:
    """The newest report of a training pod, bound to the child Job it came from."""

    job_uid: str
    status: TrainerStatus
    received_at: datetime
    resolved: Mapping[str, Resolved] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found out in this very round, by asking; the next round knows nothing of it."""

    events: tuple[ObjectEvent, ...] | None = None
    """None: not read."""
    confirmed_absent: bool = False
    """The API server itself said that the current attempt's Job is not there."""
    pods_confirmed: bool = False
    """The pods are as the API server itself listed them."""
    claim_there: bool | None = None
    """The job's own PVC is there, and not on its way out; None: not asked."""
    account_ensured: bool = False
    """The ServiceAccount of tenant pods was created, or is there."""
    authenticated: bool = False
    """There is a key or token to ask the service with."""
    asked: bool = False
    """The service was asked to pause or resume: once is enough."""
    looked: bool = False
    """The service's list was searched for the submission, in vain."""
    remote: Remote | None = None
    """The hosted job as the service just told it."""
    equals: tuple[RemoteJob, ...] | None = None
    """Jobs that train the same and that no other FineTuneJob follows, newest first; None: not
    searched for."""
    results: tuple[StepFigures, ...] | None = None
    """Its result file, empty if it cannot be read; None: not read."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that a decision may depend on."""

    job: FineTuneJob
    now: datetime
    parents: tuple[FineTuneJob, ...] = ()
    """The job of `model.jobRef`, that one's, and so on, up to the first that is not there or that
    stands here already."""
    followed_by: str | None = None
    """The FineTuneJob that already follows the hosted job which an annotation asks to adopt."""
    jobs: tuple[ChildJob, ...] = ()
    pods: tuple[ChildPod, ...] = ()
    departed: ChildPod | None = None
    """The pod that went last, as it was at its very end, if status has not heard of it yet."""
    progress: ReportedProgress | None = None
    remote: Remote | None = None
    submission: SubmissionFacts | None = None
    twins: tuple[RemoteJob, ...] = ()
    """Those of `remote` that the service was not asked to cancel yet, or not lately."""
    cancel_sent: bool = False
    """The service has accepted the request to cancel, not long ago."""
    pause_refused: str = ""
    """What the service said, not long ago, when it would not pause the job."""
    exported: bool = False
    """The result's ConfigMap is written."""
    deleting_since: datetime | None = None
    """When this leadership first saw that the object is being deleted."""
    found: Found = field(default_factory=Found)
