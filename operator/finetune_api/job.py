"""The FineTuneJob itself: metadata, spec, status, and the rules that need more than the spec.

Rules at the root run on every status patch, so only those stand here that need metadata or status.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from finetune_api.schema import ApiModel, cel, validations
from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import FineTuneJobStatus

_NOT_STARTED = "oldSelf.?status.startedGeneration.orValue(0) == 0"
# Conditions by plain selection: behind `.?` the API server does not know that the list is bounded,
# and the estimated cost of `exists` is > 100 times over its budget.
_PAUSED = """(has(oldSelf.spec.suspend) && oldSelf.spec.suspend
    || oldSelf.?status.phase.orValue('') in ['Suspended', 'Failed']
    || has(oldSelf.status) && has(oldSelf.status.conditions)
        && oldSelf.status.conditions.exists(c, c.type == 'Stalled' && c.status == 'True'))"""
_CREATE_ANOTHER = "must not change once the job has started: create a new FineTuneJob instead"
_WHILE_PAUSED = "may change only while the job is suspended, stalled or failed"


def _same(path: str) -> str:
    """Both absent, or both present and equal; the form that fits the API server's cost budget."""
    has = f"has(self.{path}) == has(oldSelf.{path})"
    return f"({has} && (!has(self.{path}) || self.{path} == oldSelf.{path}))"


def _same_member(parent: str, name: str) -> str:
    """As `_same`, for a member of a backend; trivially true where the backend is not used."""
    return (
        f"!has(self.spec.{parent}) || !has(oldSelf.spec.{parent})"
        f" || {_same(f'spec.{parent}.{name}')}"
    )


def _frozen(*names: str) -> list[dict[str, str]]:
    return [
        cel(f"{_NOT_STARTED} || {_same(f'spec.{name}')}", f"`{name}` {_CREATE_ANOTHER}")
        for name in names
    ]


def _frozen_member(parent: str, *names: str) -> list[dict[str, str]]:
    return [
        cel(
            f"{_NOT_STARTED} || {_same_member(parent, name)}",
            f"`{parent}.{name}` {_CREATE_ANOTHER}",
        )
        for name in names
    ]


def _while_paused(parent: str, *names: str, effect: str) -> list[dict[str, str]]:
    return [
        cel(
            f"{_NOT_STARTED} || {_PAUSED} || {_same_member(parent, name)}",
            f"`{parent}.{name}` {_WHILE_PAUSED}; {effect}",
        )
        for name in names
    ]


RULES = [
    cel("self.metadata.name.size() <= 63", "`metadata.name` must be at most 63 characters long"),
    cel(
        "self.?spec.model.jobRef.name.orValue('') != self.metadata.name",
        "`model.jobRef` must name another job than this one",
    ),
    *_frozen(
        "model",
        "method",
        "hyperparameters",
        "parameterEfficient",
        "seed",
        "data",
        "checkpoints",
        "output",
    ),
    cel(
        f"{_NOT_STARTED} || has(self.spec.azureOpenAI) == has(oldSelf.spec.azureOpenAI)",
        "the backend must not change once the job has started: create a new FineTuneJob instead",
    ),
    *_frozen_member("azureOpenAI", "endpoint", "trainingType", "suffix"),
    *_while_paused("azureOpenAI", "auth", effect="the next request to the service uses it"),
    *_while_paused(
        "kubernetes",
        "image",
        "resources",
        "podTemplate",
        "queueName",
        effect="it takes effect with the next attempt",
    ),
]


class ObjectMeta(ApiModel):
    """The part of metadata that decisions depend on."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)


class FineTuneJob(ApiModel):
    """Fine-tunes one model, on Azure OpenAI or in pods of the cluster, and refers to the result."""

    model_config = ConfigDict(json_schema_extra=validations(*RULES))

    metadata: ObjectMeta
    spec: FineTuneJobSpec
    status: Annotated[FineTuneJobStatus, Field(default_factory=FineTuneJobStatus)]
