"""Building blocks of the models: the base class, CEL rules, decimals and bounded strings.

Knows pydantic and the Kubernetes schema extensions; must not know a single field of our API.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


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


def list_map(key: str) -> dict[str, Any]:
    """The schema extension of a list whose entries are told apart by `key`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


_EXPONENT = r"([eE][-+]?[0-9]{1,2})?"
Decimal = Annotated[
    str,
    StringConstraints(
        pattern=(
            rf"^([0-9]*[1-9][0-9]*(\.[0-9]+)?{_EXPONENT}|[0-9]+\.[0-9]*[1-9][0-9]*{_EXPONENT})$"
        ),
        max_length=24,
    ),
]
"""A positive decimal number as a string: the API conventions forbid floats.

Two digits of exponent, so that it is never infinite.
"""

Fraction = Annotated[str, StringConstraints(pattern=r"^0(\.[0-9]+)?$", max_length=24)]
"""A decimal number from 0 to below 1, as a string."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
]
"""The name of a Kubernetes object in the job's own namespace."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
"""A content digest in lower-case hexadecimal."""

ShortText = Annotated[str, StringConstraints(max_length=253)]
Sentence = Annotated[str, StringConstraints(max_length=1024)]
Timestamp = Annotated[
    str, StringConstraints(max_length=40), Field(json_schema_extra={"format": "date-time"})
]
Count = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
