"""What the operator tells its pods and what they answer.

One JSON file goes in, one JSON object of at most 4 KiB comes out.

Both programs read this module and nothing of each other.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from finetune_api.graders import Grader
from finetune_api.schema import ApiModel
from finetune_api.spec import Packing, PeftType, TargetModules
from finetune_api.status import CheckpointStatus, DataSetReport, Metrics, Resolved


class HubSource(ApiModel):
    """A file or a folder on a Hugging Face hub (HF_ENDPOINT, HF_TOKEN: in the environment)."""

    kind: Literal["hub"] = "hub"
    repo_id: str
    repo_type: Literal["model", "dataset"]
    revision: str = "main"
    path: str | None = None
    """A file in the repository; absent: the whole of it."""


class FileSource(ApiModel):
    """A file or folder that is mounted into the pod (ConfigMap key or PVC path)."""

    kind: Literal["file"] = "file"
    path: str


class HttpsSource(ApiModel):
    """A file behind https://; addresses inside the cluster are refused unless allowed."""

    kind: Literal["https"] = "https"
    url: str
    allowed_ranges: list[str] = Field(default_factory=list)
    """CIDR ranges that may be reached although they are private (a chart value)."""
    denied_ranges: list[str] = Field(default_factory=list)
    """The cluster's own ranges, refused besides link-local, loopback and private ones."""


Source = Annotated[HubSource | FileSource | HttpsSource, Field(discriminator="kind")]


class DataFile(ApiModel):
    """One JSON Lines file: where it is and what digest it must have."""

    source: Source
    display: str
    """How people know it: ConfigMap gsm8k/train.jsonl, pvc://…; never a credential."""
    sha256: str | None = None


class RowFormat(StrEnum):
    """What the rows of a file look like."""

    CHAT = "Chat"
    PREFERENCE = "Preference"
    PROMPTS = "Prompts"


class Split(ApiModel):
    """Which of the training rows are held out for validation."""

    percent: int
    seed: int = 42
    at_least: int = 1
    """Rows, whatever the percentage."""


class UploadTarget(ApiModel):
    """Where the prepare pod puts the files of a hosted job."""

    base_url: str
    """Ends in /openai/v1/."""
    token_scope: str
    authority_host: str | None = None
    client_id: str | None = None
    """With tenant_id: AZURE_TOKEN_FILE is exchanged. Absent: API_KEY_FILE holds a key."""
    tenant_id: str | None = None


class PrepareConfig(ApiModel):
    """The prepare pod's task: read, check, count, and for a hosted job upload."""

    job: str
    """namespace/name, for logs."""
    created: datetime | None = None
    """What chat templates that show the date take for it, in every pod. Absent: now."""
    training: DataFile
    validation: DataFile | None = None
    split: Split | None = None
    """Instead of `validation`."""
    drop_invalid: bool = False
    """Leave out rows that cannot be used, instead of failing."""
    tokenizer: Annotated[HubSource | FileSource, Field(discriminator="kind")] | None = None
    """In the cluster: the model, of which no weights are fetched."""
    max_sequence_length: int | None = None
    row_format: RowFormat = RowFormat.CHAT
    grader: Grader | None = None
    """Of prompts: what it reads, every row must have."""
    hosted_model: str | None = None
    """At the hosted service: the name of the model to start from."""
    epochs: int | None = None
    """As the spec says; absent: the trainer or the service decides."""
    min_examples: int = 1
    """10 at the hosted service."""
    upload: UploadTarget | None = None
    validate_only: bool = False
    """Report, and upload nothing."""


class BadRow(ApiModel):
    """A row that cannot be used: its line number (from 1) and a sentence without its content."""

    line: int
    problem: Annotated[str, Field(max_length=200)]


class PrepareReport(ApiModel):
    """The prepare pod's last words. Not ok: `reason` and `message` say what the user must do."""

    ok: bool
    reason: str | None = None
    """A finetune_api.reasons.Reason."""
    message: str | None = None
    transient: bool = False
    """Worth another pod later (a network failure), as against a fault in the data."""
    waits_for_user: bool = False
    """Worth another pod once somebody has mended something outside (a key, a role)."""
    training: DataSetReport | None = None
    validation: DataSetReport | None = None
    bad_rows: Annotated[list[BadRow], Field(max_length=10)] = Field(default_factory=list)
    training_file_id: str | None = None
    validation_file_id: str | None = None


class LoraSettings(ApiModel):
    """Adapter settings; None means the trainer's default, said in `resolved`."""

    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    target_modules: TargetModules | None = None


class TrainerConfig(ApiModel):
    """The training pod's task. None: the trainer decides once and says so in `resolved`."""

    job: str
    """namespace/name, for logs and the result's card."""
    job_uid: str = ""
    """A checkpoint or result of another uid is never taken for this job's."""
    created: datetime | None = None
    """What chat templates that show the date take for it, in every pod. Absent: now."""
    attempt: int
    model: Annotated[HubSource | FileSource, Field(discriminator="kind")]
    model_display: str
    """The model's canonical name or URI; the adapter's base_model_name_or_path becomes this."""
    method: Literal["Supervised"] = "Supervised"
    peft: PeftType = PeftType.LORA
    lora: LoraSettings = Field(default_factory=LoraSettings)
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None
    max_sequence_length: int | None = None
    packing: Packing = Packing.AUTO
    micro_batch_size: int | None = None
    seed: int = 42
    training: DataFile
    validation: DataFile | None = None
    split: Split | None = None
    """Instead of `validation`."""
    drop_invalid: bool = False
    """Leave out rows that cannot be used, instead of failing."""
    checkpoint_every_seconds: int = 300
    checkpoint_keep: int = 2
    output_dir: str
    """On the output volume; holds checkpoints/, result/ and report.json."""


class TrainerReport(ApiModel):
    """The training pod's last words; the supervisor writes them, also for a killed child."""

    code: int
    """The exit code, see ExitCode."""
    reason: str
    """A finetune_api.reasons.Reason."""
    message: Annotated[str, Field(max_length=1024)]
    """One sentence: what happened and what to do."""
    step: int | None = None
    total_steps: int | None = None
    resumed_from: int | None = None
    checkpoint: CheckpointStatus | None = None
    metrics: Metrics | None = None
    data: DataSetReport | None = None
    """What the trainer alone knows (supervised_tokens, truncated), with digest and counts."""
    resolved: dict[str, Resolved] = Field(default_factory=dict)
    result_path: Annotated[str, Field(max_length=253)] | None = None
    """Relative to output_dir, once the result is complete."""


class ProgressMetric(ApiModel):
    """Kubeflow Trainer's wire format: every value is a string."""

    name: Annotated[str, Field(max_length=64)]
    value: Annotated[str, Field(max_length=64)]


class TrainerStatus(ApiModel):
    """Kubeflow Trainer's wire format of progress (its v2.2 `trainerStatus`)."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    estimated_remaining_seconds: Annotated[int, Field(ge=0)] | None = None
    metrics: Annotated[list[ProgressMetric], Field(max_length=256)] = Field(default_factory=list)
    last_updated_time: Annotated[str, Field(max_length=40)] | None = None


class ProgressUpdate(ApiModel):
    """The body that a pod posts to the progress endpoint."""

    trainer_status: TrainerStatus
    resolved: Annotated[dict[str, Resolved], Field(max_length=32)] = Field(default_factory=dict)
    """What our own trainer decided before step 1; not part of Kubeflow's format."""
