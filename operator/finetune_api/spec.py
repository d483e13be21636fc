"""What users write: the spec of a FineTuneJob, with the rules that need nothing but the spec.

A field is here only when it works. Knows no status and no cluster.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.schema import ApiModel, Decimal, Name, Sha256, ShortText, cel, validations


class SecretRef(ApiModel):
    """A Secret in the job's namespace whose keys the scheme of the URI fixes (hf: HF_TOKEN)."""

    name: Name


class SecretKeyRef(ApiModel):
    """One key of a Secret in the job's namespace."""

    name: Name
    key: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
    ]


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the job's namespace."""

    name: Name
    key: Annotated[
        str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
    ]


MODEL_URI = r"^(hf://[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*|pvc://[a-z0-9][-a-z0-9.]*(/[-A-Za-z0-9._/]*)?)$"
DATA_URI = (
    r"^(hf://datasets/[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*/[-A-Za-z0-9._/]+"
    r"|pvc://[a-z0-9][-a-z0-9.]*/[-A-Za-z0-9._/]+|https://[^\s]+)$"
)


class Model(ApiModel):
    """The model to start from: a name that the service knows, or the place of its files."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.name) != has(self.uri)",
                "exactly one of `name` (hosted) and `uri` (in the cluster) must be set",
            ),
            cel(
                "!has(self.revision) || (has(self.uri) && self.uri.startsWith('hf://'))",
                "`revision` goes with an hf:// `uri` only",
            ),
            cel(
                "!has(self.secretRef) || (has(self.uri) && self.uri.startsWith('hf://'))",
                "`secretRef` goes with an hf:// `uri` only",
            ),
        )
    )

    name: (
        Annotated[
            str,
            StringConstraints(
                min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:]*$"
            ),
        ]
        | None
    ) = None
    """Hosted: a base model or an earlier fine-tuned one, such as gpt-4.1-mini-2025-04-14."""
    uri: Annotated[str, StringConstraints(max_length=1024, pattern=MODEL_URI)] | None = None
    """In the cluster: hf://ORGANISATION/NAME or pvc://CLAIM/PATH with the model's files."""
    revision: ShortText | None = None
    """hf:// only: a branch, tag or commit. Absent: main."""
    secret_ref: SecretRef | None = None
    """hf:// only: a Secret with the key HF_TOKEN."""


class MethodType(StrEnum):
    """How to fine-tune."""

    SUPERVISED = "Supervised"


class Method(ApiModel):
    """The method of fine-tuning."""

    type: MethodType = MethodType.SUPERVISED
    """Supervised: learn the assistant's answers of chat rows."""


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
    """In the cluster. Absent: 2e-4 with LoRA, 2e-5 without."""
    learning_rate_multiplier: Decimal | None = None
    """Multiplies the default learning rate, on both backends."""
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

    type: PeftType = PeftType.LORA
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Absent: 16."""
    alpha: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Absent: twice the rank."""
    dropout: Decimal | None = None
    """Absent: 0."""
    target_modules: TargetModules | None = None
    """Absent: AllLinear."""


class DataSource(ApiModel):
    """One JSON Lines file: a key of a ConfigMap, or a URI."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.configMap) != has(self.uri)",
                "exactly one of `configMap` and `uri` must be set",
            ),
            cel(
                "!has(self.revision) || (has(self.uri) && self.uri.startsWith('hf://'))",
                "`revision` goes with an hf:// `uri` only",
            ),
            cel(
                "!has(self.secretRef) || (has(self.uri) && self.uri.startsWith('hf://'))",
                "`secretRef` goes with an hf:// `uri` only",
            ),
        )
    )

    config_map: ConfigMapKeyRef | None = None
    uri: Annotated[str, StringConstraints(max_length=2048, pattern=DATA_URI)] | None = None
    """pvc://CLAIM/PATH, https://…, or hf://datasets/ORGANISATION/NAME/PATH."""
    revision: ShortText | None = None
    """hf:// only: a branch, tag or commit. Absent: main."""
    sha256: Sha256 | None = None
    """Refuse the file unless its content has this digest."""
    secret_ref: SecretRef | None = None
    """hf:// only: a Secret with the key HF_TOKEN."""


class Data(ApiModel):
    """The rows to learn from and, better with, the rows to check against."""

    training: DataSource
    validation: DataSource | None = None


class TrainingType(StrEnum):
    """Where and how the service trains."""

    STANDARD = "Standard"
    GLOBAL_STANDARD = "GlobalStandard"
    DEVELOPER = "Developer"


class WorkloadIdentity(ApiModel):
    """A ServiceAccount of the job's namespace that is federated with an Entra identity."""

    service_account_name: Name
    client_id: Annotated[
        str, Field(alias="clientID"), StringConstraints(min_length=1, max_length=64)
    ]
    tenant_id: Annotated[
        str, Field(alias="tenantID"), StringConstraints(min_length=1, max_length=64)
    ]


class AzureAuth(ApiModel):
    """How to prove who is asking."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.workloadIdentity) != has(self.apiKeySecretRef)",
                "exactly one of `workloadIdentity` and `apiKeySecretRef` must be set",
            ),
        )
    )

    workload_identity: WorkloadIdentity | None = None
    api_key_secret_ref: SecretKeyRef | None = None


class AzureOpenAI(ApiModel):
    """The hosted backend."""

    endpoint: Annotated[
        str, StringConstraints(min_length=9, max_length=512, pattern=r"^https://[^\s?#@]+$")
    ]
    """The account's address, such as https://my-account.openai.azure.com."""
    training_type: TrainingType | None = None
    """Absent: the service decides (Standard)."""
    suffix: (
        Annotated[str, StringConstraints(min_length=1, max_length=18, pattern=r"^[A-Za-z0-9_-]+$")]
        | None
    ) = None
    """Becomes part of the model's name; the operator's marker follows it."""
    auth: AzureAuth


Quantity = Annotated[
    str,
    StringConstraints(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([numkKMGTPE]i?|[eE][0-9]+)?$"),
]
Resources = Annotated[
    dict[str, int | Quantity],
    Field(
        max_length=16,
        json_schema_extra={"additionalProperties": {"x-kubernetes-int-or-string": True}},
    ),
]


class ResourceRequirements(ApiModel):
    """Requests and limits of the training container."""

    requests: Resources | None = None
    limits: Resources | None = None


class EnvVar(ApiModel):
    """A plain environment variable; secrets do not belong here."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    ]
    value: Annotated[str, StringConstraints(max_length=4096)] = ""


Labels = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)
]
OpenObject = Annotated[
    dict[str, Any],
    Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]


class PodTemplate(ApiModel):
    """What may be said about the training pod: a closed list, so that it stays restricted."""

    labels: Labels | None = None
    annotations: Labels | None = None
    node_selector: Labels | None = None
    tolerations: Annotated[list[OpenObject], Field(max_length=32)] | None = None
    affinity: OpenObject | None = None
    topology_spread_constraints: Annotated[list[OpenObject], Field(max_length=16)] | None = None
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None
    scheduler_name: Name | None = None
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=8)] | None = None
    env: Annotated[list[EnvVar], Field(max_length=64)] | None = None


class Kubernetes(ApiModel):
    """The in-cluster backend."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Absent: the chart's trainer image."""
    resources: ResourceRequirements | None = None
    pod_template: PodTemplate | None = None
    queue_name: Name | None = None
    """A Kueue LocalQueue: becomes the label of the child Job, which is created suspended."""


class Checkpoints(ApiModel):
    """When to save, and how many complete checkpoints to keep."""

    every_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    keep: Annotated[int, Field(ge=1, le=100)] = 2


class OutputVolume(ApiModel):
    """A PVC of the job's namespace and a path in it."""

    claim_name: Name
    path: Annotated[
        str,
        StringConstraints(
            min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._-][-A-Za-z0-9._/]*$"
        ),
    ]


class Output(ApiModel):
    """Where the result goes. Absent: a PVC of the job's own."""

    volume: OutputVolume


class RetryPolicy(ApiModel):
    """Retries after failures of the infrastructure; bad data and bad settings are never retried."""

    max_retries: Annotated[int, Field(ge=0, le=10)] = 3


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


HOSTED_ONLY = [
    cel(
        "!has(self.azureOpenAI) || has(self.model.name)",
        "a hosted job takes `model.name`, not `model.uri`",
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
                "a job in the cluster takes `model.uri`, not `model.name`",
            ),
            *HOSTED_ONLY,
        )
    )

    model: Model
    method: Method = Field(default_factory=Method)
    hyperparameters: Hyperparameters | None = None
    parameter_efficient: ParameterEfficient | None = None
    """In the cluster. Absent: LoRA."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    data: Data
    azure_open_ai: AzureOpenAI | None = Field(default=None, alias="azureOpenAI")
    kubernetes: Kubernetes | None = None
    checkpoints: Checkpoints | None = None
    output: Output | None = None
    suspend: bool = False
    """Pause: a hosted job is paused at the service, a pod stops with a checkpoint."""
    cancel: bool = False
    """Stop for good. Setting it back changes nothing; only a new retry token runs the job again."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from the start of the first attempt; then the job is stopped, also at the service."""
    retry_policy: RetryPolicy | None = None
    """In the cluster. Absent: three retries."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """In the cluster: removes child Jobs and pods, never the FineTuneJob nor its result."""
    deletion_policy: DeletionPolicy = Field(default_factory=DeletionPolicy)
