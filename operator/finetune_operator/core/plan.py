"""What a decision may order: at most one action, then a status, then when to look again.

Values only. An action that changes what is known is followed by another decision, so that one
decision never has to foresee what an action brings to light.
"""

from dataclasses import dataclass

from finetune_api.status import FineTuneJobStatus


@dataclass(frozen=True, kw_only=True)
class WriteStatus:
    """Write this status only if the object is still the one that was read; then decide again.

    The guard of everything that costs money: what was read is what gets frozen.
    """

    status: FineTuneJobStatus
    records_submission: bool = False


@dataclass(frozen=True, kw_only=True)
class CreatePrepare:
    """Create the prepare Job (and its ConfigMap)."""

    retry: int


@dataclass(frozen=True, kw_only=True)
class CreateTraining:
    """Create the Job of the attempt that status names (and its ConfigMap, claim, account)."""

    attempt: int


@dataclass(frozen=True, kw_only=True)
class DeleteChild:
    """Delete a child Job and its pods, the pods first, giving them time to save."""

    name: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class ConfirmAbsent:
    """Ask the API server itself whether the child is there, before something costly follows."""

    name: str


@dataclass(frozen=True, kw_only=True)
class ReadPods:
    """List the job's pods: a child is over, and its last pod's end was not seen yet."""


@dataclass(frozen=True, kw_only=True)
class EnsureAccount:
    """Create the ServiceAccount of tenant pods anew: somebody has deleted it."""


@dataclass(frozen=True, kw_only=True)
class SetTtl:
    """Let the cluster remove a finished child Job after `seconds`."""

    name: str
    seconds: int


@dataclass(frozen=True, kw_only=True)
class ReadEvents:
    """Read the Events of a child Job and its pod, to explain a wait."""

    job_uid: str
    pod_uid: str | None


@dataclass(frozen=True, kw_only=True)
class FindClaim:
    """Ask whether the job's own PVC is there still, before another attempt builds on it."""

    name: str


@dataclass(frozen=True, kw_only=True)
class OwnClaim:
    """Let the job's own PVC go with it, or not any more; then write this status."""

    name: str
    delete: bool
    status: FineTuneJobStatus


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Write the result's ConfigMap."""

    data: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class AddFinalizer:
    """Hold the object while something outside would be left behind."""


@dataclass(frozen=True, kw_only=True)
class DropFinalizer:
    """Let go; with `orphaned` the hosted job that is left behind, for log and metric."""

    orphaned: str | None = None


@dataclass(frozen=True, kw_only=True)
class Authenticate:
    """Have the key or token at hand, without which nothing is worth beginning."""


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Create the hosted job, behind the fence, and write down its id."""

    suffix: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """Search the service's jobs for the submission; adopt what is found."""

    suffix: str


@dataclass(frozen=True, kw_only=True)
class CancelRemote:
    """Cancel the hosted job."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class CancelTwin:
    """Cancel a hosted job that was created by the same submission as the one in status."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class PauseRemote:
    """Pause the hosted job."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class ResumeRemote:
    """Resume the hosted job."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """Ask the service about the hosted job now, not at the next poll."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class FindEqual:
    """Search for jobs of this digest that nobody follows: they train the same."""

    digest: str


@dataclass(frozen=True, kw_only=True)
class ReadResults:
    """Read the hosted job's result file: the figures of every step."""

    file_id: str


RemoteAction = (
    Authenticate
    | Submit
    | Look
    | CancelRemote
    | CancelTwin
    | PauseRemote
    | ResumeRemote
    | Refresh
    | FindEqual
    | ReadResults
)

Action = (
    WriteStatus
    | CreatePrepare
    | CreateTraining
    | DeleteChild
    | ConfirmAbsent
    | ReadPods
    | EnsureAccount
    | SetTtl
    | ReadEvents
    | FindClaim
    | OwnClaim
    | ExportResult
    | AddFinalizer
    | DropFinalizer
    | RemoteAction
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One action or none; without one, the status to write and when to look again.

    `look_again_after` is in seconds; None waits for the next change.
    """

    status: FineTuneJobStatus
    action: Action | None = None
    look_again_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Durations in seconds and limits that decisions use; from the operator's settings."""

    stalled_after: float = 300.0
    """A wait for the user becomes Stalled after this long."""
    list_lag: float = 60.0
    """How long the service's list may not show a job that exists."""
    takeover_wait: float = 15.0
    """Lease duration and request timeout together."""
    look_interval: float = 10.0
    """Between two searches for a submission."""
    explain_after: float = 3.0
    """A child without a running pod is explained after this long."""
    deletion_grace: float = 600.0
    """How long a finalizer insists."""
    progress_interval: float = 15.0
    prepare_retries: int = 5
    retry_delay: float = 10.0
    """Before the first retry of an attempt or of preparing; doubled with each further one."""
    no_progress_limit: int = 10
    hosted_min_examples: int = 10
