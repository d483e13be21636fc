"""How to fine-tune: the methods and what each of them takes.

Knows no backend: what only one backend can do is said in the rules of the spec.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.graders import Grader, WireModel
from finetune_api.schema import ApiModel, Decimal, cel, validations


class MethodType(StrEnum):
    """How to fine-tune."""

    SUPERVISED = "Supervised"
    DPO = "DPO"
    REINFORCEMENT = "Reinforcement"


class Dpo(ApiModel):
    """What Direct Preference Optimization takes; absent members are the service's choice."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.beta) || double(self.beta) <= 2.0",
                "`beta` must be above 0 and at most 2",
            ),
        )
    )

    beta: Decimal | None = None
    """With quotes, `"0.1"`. The higher, the closer the model stays to what it was."""
    l2_multiplier: Decimal | None = None
    """With quotes. How strongly weights are kept small."""


class EffortOfReasoning(StrEnum):
    """How long the model thinks in training."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class JsonSchema(WireModel):
    """A JSON schema that answers follow."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """How the service calls it."""
    definition: Annotated[
        dict[str, Any],
        Field(
            alias="schema",
            max_length=64,
            json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        ),
    ]
    """The schema itself."""
    strict: bool | None = None
    """Whether answers can be nothing else."""


class ResponseFormat(WireModel):
    """What answers must look like, as the chat API has it."""

    type: Literal["json_schema"]
    """Always json_schema."""
    json_schema: JsonSchema
    """The schema, with a name."""

    def on_the_wire(self) -> dict[str, Any]:
        """The object that the service is sent."""
        return self.model_dump(mode="json", exclude_none=True)


class Reinforcement(ApiModel):
    """What reinforcement fine-tuning takes; absent numbers are the service's choice."""

    grader: Grader
    """Grades every answer: the service's own objects, with its own names."""
    response_format: ResponseFormat | None = None
    """Makes answers JSON of this schema, so that graders can use sample.output_json."""
    reasoning_effort: EffortOfReasoning | None = None
    compute_multiplier: Decimal | None = None
    """With quotes. How many answers are tried a step: the more, the dearer."""
    eval_interval: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Steps between two evaluations on the validation data."""
    eval_samples: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Answers for each row in an evaluation."""


class Method(ApiModel):
    """The method of fine-tuning."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.dpo) || self.?type.orValue('') == 'DPO'",
                "`dpo` goes with `type: DPO` only",
            ),
            cel(
                "has(self.reinforcement) == (self.?type.orValue('') == 'Reinforcement')",
                "`type: Reinforcement` and `reinforcement` go together, with its `grader`",
            ),
        )
    )

    type: MethodType = MethodType.SUPERVISED
    """Supervised: learn the assistant's answers of chat rows. DPO: learn which of two answers is
    preferred. Reinforcement: learn what a grader rewards.
    """
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None
