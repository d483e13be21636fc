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
    """What is observed."""
    status: ConditionStatus
    reason: Annotated[str, Field(max_length=64)]
    """One word for programs and for searching."""
    message: Sentence = ""
    """A sentence for people."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Count = 0
    """The generation of the spec that was looked at."""


class Backend(StrEnum):
    """Where the job runs."""

    AZURE_OPENAI = "AzureOpenAI"
    KUBERNETES = "Kubernetes"


class Attempt(ApiModel):
    """One child Job or one hosted job, and how it ended."""

    number: Count
    """Counted from 1."""
    start_time: Timestamp
    """When its first pod or hosted job was asked for."""
    end_time: Timestamp | None = None
    """When it ended; absent while it runs."""
    reason: ShortText | None = None
    """Why it ended."""
    message: Sentence | None = None
    """Why it ended, as a sentence."""
    step: Count | None = None
    """The last step that was reported."""
    node: ShortText | None = None
    """Where its last pod ran."""


class Resolved(ApiModel):
    """A setting that was decided once, and why."""

    value: ShortText
    """The setting that is used."""
    reason: ShortText
    """Why it was chosen."""


class Progress(ApiModel):
    """How far training is; written at most every 15 s."""

    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Part of the training that is done."""
    text: Annotated[str, Field(max_length=8)] | None = None
    """`percent` as the column shows it."""
    step: Count | None = None
    """Optimiser steps done."""
    total_steps: Count | None = None
    """Optimiser steps in all."""
    epoch: Annotated[str, Field(max_length=24)] | None = None
    """Passes over the data done."""
    loss: Annotated[str, Field(max_length=24)] | None = None
    """Training loss of the last reported step."""
    reward: Annotated[str, Field(max_length=24)] | None = None
    """Mean reward of the last reported step."""
    tokens_per_second: Count | None = None
    """Tokens trained in a second."""
    eta: Annotated[str, Field(max_length=32)] | None = None
    """When training is expected to end."""
    updated_at: Timestamp | None = None
    """When this was reported."""


class DataSetReport(ApiModel):
    """What was found in one file; from the prepare pod."""

    sha256: Sha256
    """Digest of the file's content; hosted: of what is uploaded."""
    bytes: Count
    """Size of the same."""
    examples: Count
    """Rows that are used."""
    tokens: Count | None = None
    """Tokens of all rows. In the cluster: counted with the model's own tokenizer and template."""
    longest: Count | None = None
    """Tokens of the longest row."""
    tokens_estimated: bool | None = None
    """True of a hosted job: `tokens` and `longest` are estimates from the size of the text."""
    supervised_tokens: Count | None = None
    """Tokens that carry loss; from the trainer."""
    truncated: Count | None = None
    """Rows cut at the maximum length; from the trainer."""
    dropped: Count | None = None
    """Rows left out because they cannot be used."""
    warnings: Annotated[list[Sentence], Field(max_length=MAX_WARNINGS)] | None = None
    """What is legal but probably not meant."""


class DataStatus(ApiModel):
    """The data as it was read."""

    training: DataSetReport | None = None
    validation: DataSetReport | None = None
    spec_digest: Annotated[str, Field(max_length=16)] | None = None
    """The part of the spec, and the retry, that this report was made for."""


class Submission(ApiModel):
    """Written before a hosted job is created, so that it can be found again."""

    marker: Annotated[str, Field(max_length=40)]
    """Ends the remote job's suffix."""
    attempt: Count
    """The attempt that it belongs to."""
    model: Annotated[str, Field(max_length=1024)] | None = None
    """What it starts from, as the service names it."""
    started_at: Timestamp
    """When the marker was written."""


class AzureOpenAIStatus(ApiModel):
    """The hosted job, as the service names it."""

    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """The account that the job runs in."""
    job_id: Identifier | None = Field(default=None, alias="jobID")
    """The hosted job's id."""
    raw_status: ShortText | None = None
    """The status as the service says it."""
    training_file_id: Identifier | None = Field(default=None, alias="trainingFileID")
    """The uploaded training file."""
    validation_file_id: Identifier | None = Field(default=None, alias="validationFileID")
    """The uploaded validation file."""
    result_file_ids: Annotated[list[ShortText], Field(max_length=16)] | None = Field(
        default=None, alias="resultFileIDs"
    )
    """Files with the metrics of each step."""
    trained_tokens: Count | None = None
    """Tokens trained on, all epochs together."""
    billed_tokens: Count | None = None
    """Tokens that the service charges for."""
    estimated_finish: Timestamp | None = None
    """When the service expects to be done."""
    submission: Submission | None = None


class CheckpointStatus(ApiModel):
    """The newest complete checkpoint on the output volume."""

    step: Count
    """The optimiser step it was saved at."""
    path: Annotated[str, Field(max_length=1024)] | None = None
    """Where it lies on the output volume."""
    saved_at: Timestamp | None = None
    """When it was complete."""


class KubernetesStatus(ApiModel):
    """The child Job and its pod."""

    job_name: ShortText | None = None
    """The child Job of the current attempt."""
    pod_name: ShortText | None = None
    """Its newest pod."""
    node_name: ShortText | None = None
    """The node of that pod."""
    queue_name: ShortText | None = None
    """The Kueue LocalQueue it waits or runs in."""
    claim_policy: Annotated[str, Field(max_length=8)] | None = None
    """Delete or Keep: what becomes of the job's own PVC, as its owner says. Absent: Keep."""
    checkpoint: CheckpointStatus | None = None
    replacements: Count | None = None
    """Pods that were replaced since a step was last gained; never counted as retries."""
    replaced_at_step: Count | None = None
    """The step that was reached when a pod was last replaced."""


class Metrics(ApiModel):
    """Final figures, as decimal strings."""

    train_loss: Annotated[str, Field(max_length=24)] | None = None
    """Loss on the training data."""
    validation_loss: Annotated[str, Field(max_length=24)] | None = None
    """Loss on the validation data."""
    train_reward: Annotated[str, Field(max_length=24)] | None = None
    """Mean reward of answers to the training data."""
    validation_reward: Annotated[str, Field(max_length=24)] | None = None
    """Mean reward of answers to the validation data."""


class ResultCheckpoint(ApiModel):
    """A checkpoint that can be used by name."""

    name: ShortText
    """How the backend names it."""
    step: Count
    """The optimiser step it was saved at."""
    metrics: Metrics | None = None


class Result(ApiModel):
    """The reference of the model."""

    model: Annotated[str, Field(max_length=1024)]
    """The service's model name, or pvc://CLAIM/PATH."""
    checkpoints: (
        Annotated[list[ResultCheckpoint], Field(max_length=MAX_CHECKPOINTS_SHOWN)] | None
    ) = None
    """Checkpoints that are left, oldest first."""


class FineTuneJobStatus(ApiModel):
    """What is known about a job. Conditions are the truth; phase and message are for people."""

    observed_generation: Count | None = None
    """The generation of the spec that this status is about."""
    started_generation: Count | None = None
    """The generation that runs; set before the first effect that costs money, never cleared."""
    backend: Backend | None = None
    method: Annotated[str, Field(max_length=32)] | None = None
    """The method of fine-tuning, for the column."""
    model: ShortText | None = None
    """The base model's short name, for the column."""
    phase: Phase | None = None
    message: Sentence | None = None
    """What is going on, as a sentence."""
    conditions: Annotated[
        list[Condition], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = Field(default_factory=list)
    """What has been observed, by type."""
    start_time: Timestamp | None = None
    """When the first attempt began."""
    completion_time: Timestamp | None = None
    """When the job came to its end."""
    last_handled_retry_at: ShortText | None = None
    """The last value of the retry annotation that was acted on."""
    attempt: Count | None = None
    """The number of the current attempt, from 1."""
    retries: Count | None = None
    """Retries used since the job was started or a retry was asked for."""
    attempts: Annotated[list[Attempt], Field(max_length=MAX_ATTEMPTS_SHOWN)] | None = None
    """The latest attempts, oldest first."""
    resolved: Annotated[dict[str, Resolved], Field(max_length=32)] | None = None
    """Settings that were decided before the first step, by their name."""
    progress: Progress | None = None
    data: DataStatus | None = None
    azure_open_ai: AzureOpenAIStatus | None = Field(default=None, alias="azureOpenAI")
    kubernetes: KubernetesStatus | None = None
    metrics: Metrics | None = None
    result: Result | None = None
