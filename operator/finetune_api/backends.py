"""Where a job runs: an account of Azure OpenAI, or pods of the cluster.

Knows nothing of methods, models and data.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.resources import ResourceRequirements
from finetune_api.schema import (
    ApiModel,
    Count,
    Name,
    Shape,
    Shaped,
    cel,
    list_map,
    validations,
)
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
        Annotated[
            str,
            StringConstraints(max_length=18),
            Shaped(
                Shape(
                    pattern="[A-Za-z0-9_-]+",
                    message="`suffix` must be letters, digits, '_' and '-', such as gsm8k-v2",
                )
            ),
        ]
        | None
    ) = None
    """Becomes part of the model's name; the operator's marker follows it."""
    auth: AzureAuth


class EnvVar(ApiModel):
    """A plain environment variable; secrets do not belong here."""

    name: Annotated[
        str,
        StringConstraints(max_length=256),
        Shaped(
            Shape(
                pattern="[A-Za-z_][A-Za-z0-9_]*",
                message="the `name` of a variable must be letters, digits and '_', and must not"
                " begin with a digit",
            )
        ),
    ]
    """The name of the variable."""
    value: Annotated[str, StringConstraints(max_length=4096)]
    """Its value, taken as it stands."""


_DOMAIN = "[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_LABEL_KEY = f"({_DOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
_LABEL_KEY_MESSAGE = (
    "the key of a label or annotation must be NAME or DOMAIN/NAME, such as `example.com/team`:"
    " at most 63 letters, digits, '-', '_' and '.' after a domain of at most 253, with a letter or"
    " digit at both ends"
)
_LABEL_KEYS = cel(f"self.all(k, k.matches(r'^({_LABEL_KEY})$'))", _LABEL_KEY_MESSAGE)
LabelKey = Annotated[str, Shaped(Shape(pattern=_LABEL_KEY, message=_LABEL_KEY_MESSAGE))]
LabelValue = Annotated[
    str,
    StringConstraints(max_length=63),
    Shaped(
        Shape(
            pattern="([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
            message="the value of a label must be empty, or letters, digits, `-`, `_` and `.` with"
            " a letter or digit at both ends",
        )
    ),
]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64)]
Annotations = Annotated[
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


class TolerationOperator(StrEnum):
    """How a toleration compares with a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint of nodes that the training pod may run on nevertheless."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without a `key` must have `operator: Exists`",
            ),
            cel(
                """!has(self.value) || self.value == '' || !has(self.operator)
                || self.operator != 'Exists'""",
                "a toleration with `operator: Exists` must have no `value`: remove it, or write"
                " `operator: Equal`",
            ),
            cel(
                """!has(self.tolerationSeconds)
                || (has(self.effect) && self.effect == 'NoExecute')""",
                "`tolerationSeconds` goes with `effect: NoExecute` only",
            ),
        )
    )

    key: (
        Annotated[
            str,
            StringConstraints(max_length=317),
            Shaped(
                Shape(
                    pattern=_LABEL_KEY,
                    message="the `key` of a toleration must be the key of a taint, such as"
                    " nvidia.com/gpu",
                )
            ),
        ]
        | None
    ) = None
    """The taint's key. Absent: every taint, with `operator: Exists`."""
    operator: TolerationOperator | None = None
    """Absent: Equal."""
    value: LabelValue | None = None
    """The taint's value, with `operator: Equal`."""
    effect: TaintEffect | None = None
    """Absent: every effect."""
    toleration_seconds: Count | None = None
    """With NoExecute: how long the pod stays once the taint is there. Absent: for good."""


class PodTemplate(ApiModel):
    """What may be said about the training pod: a closed list, so that it stays restricted."""

    labels: (
        Annotated[Labels, Field(json_schema_extra=validations(_LABEL_KEYS, _OUR_LABELS))] | None
    ) = None
    """Further labels of the pod."""
    annotations: (
        Annotated[Annotations, Field(json_schema_extra=validations(_LABEL_KEYS))] | None
    ) = None
    """Further annotations of the pod."""
    node_selector: Annotated[Labels, Field(json_schema_extra=validations(_LABEL_KEYS))] | None = (
        None
    )
    """Labels that the node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] | None = None
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
    queue_name: Annotated[Name, StringConstraints(max_length=63)] | None = None
    """A Kueue LocalQueue: becomes the label of the child Job, which is created suspended."""
