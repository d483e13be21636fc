"""Every phase, condition type, reason and exit code: the vocabulary of status.

Knows words only. A reason is one CamelCase word that people grep for; sentences are made elsewhere.
"""

from enum import IntEnum, StrEnum


class Phase(StrEnum):
    """A printed summary for columns and people; derived from conditions, never decided upon."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


class ConditionType(StrEnum):
    """Condition types. Ready, Reconciling and Stalled are kstatus's own."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATA_VALID = "DataValid"
    MODEL_READY = "ModelReady"
    SUBMITTED = "Submitted"
    QUOTA_RESERVED = "QuotaReserved"
    TRAINING_COMPLETE = "TrainingComplete"
    OVERFITTING = "Overfitting"
    UNDERFITTING = "Underfitting"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"
    SUCCEEDED = "Succeeded"


class Reason(StrEnum):
    """Reasons of conditions, attempts and Events."""

    # Going well
    STARTING = "Starting"
    PREPARING = "Preparing"
    DATA_ACCEPTED = "DataAccepted"
    SUBMITTING = "Submitting"
    SUBMITTED = "JobSubmitted"
    JOB_CREATED = "JobCreated"
    QUEUED = "Queued"
    ADMITTED = "Admitted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    RETRYING = "Retrying"
    RETRY_REQUESTED = "RetryRequested"
    CHECKPOINT_LOST = "CheckpointLost"

    # How well it fits
    FITS_WELL = "FitsWell"
    VALIDATION_LOSS_ROSE = "ValidationLossRose"
    TRAINING_LOSS_STAYED = "TrainingLossStayed"
    REWARD_STAYED = "RewardStayed"

    # On request
    PREEMPTED = "Preempted"
    SUSPENDED = "Suspended"
    PAUSING = "Pausing"
    CANCELLED = "Cancelled"
    CANCELLING = "Cancelling"
    CANCEL_REQUESTED = "CancelRequested"
    SERVICE_PAUSED = "ServicePaused"

    # Waiting, explained: pods
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    MOUNT_FAILED = "MountFailed"
    VOLUME_PENDING = "VolumePending"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_SECURITY_REFUSED = "PodSecurityRefused"
    POD_CREATION_FAILED = "PodCreationFailed"

    # Waiting for another FineTuneJob
    WAITING_FOR_PARENT = "WaitingForParent"
    PARENT_SUCCEEDED = "ParentSucceeded"
    PARENT_NOT_FOUND = "ParentNotFound"
    PARENT_FAILED = "ParentFailed"
    PARENT_ELSEWHERE = "ParentElsewhere"
    PARENTS_IN_A_CIRCLE = "ParentsInACircle"
    CHECKPOINT_NOT_FOUND = "CheckpointNotFound"

    # Waiting for the user
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_ACCESS_DENIED = "SecretAccessDenied"
    VOLUME_NOT_FOUND = "VolumeNotFound"
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    PERMISSION_DENIED = "PermissionDenied"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    ENDPOINT_UNREACHABLE = "EndpointUnreachable"
    REMOTE_JOB_NOT_FOUND = "RemoteJobNotFound"
    NAME_CONFLICT = "NameConflict"
    POSSIBLE_DUPLICATE = "PossibleDuplicate"

    # Waiting for the service
    RATE_LIMITED = "RateLimited"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    CONFIRMING_SUBMISSION = "ConfirmingSubmission"
    UNKNOWN_REMOTE_STATUS = "UnknownRemoteStatus"
    API_ERROR = "ApiError"
    DUPLICATE_JOB_CANCELLED = "DuplicateJobCancelled"

    # Failed for good (until a retry is asked for)
    INVALID_SPEC = "InvalidSpec"
    DATA_INVALID = "DataInvalid"
    DATA_UNAVAILABLE = "DataUnavailable"
    DATA_CHANGED = "DataChanged"
    MODEL_UNAVAILABLE = "ModelUnavailable"
    REQUEST_REFUSED = "RequestRefused"
    TRAINING_FAILED = "TrainingFailed"
    CONFIG_INVALID = "ConfigInvalid"
    OUT_OF_MEMORY = "OutOfMemory"
    GPU_OUT_OF_MEMORY = "GpuOutOfMemory"
    DIVERGED = "Diverged"
    DISK_FULL = "DiskFull"
    NO_PROGRESS = "NoProgress"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PREPARE_FAILED = "PrepareFailed"
    CANCELLED_REMOTELY = "CancelledRemotely"


class ExitCode(IntEnum):
    """Exit codes of our pods (sysexits; all < 128, so that signals keep their meaning)."""

    OK = 0
    BAD_DATA = 65
    """A row or a file the user must change."""
    UNAVAILABLE = 69
    """A source (data, model, endpoint) could not be reached; worth another attempt."""
    INTERNAL = 70
    """A bug of ours, or a crash nobody expected."""
    GPU_OUT_OF_MEMORY = 72
    DISK_FULL = 73
    DIVERGED = 74
    """The loss or the gradient is not finite."""
    PREEMPTED = 75
    """Stopped on request with a complete checkpoint; the same child Job replaces the pod."""
    BAD_CONFIG = 78
    """A setting the user must change."""
    KILLED = 137
    """SIGKILL: the memory limit, most often."""
