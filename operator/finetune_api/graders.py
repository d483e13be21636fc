"""Graders as users write them: Azure's own objects, with Azure's own names, on both backends.

One flat object a grader, since that is its form on the wire; what each kind takes stands in one
table, for CEL and for pydantic alike. Knows nothing of how a grade comes about.
"""

import re
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from finetune_api.schema import Shape, Shaped, cel, validations

MAX_SOURCE_LENGTH = 32 * 1024
"""Of a python grader: the service takes more, but a pod's annotation carries it."""
MAX_PARTS = 16
"""Graders within a multi grader."""


class GraderType(StrEnum):
    """How a grade comes about."""

    STRING_CHECK = "string_check"
    TEXT_SIMILARITY = "text_similarity"
    SCORE_MODEL = "score_model"
    PYTHON = "python"
    ENDPOINT = "endpoint"
    MULTI = "multi"


class Operation(StrEnum):
    """How string_check compares: equal, not equal, contains, contains in whatever case."""

    EQ = "eq"
    NE = "ne"
    LIKE = "like"
    ILIKE = "ilike"


class SimilarityMetric(StrEnum):
    """How text_similarity measures; each from 0 to 1."""

    FUZZY_MATCH = "fuzzy_match"
    BLEU = "bleu"
    GLEU = "gleu"
    METEOR = "meteor"
    ROUGE_1 = "rouge_1"
    ROUGE_2 = "rouge_2"
    ROUGE_3 = "rouge_3"
    ROUGE_4 = "rouge_4"
    ROUGE_5 = "rouge_5"
    ROUGE_L = "rouge_l"


class ReasoningEffort(StrEnum):
    """How long a judging model may think."""

    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class WireModel(BaseModel):
    """A frozen model with the service's own snake_case names."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


Template = Annotated[str, StringConstraints(max_length=65_536)]
"""Text with placeholders in double braces: item.x, sample.output_text, sample.output_json.x."""


class TextPart(WireModel):
    """A piece of a judge's message."""

    type: Annotated[str, StringConstraints(pattern="^(input_text|text)$", max_length=16)]
    text: Template


class JudgeMessage(WireModel):
    """One message to a judging model."""

    role: Annotated[
        str, StringConstraints(pattern="^(system|developer|user|assistant)$", max_length=16)
    ]
    content: Template | TextPart | Annotated[list[TextPart], Field(max_length=16)]

    @property
    def text(self) -> str:
        """The content in one piece."""
        if isinstance(self.content, str):
            return self.content
        parts = [self.content] if isinstance(self.content, TextPart) else self.content
        return "".join(part.text for part in parts)


class SamplingParams(WireModel):
    """How a judging model answers; absent members are the model's own."""

    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Makes the judge's answers repeatable, as far as it can."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """The part of the likeliest words that it chooses from."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """How freely it chooses."""
    max_completions_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Spelt as the service spells it."""
    reasoning_effort: ReasoningEffort | None = None
    """How long it thinks."""


_REQUIRED = MappingProxyType(
    {
        GraderType.STRING_CHECK: ("input", "reference", "operation"),
        GraderType.TEXT_SIMILARITY: ("input", "reference", "evaluation_metric"),
        GraderType.SCORE_MODEL: ("input", "model"),
        GraderType.PYTHON: ("source",),
        GraderType.ENDPOINT: ("url",),
        GraderType.MULTI: ("graders", "calculate_output"),
    }
)
_OPTIONAL = MappingProxyType(
    {
        GraderType.STRING_CHECK: (),
        GraderType.TEXT_SIMILARITY: ("pass_threshold",),
        GraderType.SCORE_MODEL: ("range", "sampling_params", "pass_threshold"),
        GraderType.PYTHON: ("image_tag", "pass_threshold"),
        GraderType.ENDPOINT: ("rate_limit", "pass_threshold"),
        GraderType.MULTI: (),
    }
)
# A string or a list: it has no type in the schema, so CEL does not see it.
_UNSEEN = "input"


def _in_words(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)


def needs(kind: GraderType) -> str:
    """What is said of one that lacks something."""
    return f"a {kind} grader needs {_in_words(_REQUIRED[kind])}"


def takes(kind: GraderType) -> str:
    """What is said of one that has something else."""
    return f"a {kind} grader takes {_in_words((*_REQUIRED[kind], *_OPTIONAL[kind]))} only"


def _rules(kinds: tuple[GraderType, ...]) -> list[dict[str, str]]:
    fields = {field for kind in kinds for field in (*_REQUIRED[kind], *_OPTIONAL[kind])}
    rules = []
    for kind in kinds:
        needed = [name for name in _REQUIRED[kind] if name != _UNSEEN]
        alien = sorted(fields - {*_REQUIRED[kind], *_OPTIONAL[kind], _UNSEEN})
        has = " && ".join(f"has(self.{name})" for name in needed)
        lacks = " && ".join(f"!has(self.{name})" for name in alien)
        rules.append(cel(f"self.type != '{kind}' || ({has})", needs(kind)))
        rules.append(cel(f"self.type != '{kind}' || ({lacks})", takes(kind)))
    return rules


_SINGLE = tuple(kind for kind in GraderType if kind != GraderType.MULTI)


class SingleGrader(WireModel):
    """A grader that stands alone or within a multi grader."""

    model_config = ConfigDict(json_schema_extra=validations(*_rules(_SINGLE)))

    type: Annotated[GraderType, Field(json_schema_extra={"enum": [*_SINGLE]})]
    """string_check, text_similarity, score_model, python or endpoint."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """How it is called in metrics and messages."""
    input: (
        Annotated[
            Template | Annotated[list[JudgeMessage], Field(min_length=1, max_length=32)],
            WithJsonSchema(
                {"x-kubernetes-preserve-unknown-fields": True, "maxLength": 65_536, "maxItems": 32}
            ),
        ]
        | None
    ) = None
    """What is graded, with placeholders; of score_model the messages to the judging model."""
    reference: Template | None = None
    """What it is compared with."""
    operation: Operation | None = None
    """eq, ne, like (contains) or ilike (contains, in whatever case)."""
    evaluation_metric: SimilarityMetric | None = None
    """fuzzy_match, bleu, gleu, meteor, rouge_1 to rouge_5 or rouge_l."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """The model that judges."""
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Lowest and highest score of the judging model. Absent: 0 and 1."""
    sampling_params: SamplingParams | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SOURCE_LENGTH)] | None = (
        None
    )
    """Python with `def grade(sample, item)` that returns a number."""
    image_tag: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Which of the service's images runs the source."""
    url: (
        Annotated[
            str,
            StringConstraints(max_length=2048),
            Shaped(
                Shape(pattern=r"https://[^ ]+", message="`url` must begin with https://"),
            ),
        ]
        | None
    ) = None
    """Is sent sample and item, and answers with a score."""
    rate_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Requests to `url` per second at most."""
    pass_threshold: float | None = None
    """From which reward on a sample passes. Only counted: the reward stays as it is."""

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        kind = self.type
        if kind not in self._kinds():
            raise ValueError("a grader within a multi grader cannot be a multi grader itself")
        members = {name for name in type(self).model_fields if getattr(self, name) is not None}
        members -= {"type", "name"}
        if not members.issuperset(_REQUIRED[kind]):
            raise ValueError(needs(kind))
        if not members.issubset({*_REQUIRED[kind], *_OPTIONAL[kind]}):
            raise ValueError(takes(kind))
        if "input" in members and isinstance(self.input, str) == (kind == GraderType.SCORE_MODEL):
            form = "a list of messages" if kind == GraderType.SCORE_MODEL else "a string"
            raise ValueError(f"`input` of a {kind} grader must be {form}")
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError("`range` must hold the lowest score, then the highest")
        return self

    @classmethod
    def _kinds(cls) -> tuple[GraderType, ...]:
        return _SINGLE


PART_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
"""How parts of a multi grader are called, so that a formula can name them."""


class Grader(SingleGrader):
    """What grades an answer."""

    model_config = ConfigDict(json_schema_extra=validations(*_rules(tuple(GraderType))))

    type: GraderType
    """string_check, text_similarity, score_model, python, endpoint, or multi of these."""
    graders: (
        Annotated[dict[str, SingleGrader], Field(min_length=1, max_length=MAX_PARTS)] | None
    ) = None
    """The parts of a multi grader by the names that the formula uses."""
    calculate_output: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """The formula of a multi grader: numbers, parts, + - * / ^, parentheses and functions."""

    @classmethod
    def _kinds(cls) -> tuple[GraderType, ...]:
        return tuple(GraderType)

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        for name, part in (self.graders or {}).items():
            if not re.fullmatch(PART_NAME, name):
                raise ValueError(f"`{name[:40]}` cannot be used in a formula: use letters and _")
            if part.pass_threshold is not None:
                raise ValueError("`pass_threshold` is not for a grader within a multi grader")
        return self

    def leaves(self) -> dict[str, SingleGrader]:
        """Every grader that looks at a sample, by its name."""
        return dict(self.graders) if self.graders else {self.name: self}

    def on_the_wire(self) -> dict[str, Any]:
        """The object that the service is sent."""
        return self.model_dump(mode="json", exclude_none=True)
