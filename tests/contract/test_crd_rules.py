"""Every CEL rule on a real API server: what it lets through, and what it refuses in which words."""

import re
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from finetune_api.job import FineTuneJob
from support import rules_methods, rules_spec, rules_started, rules_texts, rules_uris
from support.builders_api import Manifest, changed
from support.crd_server import CrdServer, Refused, crd_manifest, schema
from support.rules_rows import RuleRow

TEXT_ROWS = [*rules_texts.rows(), *rules_uris.rows()]
ROWS = [*rules_spec.rows(), *rules_methods.rows(), *TEXT_ROWS, *rules_started.rows()]


def rules(node: Manifest, path: str = "") -> Iterator[tuple[str, str]]:
    """Every rule below a node of the schema: the path where it stands, its sentence."""
    for rule in node.get("x-kubernetes-validations", []):
        yield path, rule["message"]
    for name, child in node.get("properties", {}).items():
        yield from rules(child, f"{path}.{name}".lstrip("."))
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from rules(node[key], f"{path}.*")


RULES = list(rules(schema(crd_manifest())))


def write(server: CrdServer, row: RuleRow, name: str) -> None:
    """Do what the row says, without leaving anything behind.

    Raises:
        Refused: with the server's reasons.
    """
    if row.old is None:
        server.create(row.new, dry_run=True)
        return
    old = server.stored(changed(row.old, {"metadata.name": name}))
    try:
        server.replace(changed(row.new, {"metadata": old["metadata"]}), dry_run=True)
    finally:
        server.delete(name)


@pytest.mark.integration
@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if row.allowed])
def test_the_rule_lets_through(crd_server: CrdServer, row: RuleRow) -> None:
    write(crd_server, row, "allowed")


@pytest.mark.integration
@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS if not row.allowed])
def test_the_rule_refuses_in_its_own_words(crd_server: CrdServer, row: RuleRow) -> None:
    with pytest.raises(Refused) as refused:
        write(crd_server, row, "refused")
    want_field = row.at or "<nil>"
    said = [cause for cause in refused.value.causes if cause.message.endswith(f": {row.message}")]
    at = [re.sub(r"\[[^]]*\]", ".*", cause.field) for cause in said]
    assert at == [want_field], refused.value.causes


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in TEXT_ROWS])
def test_the_models_say_the_same_of_a_string(row: RuleRow) -> None:
    stored = changed(row.new, {"metadata.uid": "u-1"})
    if row.allowed:
        FineTuneJob.model_validate(stored)
        return
    with pytest.raises(ValidationError, match=re.escape(row.message)):
        FineTuneJob.model_validate(stored)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=": ".join(rule)) for rule in RULES])
def test_every_rule_has_a_row_for_both_answers(rule: tuple[str, str]) -> None:
    assert {row.allowed for row in ROWS if (row.at, row.message) == rule} == {True, False}


def test_every_row_is_about_a_rule_that_exists() -> None:
    assert {(row.at, row.message) for row in ROWS} <= set(RULES)


def test_no_two_rules_at_one_place_say_the_same() -> None:
    assert len(RULES) == len(set(RULES))
