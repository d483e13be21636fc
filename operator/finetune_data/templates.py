"""A model's own chat templates, rendered without transformers but as it does, in the same sandbox.

Knows template files; must not know of tokens or of what is trained.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from finetune_data.messages import Message
from finetune_data.problems import RowProblem, TokenizerError


class ChatTemplate:
    """The templates of one model, as a `finetune_data.rendering.Template`."""

    def __init__(self, sources: dict[str, str], special: dict[str, str], now: datetime) -> None:
        """Compile the texts, known by name, which must include `default`.

        Args:
            sources: The templates.
            special: bos_token and its like.
            now: What templates that show the date take for it.
        """
        self._sources = sources
        self._special = special
        self._templates = {name: _compile(text, now) for name, text in sources.items()}

    def __call__(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, *, prompt: bool
    ) -> str:
        """The text; RowProblem if the template refuses it."""
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        try:
            return self._templates[name].render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=prompt,
                **self._special,
            )
        except Exception as error:  # a template is a program of the model's: anything may come
            raise refusal(error, self._sources[name]) from error


def _compile(text: str, now: datetime) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = now.strftime
    try:
        return environment.from_string(text)
    except jinja2.TemplateError as error:
        raise TokenizerError("the model's chat template is not valid Jinja") from error


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant wrote; here it is just its body, in a scope."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """As transformers: no HTML escapes, which jinja2's own filter makes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def refusal(error: Exception, source: str) -> RowProblem:
    """The template's own words if they stand in its text, so that no row is quoted."""
    message = str(error)
    if isinstance(error, jinja2.TemplateError) and message and message in source:
        return RowProblem(f"the model's chat template refuses the row: {message}"[:200])
    return RowProblem("the model's chat template cannot render the row; check the order of roles")


def templates_of(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The chat templates by name. Files count before the setting, as in transformers."""
    templates: dict[str, str] = {}
    inline = settings.get("chat_template")
    if isinstance(inline, str):
        templates["default"] = inline
    elif isinstance(inline, list):
        templates |= {str(e.get("name")): str(e.get("template")) for e in inline}
    if (file := folder / "chat_template.jinja").is_file():
        extra = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        templates = {path.stem: read_text(path) for path in extra}
        templates["default"] = read_text(file)
    if "default" not in templates:
        raise TokenizerError("the model has no chat template; use an instruct or chat model")
    return templates


def read_text(path: Path) -> str:
    """What a file of the model's holds; TokenizerError if it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"the model's {path.name} is not UTF-8 text") from error
