"""What users write: the spec of a FineTuneJob, with the rules that need nothing but the spec.

A field is here only when it works. Knows no status and no cluster.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.backends import AzureOpenAI, Kubernetes
from finetune_api.methods import Method
from finetune_api.schema import (
    ApiModel,
    Decimal,
    Fraction,
    Name,
    Shape,
    Shaped,
    cel,
    validations,
)
from finetune_api.sources import PATH, PATH_IN_WORDS, Data, Model


class Hyperparameters(ApiModel):
    """What is absent is decided before the first step and stands in status.resolved."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!(has(self.epochs) && has(self.maxSteps))",
                "`epochs` and `maxSteps` must not be set together",
            ),
            cel(
                "!(has(self.learningRate) && has(self.learningRateMultiplier))",
                "`learningRate` and `learningRateMultiplier` must not be set together",
            ),
        )
    )

    epochs: Annotated[int, Field(ge=1, le=50)] | None = None
    """Passes over the training data."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """In the cluster: stop after this many optimiser steps, instead of `epochs`."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Examples per optimiser step, whatever packing, micro-batches and GPUs."""
    learning_rate: Decimal | None = None
    """In the cluster; with quotes, `"2e-4"`. Absent: 2e-4 with LoRA, 2e-5 without."""
    learning_rate_multiplier: Decimal | None = None
    """Multiplies the default learning rate, on both backends; with quotes, `"0.5"`."""
    max_sequence_length: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """In the cluster: longer rows are cut. Absent: 1024, or the model's own limit if lower."""
    packing: "Packing | None" = None
    """In the cluster: rows of a step share a sequence. Absent: Auto."""
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """In the cluster: rows per forward pass. Absent: chosen, and said in status.resolved."""


class Packing(StrEnum):
    """Whether rows of one step share a sequence."""

    AUTO = "Auto"
    ALWAYS = "Always"
    NEVER = "Never"


class PeftType(StrEnum):
    """LoRA trains small adapters over a frozen base; None trains every weight."""

    LORA = "LoRA"
    NONE = "None"


class TargetModules(StrEnum):
    """Which layers get an adapter."""

    ALL_LINEAR = "AllLinear"


class ParameterEfficient(ApiModel):
    """Adapters, or every weight."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                """self.type == 'LoRA' || (!has(self.rank) && !has(self.alpha)
                && !has(self.dropout) && !has(self.targetModules))""",
                "`rank`, `alpha`, `dropout` and `targetModules` go with `type: LoRA` only",
            ),
        )
    )

    type: PeftType = PeftType.LORA
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Absent: 16."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Absent: twice the rank."""
    dropout: Fraction | None = None
    """With quotes, `"0.1"`. Absent: 0."""
    target_modules: TargetModules | None = None
    """Absent: AllLinear."""


class Checkpoints(ApiModel):
    """When to save, and how many complete checkpoints to keep."""

    every_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Seconds between two checkpoints."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Complete checkpoints that are kept; older ones are removed."""


class OutputVolume(ApiModel):
    """A PVC of the job's namespace and a path in it."""

    claim_name: Name
    """The name of the PersistentVolumeClaim."""
    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=512),
        Shaped(
            Shape(
                pattern=PATH,
                message="`path` must be a folder below the volume, such as team-a/orca:"
                f" {PATH_IN_WORDS}",
            )
        ),
    ]
    """A folder in it, made if need be."""


class Output(ApiModel):
    """Where the result goes. Absent: a PVC of the job's own."""

    volume: OutputVolume


class RetryPolicy(ApiModel):
    """Retries after failures of the infrastructure; bad data and bad settings are never retried."""

    max_retries: Annotated[int, Field(ge=0, le=10)] = 3
    """New attempts after the first."""


class DeletePolicy(StrEnum):
    """What becomes of a thing when the FineTuneJob is deleted."""

    DELETE = "Delete"
    KEEP = "Keep"


class JobDeletionPolicy(StrEnum):
    """What becomes of a running hosted job when the FineTuneJob is deleted."""

    CANCEL = "Cancel"
    KEEP = "Keep"


class DeletionPolicy(ApiModel):
    """What becomes of outside things when the FineTuneJob is deleted."""

    job: JobDeletionPolicy = JobDeletionPolicy.CANCEL
    model: DeletePolicy = DeletePolicy.KEEP
    """In the cluster: whether the job's own PVC, and so the result, goes with it."""


def _one_secret(a: str, b: str) -> str:
    return f"!has({a}.secretRef) || !has({b}.secretRef) || {a}.secretRef.name == {b}.secretRef.name"


_ONE_HUB_TOKEN = cel(
    f"""({_one_secret("self.model", "self.data.training")})
    && (!has(self.data.validation)
    || (({_one_secret("self.model", "self.data.validation")})
    && ({_one_secret("self.data.training", "self.data.validation")})))""",
    "`secretRef` of `model`, `data.training` and `data.validation` must name the same Secret:"
    " a pod has one HF_TOKEN",
)
_OWN_VOLUME = cel(
    "!has(self.output) || self.?deletionPolicy.model.orValue('Keep') == 'Keep'",
    "`deletionPolicy.model: Delete` is for a volume of the job's own: remove it, or `output`",
)
HOSTED_ONLY = [
    cel(
        "!has(self.azureOpenAI) || !has(self.model.uri)",
        "a hosted job takes `model.name` or `model.jobRef`, not `model.uri`",
    ),
    cel(
        "!has(self.azureOpenAI) || !has(self.parameterEfficient)",
        "`parameterEfficient` is for `kubernetes` jobs: the hosted service decides it",
    ),
    cel(
        "!has(self.azureOpenAI) || !has(self.output)",
        "`output` is for `kubernetes` jobs: the hosted service keeps the model",
    ),
    cel(
        "!has(self.azureOpenAI) || !has(self.checkpoints)",
        "`checkpoints` is for `kubernetes` jobs: the hosted service keeps one per epoch",
    ),
    cel(
        "!has(self.azureOpenAI) || self.?deletionPolicy.model.orValue('Keep') == 'Keep'",
        "`deletionPolicy.model: Delete` is for `kubernetes` jobs: a hosted model is kept",
    ),
    cel(
        "!has(self.azureOpenAI) || !has(self.retryPolicy)",
        "`retryPolicy` is for `kubernetes` jobs: a hosted job is submitted once",
    ),
    cel(
        "!has(self.azureOpenAI) || !has(self.ttlSecondsAfterFinished)",
        "`ttlSecondsAfterFinished` is for `kubernetes` jobs: a hosted job leaves no training pod",
    ),
    cel(
        """!has(self.azureOpenAI) || !has(self.hyperparameters)
        || (!has(self.hyperparameters.maxSteps) && !has(self.hyperparameters.learningRate)
        && !has(self.hyperparameters.maxSequenceLength)
        && !has(self.hyperparameters.packing) && !has(self.hyperparameters.microBatchSize))""",
        "of `hyperparameters`, a hosted job takes"
        " `epochs`, `batchSize` and `learningRateMultiplier` only",
    ),
    cel(
        """!has(self.azureOpenAI) || self.?method.type.orValue('Supervised') != 'Reinforcement'
        || has(self.data.validation)""",
        "a hosted job with `method.type: Reinforcement` needs `data.validation`",
    ),
    cel(
        """!has(self.azureOpenAI) || !has(self.hyperparameters)
        || !has(self.hyperparameters.batchSize) || self.hyperparameters.batchSize <= 256""",
        "`hyperparameters.batchSize` of a hosted job must be at most 256",
    ),
]


class FineTuneJobSpec(ApiModel):
    """What to train, from what, on which data, and where."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.azureOpenAI) != has(self.kubernetes)",
                "exactly one of `azureOpenAI` and `kubernetes` must be set",
            ),
            cel(
                "!has(self.kubernetes) || has(self.model.uri)",
                "a job in the cluster takes `model.uri`, not `model.name` or `model.jobRef`",
            ),
            cel(
                "!has(self.kubernetes) || self.?deletionPolicy.job.orValue('Cancel') == 'Cancel'",
                "`deletionPolicy.job: Keep` is for `azureOpenAI` jobs: pods go with their job",
            ),
            cel(
                "!has(self.kubernetes) || self.?method.type.orValue('Supervised') == 'Supervised'",
                "`method.type` of a job in the cluster must be Supervised: DPO and Reinforcement"
                " are for `azureOpenAI` jobs so far",
            ),
            _ONE_HUB_TOKEN,
            _OWN_VOLUME,
            *HOSTED_ONLY,
        )
    )

    model: Model
    method: Method = Field(default_factory=Method)
    hyperparameters: Hyperparameters | None = None
    parameter_efficient: ParameterEfficient | None = None
    """In the cluster. Absent: LoRA."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Makes a run repeatable. Absent: the backend chooses."""
    data: Data
    azure_open_ai: AzureOpenAI | None = Field(default=None, alias="azureOpenAI")
    kubernetes: Kubernetes | None = None
    checkpoints: Checkpoints | None = None
    output: Output | None = None
    suspend: bool = False
    """Pause: a hosted job is paused at the service, a pod stops with a checkpoint."""
    validate_only: bool = False
    """Stop after the data report: nothing is uploaded, trained or paid.

    To train afterwards, set it to false and ask for a retry.
    """
    cancel: bool = False
    """Stop for good. Setting it back changes nothing; only a new retry token runs the job again."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds for training, pauses and queues included, from the first attempt on.

    Reading the data does not count; the retry annotation starts it anew. Then the job is stopped,
    also at the service, and is Failed (DeadlineExceeded). Absent: no limit.
    """
    retry_policy: RetryPolicy | None = None
    """In the cluster. Absent: three retries."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """In the cluster: removes child Jobs and pods, never the FineTuneJob nor its result."""
    deletion_policy: DeletionPolicy = Field(default_factory=DeletionPolicy)
