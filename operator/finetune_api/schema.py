"""Building blocks of the models: the base class, CEL rules, decimals and bounded strings.

Knows pydantic and the Kubernetes schema extensions; must not know a single field of our API.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema


class ApiModel(BaseModel):
    """A frozen model with camelCase names; unknown fields are ignored, as they are pruned."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


def cel(rule: str, message: str, *, field_path: str = "") -> dict[str, str]:
    """One validation rule; `message` is a sentence that says what to do."""
    rule_ = {"rule": " ".join(rule.split()), "message": message}
    return {**rule_, "fieldPath": field_path} if field_path else rule_


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """The schema extension that holds CEL rules, for `json_schema_extra`."""
    return {"x-kubernetes-validations": list(rules)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a string must match as a whole, if it begins with `prefix`, and how that is said.

    `pattern` means the same to RE2 and to Python: letters are spelt out, blanks too. `of` is CEL
    for the string: `string(self)` where a whole number may stand as well.
    """

    pattern: str
    message: str
    prefix: str = ""
    of: str = "self"

    def fits(self, text: str) -> bool:
        """Whether the text is as it must be, or not of this kind."""
        return not text.startswith(self.prefix) or re.fullmatch(self.pattern, text) is not None

    def rule(self) -> dict[str, str]:
        """The same for the API server, which would show a bare pattern instead of a sentence."""
        matches = f"{self.of}.matches(r'^({self.pattern})$')"
        guard = f"!{self.of}.startsWith('{self.prefix}') || " if self.prefix else ""
        return cel(guard + matches, self.message)


class Shaped:
    """Annotates a string with its shapes: CEL rules in the schema, and the same checks here.

    A whole number that stands in place of the string is checked as it is written.
    """

    def __init__(self, *shapes: Shape) -> None:
        self._shapes = shapes

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """The string's own checks, then ours."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The string's own schema, with the rules."""
        return {**handler(schema), **validations(*(shape.rule() for shape in self._shapes))}

    def _checked(self, value: int | str) -> int | str:
        for shape in self._shapes:
            if not shape.fits(str(value)):
                raise ValueError(shape.message)
        return value


def list_map(key: str) -> dict[str, Any]:
    """The schema extension of a list whose entries are told apart by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


_EXPONENT = r"([eE][-+]?[0-9]{1,2})?"
Decimal = Annotated[
    str,
    StringConstraints(max_length=24),
    Shaped(
        Shape(
            pattern=(
                rf"[0-9]*[1-9][0-9]*(\.[0-9]+)?{_EXPONENT}|[0-9]+\.[0-9]*[1-9][0-9]*{_EXPONENT}"
            ),
            message="must be above 0 and begin with a digit, such as `0.0002` or `2e-4`",
        )
    ),
]
"""A positive decimal number as a string: the API conventions forbid floats.

Two digits of exponent, so that it is never infinite.
"""

Fraction = Annotated[
    str,
    StringConstraints(max_length=24),
    Shaped(
        Shape(
            pattern=r"0(\.[0-9]+)?",
            message="must be 0 or above and below 1, beginning with 0, such as `0.1`",
        )
    ),
]
"""A decimal number from 0 to below 1, as a string."""

Name = Annotated[
    str,
    StringConstraints(max_length=253),
    Shaped(
        Shape(
            pattern="[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
            message="must be the name of an object: lower-case letters, digits, `-` and `.`, with a"
            " letter or digit at both ends",
        )
    ),
]
"""The name of a Kubernetes object in the job's own namespace."""

Key = Annotated[
    str,
    StringConstraints(max_length=253),
    Shaped(
        Shape(
            pattern="[-._a-zA-Z0-9]+",
            message="must be a key: letters, digits, `-`, `_` and `.`",
        )
    ),
]
"""A key of a Secret or a ConfigMap."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""A content digest in lower-case hexadecimal, as our own programs write it."""

ShortText = Annotated[str, StringConstraints(max_length=253)]
Sentence = Annotated[str, StringConstraints(max_length=1024)]
Timestamp = Annotated[
    str, StringConstraints(max_length=40), Field(json_schema_extra={"format": "date-time"})
]
Count = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
