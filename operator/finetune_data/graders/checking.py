"""Checks a grader before anything is spent: its placeholders, its formula, and each row's members.

Knows graders and rows; grades nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune_api.graders import Grader, SingleGrader
from finetune_data.graders.formula import FormulaError, names_in
from finetune_data.graders.templates import (
    ItemLacksError,
    Placeholder,
    Sample,
    TemplateError,
    placeholders,
    value_of,
)

_NO_SAMPLE = Sample(text="")


def check_grader(grader: Grader) -> str | None:
    """What is wrong with a grader by itself, in one sentence that begins with its name."""
    for name, part in grader.leaves().items():
        try:
            list(_placeholders(part))
        except TemplateError as error:
            return f"grader {name}: {error}"
    if grader.calculate_output is None:
        return None
    try:
        unknown = sorted(names_in(grader.calculate_output) - (grader.graders or {}).keys())
    except FormulaError as error:
        return f"grader {grader.name}: `calculate_output` {error}"
    if unknown:
        return (
            f"grader {grader.name}: `calculate_output` uses {unknown[0][:40]}, "
            f"but there are {', '.join(grader.graders or {})}"
        )
    return None


def item_members(grader: Grader) -> tuple[Placeholder, ...]:
    """What the grader reads of every row, each once."""
    found = {
        place: None
        for part in grader.leaves().values()
        for place in _placeholders(part)
        if place.root == "item"
    }
    return tuple(found)


def lacks(members: Sequence[Placeholder], item: Mapping[str, Any]) -> Placeholder | None:
    """The first member that a row does not have."""
    for place in members:
        try:
            value_of(place, item, _NO_SAMPLE)
        except ItemLacksError:
            return place
    return None


def reads_json(grader: Grader) -> bool:
    """Whether the answer must be JSON for the grader to read it."""
    return any(
        place.steps[0] == "output_json"
        for part in grader.leaves().values()
        for place in _placeholders(part)
        if place.root == "sample"
    )


def _placeholders(part: SingleGrader) -> Iterator[Placeholder]:
    if isinstance(part.input, str):
        yield from placeholders(part.input)
    elif part.input:
        for message in part.input:
            yield from placeholders(message.text)
    yield from placeholders(part.reference or "")
