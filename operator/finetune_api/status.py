"""What the operator writes back: one contract for both backends, everything bounded.

Knows no spec and no cluster. Rows, prompts and secrets never appear here.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_api.reasons import Phase
from finetune_api.schema import (
    ApiModel,
    Count,
    Sentence,
    Sha256,
    ShortText,
    Timestamp,
    list_map,
)

MAX_ATTEMPTS_SHOWN = 10
MAX_CHECKPOINTS_SHOWN = 10
MAX_WARNINGS = 20

Identifier = Annotated[str, Field(max_length=128)]
"""An id that the service chose: opaque."""


class ConditionStatus(StrEnum):
    """As in every Kubernetes condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One observed fact, with the reason and a sentence for people."""

    type: Annotated[str, Field(max_length=64)]
    status: ConditionStatus
    reason: Annotated[str, Field(max_length=64)]
    message: Sentence = ""
    last_transition_time: Timestamp
    observed_generation: Count = 0


class Backend(StrEnum):
    """Where the job runs."""

    AZURE_OPENAI = "AzureOpenAI"
    KUBERNETES = "Kubernetes"


class Attempt(ApiModel):
    """One child Job or one hosted job, and how it ended."""

    number: Count
    start_time: Timestamp
    end_time: Timestamp | None = None
    reason: ShortText | None = None
    message: Sentence | None = None
    step: Count | None = None
    """The last step that was reported."""
    node: ShortText | None = None


class Resolved(ApiModel):
    """A setting that was decided once, and why."""

    value: ShortText
    reason: ShortText


class Progress(ApiModel):
    """How far training is; written at most every 15 s."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    text: Annotated[str, Field(max_length=8)] | None = None
    """`percent` as the column shows it."""
    step: Count | None = None
    total_steps: Count | None = None
    epoch: Annotated[str, Field(max_length=24)] | None = None
    loss: Annotated[str, Field(max_length=24)] | None = None
    tokens_per_second: Count | None = None
    eta: Annotated[str, Field(max_length=32)] | None = None
    updated_at: Timestamp | None = None


class DataSetReport(ApiModel):
    """What was found in one file; from the prepare pod."""

    sha256: Sha256
    bytes: Count
    examples: Count
    tokens: Count | None = None
    """In the cluster: counted with the model's own tokenizer and template."""
    longest: Count | None = None
    """Tokens of the longest row."""
    supervised_tokens: Count | None = None
    """Tokens that carry loss; from the trainer."""
    truncated: Count | None = None
    """Rows cut at the maximum length; from the trainer."""
    warnings: Annotated[list[Sentence], Field(max_length=MAX_WARNINGS)] | None = None


class DataStatus(ApiModel):
    """The data as it was read."""

    training: DataSetReport | None = None
    validation: DataSetReport | None = None


class Submission(ApiModel):
    """Written before a hosted job is created, so that it can be found again."""

    marker: Annotated[str, Field(max_length=40)]
    attempt: Count
    started_at: Timestamp


class AzureOpenAIStatus(ApiModel):
    """The hosted job, as the service names it."""

    endpoint: Annotated[str, Field(max_length=512)] | None = None
    job_id: Identifier | None = Field(default=None, alias="jobID")
    raw_status: ShortText | None = None
    training_file_id: Identifier | None = Field(default=None, alias="trainingFileID")
    validation_file_id: Identifier | None = Field(default=None, alias="validationFileID")
    result_file_ids: Annotated[list[ShortText], Field(max_length=16)] | None = Field(
        default=None, alias="resultFileIDs"
    )
    trained_tokens: Count | None = None
    billed_tokens: Count | None = None
    estimated_finish: Timestamp | None = None
    submission: Submission | None = None


class CheckpointStatus(ApiModel):
    """The newest complete checkpoint on the output volume."""

    step: Count
    path: Annotated[str, Field(max_length=1024)] | None = None
    saved_at: Timestamp | None = None


class KubernetesStatus(ApiModel):
    """The child Job and its pod."""

    job_name: ShortText | None = None
    pod_name: ShortText | None = None
    node_name: ShortText | None = None
    queue_name: ShortText | None = None
    checkpoint: CheckpointStatus | None = None
    replacements: Count | None = None
    """Pods that were replaced after a disruption, without counting against the retries."""


class Metrics(ApiModel):
    """Final figures, as decimal strings."""

    train_loss: Annotated[str, Field(max_length=24)] | None = None
    validation_loss: Annotated[str, Field(max_length=24)] | None = None


class ResultCheckpoint(ApiModel):
    """A checkpoint that can be used by name."""

    name: ShortText
    step: Count
    metrics: Metrics | None = None


class Result(ApiModel):
    """The reference of the model."""

    model: Annotated[str, Field(max_length=1024)]
    """The service's model name, or pvc://CLAIM/PATH."""
    checkpoints: (
        Annotated[list[ResultCheckpoint], Field(max_length=MAX_CHECKPOINTS_SHOWN)] | None
    ) = None


class FineTuneJobStatus(ApiModel):
    """What is known about a job. Conditions are the truth; phase and message are for people."""

    observed_generation: Count | None = None
    started_generation: Count | None = None
    """The generation that runs; set before the first effect that costs money, never cleared."""
    backend: Backend | None = None
    method: Annotated[str, Field(max_length=32)] | None = None
    model: ShortText | None = None
    """The base model's short name, for the column."""
    phase: Phase | None = None
    message: Sentence | None = None
    conditions: Annotated[
        list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = Field(default_factory=list)
    start_time: Timestamp | None = None
    completion_time: Timestamp | None = None
    last_handled_retry_at: ShortText | None = None
    attempt: Count | None = None
    """The number of the current attempt, from 1."""
    attempts: Annotated[list[Attempt], Field(max_length=MAX_ATTEMPTS_SHOWN)] | None = None
    resolved: Annotated[dict[str, Resolved], Field(max_length=32)] | None = None
    progress: Progress | None = None
    data: DataStatus | None = None
    azure_open_ai: AzureOpenAIStatus | None = Field(default=None, alias="azureOpenAI")
    kubernetes: KubernetesStatus | None = None
    metrics: Metrics | None = None
    result: Result | None = None
