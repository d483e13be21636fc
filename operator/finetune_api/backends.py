"""Where a job runs: an account of Azure OpenAI, or pods of the cluster.

Knows nothing of methods, models and data.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.schema import ApiModel, Name, Shape, Shaped, cel, list_map, validations
from finetune_api.sources import SecretKeyRef, SecretRef


class TrainingType(StrEnum):
    """Where and how the service trains."""

    STANDARD = "Standard"
    GLOBAL_STANDARD = "GlobalStandard"
    DEVELOPER = "Developer"


class WorkloadIdentity(ApiModel):
    """A ServiceAccount of the job's namespace that is federated with an Entra identity."""

    service_account_name: Name
    """The ServiceAccount whose token is exchanged."""
    client_id: Annotated[
        str, Field(alias="clientID"), StringConstraints(min_length=1, max_length=64)
    ]
    """The client id of the Entra application or managed identity."""
    tenant_id: Annotated[
        str, Field(alias="tenantID"), StringConstraints(min_length=1, max_length=64)
    ]
    """The id of the Entra tenant."""


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

    # Printable ASCII without ?, # and @: what a blank is, the API server's and Python's regular
    # expressions do not agree on.
    endpoint: Annotated[
        str,
        StringConstraints(min_length=9, max_length=512),
        Shaped(
            Shape(
                pattern=r'https://[!"$->A-~]+',
                message="`endpoint` must be https://HOST of the account, such as"
                " https://my-account.openai.azure.com: no blanks, no `?`, `#` and `@`",
            )
        ),
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


_QUANTITY = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][0-9]+)?$"
_QUANTITY_LENGTH = 32
Quantity = Annotated[str, StringConstraints(max_length=_QUANTITY_LENGTH, pattern=_QUANTITY)]
Resources = Annotated[
    dict[str, int | Quantity],
    Field(
        max_length=16,
        json_schema_extra={
            "additionalProperties": {
                "x-kubernetes-int-or-string": True,
                "maxLength": _QUANTITY_LENGTH,
                "pattern": _QUANTITY,
            }
        },
    ),
]


class ResourceRequirements(ApiModel):
    """Requests and limits of the training container."""

    requests: Resources | None = None
    """What the scheduler sets aside. Absent: the limits."""
    limits: Resources | None = None
    """What the container may use at most."""


class EnvVar(ApiModel):
    """A plain environment variable; secrets do not belong here."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    ]
    """The name of the variable."""
    value: Annotated[str, StringConstraints(max_length=4096)]
    """Its value, taken as it stands."""


Labels = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)
]
OpenObject = Annotated[
    dict[str, Any],
    Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]


_OUR_ENV = cel(
    """self.all(e, !(e.name in ['HOME', 'HF_ENDPOINT', 'HF_TOKEN', 'TERMINATION_LOG'])
    && !e.name.startsWith('KUBEFLOW_') && !e.name.startsWith('FINETUNE_'))""",
    "HOME, HF_ENDPOINT, HF_TOKEN, TERMINATION_LOG, KUBEFLOW_* and FINETUNE_* are set by the"
    " operator: remove them from `env` (a token goes into a Secret, named by `secretRef`)",
)
_OUR_LABELS = cel(
    """self.all(k, !(k in ['job-name', 'controller-uid', 'app.kubernetes.io/managed-by',
    'app.kubernetes.io/component']) && !k.startsWith('batch.kubernetes.io/')
    && !k.startsWith('finetune.dev/'))""",
    "job-name, controller-uid, app.kubernetes.io/managed-by and /component, batch.kubernetes.io/*"
    " and finetune.dev/* belong to controllers: remove them from `labels`",
)


class PodTemplate(ApiModel):
    """What may be said about the training pod: a closed list, so that it stays restricted."""

    labels: Annotated[Labels, Field(json_schema_extra=validations(_OUR_LABELS))] | None = None
    """Further labels of the pod."""
    annotations: Labels | None = None
    """Further annotations of the pod."""
    node_selector: Labels | None = None
    """Labels that the node must have."""
    tolerations: Annotated[list[OpenObject], Field(max_length=32)] | None = None
    """As in a pod's spec."""
    affinity: OpenObject | None = None
    """As in a pod's spec."""
    topology_spread_constraints: Annotated[list[OpenObject], Field(max_length=16)] | None = None
    """As in a pod's spec."""
    priority_class_name: Name | None = None
    """As in a pod's spec."""
    runtime_class_name: Name | None = None
    """As in a pod's spec."""
    scheduler_name: Name | None = None
    """As in a pod's spec."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=8)] | None = None
    """Secrets of the namespace that may pull the image."""
    env: (
        Annotated[
            list[EnvVar],
            Field(max_length=64, json_schema_extra=list_map("name") | validations(_OUR_ENV)),
        ]
        | None
    ) = None
    """Further environment variables of the training container."""


class Kubernetes(ApiModel):
    """The in-cluster backend."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Absent: the chart's trainer image."""
    resources: ResourceRequirements | None = None
    pod_template: PodTemplate | None = None
    queue_name: Name | None = None
    """A Kueue LocalQueue: becomes the label of the child Job, which is created suspended."""
