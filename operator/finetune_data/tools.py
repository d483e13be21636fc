"""Checks the tools of a chat row and the calls that name them.

Knows the wire format of tools; must not know of the order of messages.
"""

import json
import re
from typing import Any

from finetune_data.problems import RowProblem
from finetune_data.text import check_texts, clean

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tool_names(row: dict[str, Any]) -> frozenset[str]:
    """The names that the row's `tools` declare; RowProblem if the list is not usable."""
    if "tools" not in row:
        return frozenset()
    tools = row["tools"]
    if not isinstance(tools, list) or not tools:
        raise RowProblem("`tools` must be a list with at least one tool; leave it out if none is")
    names = [_declared_name(tool, f"tool {i}") for i, tool in enumerate(tools, start=1)]
    if len(set(names)) < len(names):
        raise RowProblem("two tools have the same name; give each its own")
    return frozenset(names)


def _declared_name(tool: object, where: str) -> str:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise RowProblem(f'{where}: write an object with `type` "function" and `function`')
    function = tool.get("function")
    if not isinstance(function, dict):
        raise RowProblem(f"{where}: `function` must be an object with `name` and `parameters`")
    name = function.get("name")
    if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
        raise RowProblem(f"{where}: `name` must be 1 to 64 letters, digits, underscores or hyphens")
    if not isinstance(function.get("description", ""), str):
        raise RowProblem(f"{where}: `description` must be a string")
    if not isinstance(function.get("parameters", {}), dict):
        raise RowProblem(f"{where}: `parameters` must be a JSON schema object")
    check_texts(tool, where)
    return name


def check_calls(calls: object, names: frozenset[str], where: str) -> list[dict[str, Any]]:
    """The calls of one assistant message in the form that chat templates take.

    That is the wire format with `arguments` as an object instead of a string.
    """
    if not isinstance(calls, list) or not calls:
        raise RowProblem(f"{where}: `tool_calls` must be a list with at least one call")
    if not names:
        raise RowProblem(f"{where} calls a tool, but the row declares none; add `tools`")
    checked = [_call(call, names, f"{where}, call {i}") for i, call in enumerate(calls, start=1)]
    if len({call["id"] for call in checked}) < len(checked):
        raise RowProblem(f"{where}: two calls have the same `id`; give each its own")
    return checked


def _call(call: object, names: frozenset[str], where: str) -> dict[str, Any]:
    if not isinstance(call, dict) or call.get("type") != "function":
        raise RowProblem(f'{where}: write an object with `id`, `type` "function" and `function`')
    if not isinstance(call.get("id"), str) or not call["id"]:
        raise RowProblem(f"{where}: `id` must be a string that is not empty")
    function = call.get("function")
    if not isinstance(function, dict):
        raise RowProblem(f"{where}: `function` must be an object with `name` and `arguments`")
    name = function.get("name")
    if not isinstance(name, str) or name not in names:
        raise RowProblem(f"{where}: `name` must be one of the names in the row's `tools`")
    arguments = _arguments(function.get("arguments"), where)
    return {
        "id": clean(call["id"], f"{where}: `id`"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _arguments(value: object, where: str) -> dict[str, Any]:
    sentence = (
        f"{where}: `arguments` must be a string that holds a JSON object, {{}} if there are none"
    )
    if not isinstance(value, str):
        raise RowProblem(sentence)
    try:
        arguments = json.loads(value)
    except (ValueError, RecursionError):
        raise RowProblem(sentence) from None
    if not isinstance(arguments, dict):
        raise RowProblem(sentence)
    check_texts(arguments, f"{where}: `arguments`")
    return arguments
