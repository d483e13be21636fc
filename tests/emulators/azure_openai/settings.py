"""What a test may change about the service while it runs.

Must not know of what reads it. The clock's speed is not here: the clock owns it.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field

from azure_openai.lifecycle import Pace

ACCOUNT_LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "running_jobs": 3,
        "running_developer_jobs": 5,
        "queued_jobs": 20,
        "kept_jobs": 100,
        "fine_tune_files": 100,
        "fine_tune_bytes": 10**9,
    }
)
"""What a real account has; without being asked for them the emulator has none."""


class Settings(BaseModel):
    """Durations are service seconds unless a field says otherwise."""

    model_config = ConfigDict(extra="forbid")

    queue_seconds: float = Field(default=120, ge=0)
    step_seconds: float = Field(default=5, gt=0)
    silent_seconds: float = Field(default=1740, ge=0)
    pausing_seconds: float = Field(default=60, ge=0)
    resuming_seconds: float = Field(default=30, ge=0)
    pending_polls: int = Field(default=2, ge=0)
    """How often an uploaded file is shown as pending before it is judged."""
    list_lag_seconds: float = Field(default=0, ge=0)
    """Real seconds for which a new job is missing from lists."""
    python_grader_seconds: float = Field(default=120, gt=0)
    """Real seconds that a python grader may take."""
    running_jobs: int | None = Field(default=None, ge=1)
    """Jobs that run at a time, those of the developer tier apart; None: any number."""
    running_developer_jobs: int | None = Field(default=None, ge=1)
    queued_jobs: int | None = Field(default=None, ge=0)
    """Jobs that may wait; one more is refused, as with all that follows."""
    kept_jobs: int | None = Field(default=None, ge=0)
    """Jobs that there may be, over or not."""
    fine_tune_files: int | None = Field(default=None, ge=0)
    fine_tune_bytes: int | None = Field(default=None, ge=0)
    """Size of all files for fine-tuning together."""
    absent_keys: frozenset[str] = frozenset()
    """Keys left out of every job that is shown."""

    def pace(self) -> Pace:
        """The durations that a job created now will keep for its life."""
        return Pace(
            queue_seconds=self.queue_seconds,
            step_seconds=self.step_seconds,
            silent_seconds=self.silent_seconds,
            pausing_seconds=self.pausing_seconds,
            resuming_seconds=self.resuming_seconds,
        )
