"""The API conventions, checked on every node of the schema."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from finetune_api import constants
from finetune_api.reasons import ConditionType, Phase, Reason
from support.builders_api import Manifest
from support.crd_server import crd_manifest, schema

ROOT = schema(crd_manifest())
_CAMEL_FIELD = re.compile(r"^[a-z][a-zA-Z0-9]*$")
_CAMEL_VALUE = re.compile(r"^[A-Z][a-zA-Z0-9]*$")
# Durations are in `…Seconds`, initialisms are all capitals.
_BAD_ENDING = re.compile(r"(Timeout|Duration|Interval|Secs?|Minutes|Hours|Id|Url|Uri)$")
_IN_STEPS = ("spec.method.reinforcement.evalInterval",)  # the service's name, in its unit
# The service's own objects keep its names, its enums and its numbers.
_WIRE = ("spec.method.reinforcement.grader.", "spec.method.reinforcement.responseFormat.")
# Members of which exactly one is set: a default would set a second one.
_UNION_MEMBERS = (
    "spec.model",
    "spec.data.training",
    "spec.data.validation",
    "spec.azureOpenAI",
    "spec.kubernetes",
)


def nodes(node: Manifest, path: str) -> Iterator[tuple[str, Manifest]]:
    """Every node of the schema with its path; metadata is the API server's own."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if key in node:
            yield from nodes(node[key], f"{path}{mark}")


NODES = [
    (path, node)
    for part in ("spec", "status")
    for path, node in nodes(ROOT["properties"][part], part)
]


def every(keyword: str, value: str = "") -> Any:
    """A test for every node that has a keyword, with this value if one is given."""
    return pytest.mark.parametrize(
        ("path", "node"),
        [
            pytest.param(path, node, id=path)
            for path, node in NODES
            if keyword in node and node[keyword] == (value or node[keyword])
        ],
    )


@every("type", "string")
def test_every_string_is_bounded(path: str, node: Manifest) -> None:
    assert "maxLength" in node or "enum" in node, path


@every("type", "array")
def test_every_list_is_bounded_and_says_how_it_merges(path: str, node: Manifest) -> None:
    assert {"maxItems", "x-kubernetes-list-type"} <= node.keys(), path


@every("type", "integer")
def test_every_number_has_both_bounds(path: str, node: Manifest) -> None:
    assert {"minimum", "maximum"} <= node.keys(), path
    assert -(2**53) < node["minimum"] <= node["maximum"] < 2**53, path


@every("additionalProperties")
def test_every_map_is_bounded(path: str, node: Manifest) -> None:
    assert "maxProperties" in node, path


@every("x-kubernetes-preserve-unknown-fields")
def test_every_open_object_is_bounded(path: str, node: Manifest) -> None:
    # A string or a list has no type, and so nothing to be bounded but these.
    bounds = {"maxProperties"} if node.get("type") == "object" else {"maxLength", "maxItems"}
    assert bounds <= node.keys(), path


@every("x-kubernetes-int-or-string")
def test_every_number_or_string_has_a_rule_and_a_length(path: str, node: Manifest) -> None:
    assert {"x-kubernetes-validations", "maxLength"} <= node.keys(), path


def test_no_user_reads_a_pattern_instead_of_a_sentence() -> None:
    bare = [path for path, node in NODES if "pattern" in node]
    assert [path for path in bare if path.startswith("spec")] == []
    assert bare, "only programs write status"


@every("enum")
def test_enums_are_camel_case(path: str, node: Manifest) -> None:
    on_the_wire = path.startswith(_WIRE)
    assert on_the_wire or all(_CAMEL_VALUE.match(value) for value in node["enum"]), path


@every("properties")
def test_fields_are_camel_case_and_described(path: str, node: Manifest) -> None:
    for name, child in node["properties"].items():
        on_the_wire = f"{path}.".startswith(_WIRE)
        assert on_the_wire or _CAMEL_FIELD.match(name), f"{path}.{name}"
        assert child.get("description", "").endswith("."), f"{path}.{name}"


@every("properties")
def test_durations_and_ids_are_named_as_such(path: str, node: Manifest) -> None:
    names = {name for name in node["properties"] if f"{path}.{name}" not in _IN_STEPS}
    assert [name for name in names if _BAD_ENDING.search(name)] == [], path


@every("default")
def test_every_default_is_valid_and_unconditional(path: str, node: Manifest) -> None:
    jsonschema.validate(node["default"], node)
    assert not path.startswith(_UNION_MEMBERS), path


@every("x-kubernetes-validations")
def test_every_rule_speaks_in_a_sentence_that_names_a_field(path: str, node: Manifest) -> None:
    for rule in node["x-kubernetes-validations"]:
        assert "`" in rule["message"], rule
        assert not rule["message"].endswith("."), rule


def test_nothing_is_a_float_and_nothing_is_nullable() -> None:
    floats = [path for path, node in NODES if node.get("type") == "number"]
    assert [path for path in floats if not path.startswith(_WIRE)] == []
    assert [path for path, node in NODES if "nullable" in node] == []


def test_conditions_are_told_apart_by_type() -> None:
    conditions = dict(NODES)["status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] >= len(ConditionType)


@pytest.mark.parametrize("words", [Phase, ConditionType, Reason])
def test_words_of_status_are_camel_case(words: Any) -> None:
    assert all(_CAMEL_VALUE.match(word) for word in words)


def test_names_are_those_of_the_constants() -> None:
    spec = crd_manifest()["spec"]
    assert (spec["group"], spec["scope"]) == (constants.GROUP, "Namespaced")
    assert spec["names"] == {
        "kind": "FineTuneJob",
        "listKind": "FineTuneJobList",
        "plural": "finetunejobs",
        "singular": "finetunejob",
        "shortNames": ["ftj"],
        "categories": ["finetune"],
    }


def test_the_crd_fits_into_the_annotation_of_kubectl_apply() -> None:
    assert len(str(crd_manifest())) < 200_000
