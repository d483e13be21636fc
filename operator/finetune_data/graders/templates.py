"""Placeholders in the texts of graders, and what they stand for.

`{{item.x.y}}`, `{{sample.output_text}}`, `{{sample.output_json.x}}`, `{{sample.output_tools}}`:
the form without blanks, since the service is only sure to read that. Knows no grader.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]{1,4}\])*")
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|[0-9]+")
_OUTPUTS = ("output_text", "output_json", "output_tools")

Json = Any


class TemplateError(Exception):
    """A placeholder that names nothing that there ever is: one sentence."""


class ItemLacksError(Exception):
    """The row has no such member. The grader cannot be used on it."""


class SampleLacksError(Exception):
    """The answer has no such member, or is no JSON: a bad answer, not a bad grader."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One answer of a model."""

    text: str
    tools: list[dict[str, Json]] = field(default_factory=list)
    """Its tool calls in the wire's form."""

    @cached_property
    def json(self) -> Json:
        """The text read as JSON; SampleLacksError if it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            raise SampleLacksError("the answer is not JSON") from None


@dataclass(frozen=True, kw_only=True)
class Placeholder:
    """Where a value comes from: the namespace and the steps below it."""

    root: str
    """item or sample."""
    steps: tuple[str | int, ...]

    def __str__(self) -> str:
        return self.root + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.steps
        )


def placeholders(template: str) -> Iterator[Placeholder]:
    """What a template names, in order; TemplateError for what can never be filled in."""
    for match in _PLACEHOLDER.finditer(template):
        yield _placeholder(match[1])


def _placeholder(text: str) -> Placeholder:
    shown = "{{" + text[:60] + "}}"
    if not _PATH.fullmatch(text):
        raise TemplateError(f"{shown} is no placeholder: write {{{{item.name}}}} without blanks")
    root, *names = _STEP.findall(text)
    steps = tuple(int(name) if name.isdigit() else name for name in names)
    if root == "sample":
        if not steps or steps[0] not in _OUTPUTS or (steps[0] == "output_text" and steps[1:]):
            raise TemplateError(
                f"{shown} names nothing: a sample has output_text, output_json and output_tools"
            )
    elif root != "item" or not steps:
        raise TemplateError(f"{shown} names nothing: begin with `item.` or `sample.`")
    return Placeholder(root=root, steps=steps)


def render(template: str, item: Mapping[str, Json], sample: Sample) -> str:
    """The template with its values: strings as they are, everything else as JSON.

    Raises:
        TemplateError: A placeholder that can never be filled in.
        ItemLacksError: The row lacks what is named.
        SampleLacksError: The answer does.
    """
    return _PLACEHOLDER.sub(
        lambda match: _text(value_of(_placeholder(match[1]), item, sample)), template
    )


def value_of(place: Placeholder, item: Mapping[str, Json], sample: Sample) -> Json:
    """What stands there; ItemLacksError or SampleLacksError if nothing does."""
    if place.root == "item":
        return _below(item, place.steps, ItemLacksError(f"the row has no {place}"))
    lacks = SampleLacksError(f"the answer has no {place}")
    match place.steps[0]:
        case "output_text":
            return sample.text
        case "output_tools":
            return _below(sample.tools, place.steps[1:], lacks)
        case _:
            return _below(sample.json, place.steps[1:], lacks)


def _below(value: Json, steps: tuple[str | int, ...], lacks: Exception) -> Json:
    for step in steps:
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                raise lacks
            value = value[step]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            raise lacks
    return value


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
