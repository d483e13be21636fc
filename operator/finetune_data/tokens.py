"""Counts tokens with a model's own tokenizer and chat template, without transformers.

Renders as transformers does, in the same sandbox. Knows no weights and no files of rows.
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
from tokenizers import Tokenizer

from finetune_data.chat import ChatRow
from finetune_data.messages import Message, trained
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, RowProblem
from finetune_data.text import has_surrogate

MAX_TOKENIZER_BYTES = 256 * 1024 * 1024


class TokenizerError(Exception):
    """A model without a tokenizer or chat template that can be used: one sentence."""


class ChatTokenizer:
    """A model's tokenizer and template, from its folder."""

    def __init__(self, folder: Path) -> None:
        """Read the folder; TokenizerError if something is missing or broken."""
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        settings = _settings(folder)
        self.max_positions = _max_positions(folder)
        """The most tokens that the model reads; None if it does not say."""
        self._special = _special_tokens(settings)
        self._sources = _templates(folder, settings)
        self._templates = {name: _compile(text) for name, text in self._sources.items()}

    def render(self, row: ChatRow) -> str:
        """The row as the text that is trained on; RowProblem if the template refuses it."""
        text = self._text(row.messages, row.tools)
        if has_surrogate(text):
            raise RowProblem(
                "the model's chat template writes what is no text: "
                "use another model in a new FineTuneJob"
            )
        if self._leaves_tools_out(row, text):
            raise RowProblem(
                "the model's chat template leaves out tools and tool calls: use a model whose "
                "template supports such rows in a new FineTuneJob, or change the rows"
            )
        return text

    def _text(
        self,
        messages: Sequence[Message],
        tools: list[dict[str, Any]] | None,
        *,
        prompt: bool = False,
    ) -> str:
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
            raise RowProblem(_refusal(error, self._sources[name])) from error

    def _leaves_tools_out(self, row: ChatRow, text: str) -> bool:
        if not row.tools:  # calls have tools that declare them
            return False
        bare = [{k: v for k, v in message.items() if k != "tool_calls"} for message in row.messages]
        try:
            return text == self._text(bare, None)
        except RowProblem:  # it misses them, so it reads them
            return False

    def answers_left(self, rows: Sequence[tuple[ChatRow, str]], limit: int) -> list[bool]:
        """Whether something to learn is left of each row, with its text, within `limit` tokens.

        Every text has more tokens than that.
        """
        texts = [text for _, text in rows]
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        ends = [encoding.offsets[limit - 1][1] for encoding in encodings]
        return [end > self._before(row, text) for (row, text), end in zip(rows, ends, strict=True)]

    def _before(self, row: ChatRow, text: str) -> int:
        """The characters before the first answer that is learnt; 0 if that cannot be told."""
        first = next(i for i, message in enumerate(row.messages) if trained(message))
        try:
            prompt = self._text(row.messages[:first], row.tools, prompt=True)
        except RowProblem:
            return 0
        return len(prompt) if text.startswith(prompt) else 0

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each rendered text, on every core."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise TokenizerError("the model has no tokenizer.json; use a model with a fast tokenizer")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise TokenizerError("the model's tokenizer.json is too large to be one")
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise TokenizerError("the model's tokenizer.json is broken; download it anew") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json, which older models have besides."""
    merged: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        merged |= _json_object(folder / name)
    return merged


def _json_object(path: Path) -> dict[str, Any]:
    """What a file of the model's holds; nothing if there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(_text(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TokenizerError(f"the model's {path.name} is not a JSON object")
    return found


def _max_positions(folder: Path) -> int | None:
    """As the trainer reads it: models that also see pictures keep it with those of their text."""
    config = _json_object(folder / "config.json")
    text = config.get("text_config")
    limit = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return limit if isinstance(limit, int) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"the model's {path.name} is not UTF-8 text") from error


def _special_tokens(settings: dict[str, Any]) -> dict[str, str]:
    """bos_token and its like, as the template's variables: strings, or objects with content."""
    tokens = {}
    for key, value in settings.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            tokens[key] = text
    return tokens


def _templates(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The chat templates by name. Files count before the setting, as in transformers."""
    templates: dict[str, str] = {}
    inline = settings.get("chat_template")
    if isinstance(inline, str):
        templates["default"] = inline
    elif isinstance(inline, list):
        templates |= {str(e.get("name")): str(e.get("template")) for e in inline}
    if (file := folder / "chat_template.jinja").is_file():
        extra = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        templates = {path.stem: _text(path) for path in extra}
        templates["default"] = _text(file)
    if "default" not in templates:
        raise TokenizerError("the model has no chat template; use an instruct or chat model")
    return templates


def _compile(text: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(text)
    except jinja2.TemplateError as error:
        raise TokenizerError("the model's chat template is not valid Jinja") from error


class _GenerationTag(Extension):
    """`{% generation %}` marks what the assistant wrote; for counting it is just its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own attribute

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """As transformers: no HTML escapes, which jinja2's own filter makes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _refusal(error: Exception, source: str) -> str:
    """The template's own words if they stand in its text, so that no row is quoted."""
    message = str(error)
    if isinstance(error, jinja2.TemplateError) and message and message in source:
        return f"the model's chat template refuses the row: {message}"[:200]
    return "the model's chat template cannot render the row; check the order of roles"


class TokenCounter:
    """Adds up the tokens of rows, in batches.

    A row whose template refuses it raises RowProblem from `add` and counts nothing.
    """

    BATCH = 256

    def __init__(self, tokenizer: ChatTokenizer, limit: int) -> None:
        """Rows are cut after `limit` tokens."""
        self._tokenizer = tokenizer
        self.limit = limit
        self._batch: list[tuple[ChatRow, str]] = []
        self.total = 0
        self.longest = 0
        self.over_limit = 0
        self.unanswered = 0
        """Rows of which no answer is left once they are cut at the limit."""
        self.unanswered_lines: list[int] = []
        """The first of them, at most MAX_BAD_ROWS_SHOWN."""

    def add(self, row: ChatRow) -> None:
        """Take one row."""
        self._batch.append((row, self._tokenizer.render(row)))
        if len(self._batch) >= self.BATCH:
            self.flush()

    def flush(self) -> None:
        """Count what is still waiting."""
        counts = self._tokenizer.count([text for _, text in self._batch])
        self.total += sum(counts)
        self.longest = max(self.longest, *counts, 0)
        pairs = zip(self._batch, counts, strict=True)
        self._cut([item for item, tokens in pairs if tokens > self.limit])
        self._batch.clear()

    def _cut(self, rows: Sequence[tuple[ChatRow, str]]) -> None:
        self.over_limit += len(rows)
        left = self._tokenizer.answers_left(rows, self.limit)
        lines = [row.line for (row, _), some in zip(rows, left, strict=True) if not some]
        self.unanswered += len(lines)
        self.unanswered_lines = (self.unanswered_lines + lines)[:MAX_BAD_ROWS_SHOWN]
