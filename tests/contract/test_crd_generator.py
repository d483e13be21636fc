"""The generator: each trap between pydantic, JSON Schema, YAML and the API server."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from finetune_api.crd import HEADER, UnmappedError, chart_template, render, structural, to_yaml
from finetune_api.schema import ApiModel, Decimal, list_map


class Colour(StrEnum):
    """A colour."""

    RED = "Red"


class Inner(ApiModel):
    """What stands inside."""

    size: Annotated[int, Field(ge=1)] = 1
    """How big."""


class Outer(ApiModel):
    """Everything that has a place in a structural schema."""

    nothing: str | None = None
    nested: Inner = Field(default_factory=Inner)
    described: Inner | None = None
    """Said at the field."""
    fixed: Literal["One"] = "One"
    colour: Colour = Colour.RED
    above: Annotated[int, Field(gt=0, lt=9)] = 1
    rate: Decimal = "2e-4"
    many: list[Inner] = Field(default_factory=list)
    by_name: Annotated[list[Inner], Field(json_schema_extra=list_map("size"))]
    counts: Annotated[dict[str, int], Field(max_length=3)] | None = None
    anything: Annotated[
        dict[str, Any],
        Field(max_length=4, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ]
    amount: Annotated[int | str, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]


INNER = {
    "type": "object",
    "description": "What stands inside.",
    "properties": {
        "size": {"description": "How big.", "type": "integer", "minimum": 1, "default": 1}
    },
}


@pytest.mark.parametrize(
    ("field", "want"),
    [
        pytest.param("nothing", {"type": "string"}, id="None: absent, not nullable"),
        pytest.param("nested", INNER | {"default": {}}, id="defaults below: an empty default"),
        pytest.param(
            "described",
            INNER | {"description": "Said at the field."},
            id="a reference: inlined, what stands beside it wins",
        ),
        pytest.param(
            "fixed",
            {"type": "string", "enum": ["One"], "default": "One"},
            id="one literal: enum, not const",
        ),
        pytest.param(
            "colour",
            {"description": "A colour.", "type": "string", "enum": ["Red"], "default": "Red"},
            id="an enum member: its value as default",
        ),
        pytest.param(
            "above",
            {
                "type": "integer",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 9,
                "exclusiveMaximum": True,
                "default": 1,
            },
            id="exclusive bounds: a number and a flag",
        ),
        pytest.param(
            "many",
            {"type": "array", "x-kubernetes-list-type": "atomic", "items": INNER},
            id="a list: atomic unless said otherwise",
        ),
        pytest.param(
            "byName",
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["size"],
                "items": INNER,
            },
            id="a list told apart by a key",
        ),
        pytest.param(
            "counts",
            {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}},
            id="a map: maxProperties, not maxItems",
        ),
        pytest.param(
            "anything",
            {
                "type": "object",
                "maxProperties": 4,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            id="an open object",
        ),
        pytest.param("amount", {"x-kubernetes-int-or-string": True}, id="a number or a string"),
    ],
)
def test_each_kind_of_field_becomes_structural(field: str, want: dict[str, Any]) -> None:
    assert structural(Outer)["properties"][field] == want


def test_fields_without_a_default_are_required() -> None:
    assert structural(Outer)["required"] == ["byName", "anything", "amount"]


class Union(BaseModel):
    either: int | str


class Untyped(BaseModel):
    whatever: Any


class Empty(BaseModel):
    nothing: Inner
    no_fields: dict[str, Any]


class Pair(BaseModel):
    two: tuple[int, str]


class Loop(BaseModel):
    again: "Loop | None" = None


class Deep(BaseModel):
    inner: list[Union]


@pytest.mark.parametrize(
    ("model", "want"),
    [
        pytest.param(Union, "Union.either: `anyOf`", id="a union"),
        pytest.param(Untyped, "Untyped.whatever: has no type", id="no type"),
        pytest.param(Empty, "Empty.no_fields: an object without fields", id="an object of nothing"),
        pytest.param(Pair, "Pair.two: `prefixItems`", id="a tuple"),
        pytest.param(Loop, "Loop.again: Loop contains itself", id="recursion"),
        pytest.param(Deep, r"Deep.inner\[\].either: `anyOf`", id="deep below"),
    ],
)
def test_what_has_no_mapping_is_an_error_that_names_the_field(
    model: type[BaseModel], want: str
) -> None:
    with pytest.raises(UnmappedError, match=want):
        structural(model)


@pytest.mark.parametrize("text", ["2e-4", "1.", ".5", "1e3", "0", "-1", "1.5", "true", "null"])
def test_strings_that_look_like_something_else_are_quoted(text: str) -> None:
    assert to_yaml({"default": text}) == f"default: '{text}'\n"


def test_braces_of_helm_are_refused() -> None:
    with pytest.raises(UnmappedError, match="Helm"):
        chart_template({"metadata": {"name": "x"}, "pattern": "{{"})


def test_the_chart_holds_the_same_crd() -> None:
    crd, chart = render().values()
    body = [line for line in chart.splitlines() if "{{" not in line]
    keep = ["  annotations:", "    helm.sh/resource-policy: keep"]
    want = yaml.safe_load("\n".join(line for line in body if line not in keep))
    assert yaml.safe_load(crd) == want
    assert crd.startswith(HEADER)
    assert chart.startswith(HEADER)
