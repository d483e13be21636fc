"""Checks the messages of a chat row: roles, order, contents, weights.

Gives them back in the form that chat templates take. Knows one row; must not know of files.
"""

import re
from typing import Any

from finetune_data.problems import RowProblem
from finetune_data.text import clean
from finetune_data.tools import check_calls

MAX_IMAGES = 64

_ROLES = frozenset({"system", "user", "assistant", "tool"})
_IMAGE_ROLES = frozenset({"system", "user"})
_IMAGE_DETAILS = ("low", "high", "auto")
_IMAGE_URL = re.compile(r"https://|data:image/(jpeg|png|webp);base64,", re.IGNORECASE)
_OWN_KEYS = {"weight": "assistant", "tool_calls": "assistant", "tool_call_id": "tool"}
MESSAGE_KEYS = frozenset({"role", "content", "name", *_OWN_KEYS})

Message = dict[str, Any]


def check_messages(
    value: object,
    names: frozenset[str],
    *,
    images: bool,
    developer: bool = False,
    name: str = "`messages`",
) -> list[Message]:
    """The messages of a row, each checked by itself.

    Args:
        value: What the row has as `messages`.
        names: The functions that its `tools` declare.
        images: Whether pictures can be trained on (at the hosted service only).
        developer: Whether the developer's role may stand for the system's.
        name: How a problem calls the list.

    Returns:
        Messages whose content is a string (parts with pictures stay a list) and whose calls
        have their arguments as objects.

    Raises:
        RowProblem: The first thing that is wrong.
    """
    if not isinstance(value, list) or not value:
        raise RowProblem(f"{name} must be a list with at least one message")
    where = "message" if name == "`messages`" else f"{name}, message"
    return [
        _message(message, names, f"{where} {i}", images=images, developer=developer)
        for i, message in enumerate(value, start=1)
    ]


def _message(
    value: object, names: frozenset[str], where: str, *, images: bool, developer: bool
) -> Message:
    if not isinstance(value, dict):
        raise RowProblem(f"{where} must be an object with `role` and `content`")
    role = _role(value, where, developer=developer)
    checked: Message = {"role": role}
    if "name" in value:
        checked["name"] = _name(value["name"], where)
    if "tool_calls" in value:
        checked["tool_calls"] = check_calls(value["tool_calls"], names, where)
    checked["content"] = _content(value, where, images=images)
    if "weight" in value:
        checked["weight"] = _weight(value["weight"], where)
    if role == "tool":
        checked["tool_call_id"] = _call_id(value.get("tool_call_id"), where)
    return checked


def _role(message: Message, where: str, *, developer: bool) -> str:
    role = message.get("role")
    if role == "function" or "function_call" in message:
        raise RowProblem(f"{where} has the old function form; write `tools` and `tool_calls`")
    if role == "developer":
        if developer:
            return "system"
        raise RowProblem(f'{where}: write the role "system" instead of "developer"')
    if not isinstance(role, str) or role not in _ROLES:
        raise RowProblem(f"{where}: `role` must be system, user, assistant or tool")
    for key, owner in _OWN_KEYS.items():
        if key in message and role != owner:
            raise RowProblem(f"{where}: `{key}` is for {owner} messages only; remove it")
    return role


def _name(name: object, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise RowProblem(f"{where}: `name` must be a string that is not empty")
    return clean(name, where)


def _weight(weight: object, where: str) -> int:
    # True and 1.0 equal 1 but are not what the service reads.
    if type(weight) is not int or weight not in (0, 1):
        raise RowProblem(f"{where}: `weight` must be 0 (not trained on) or 1")
    return weight


def _call_id(call_id: object, where: str) -> str:
    if not isinstance(call_id, str) or not call_id:
        raise RowProblem(f"{where}: a tool message needs the `tool_call_id` of the call it answers")
    return clean(call_id, f"{where}: `tool_call_id`")


def _content(message: Message, where: str, *, images: bool) -> str | list[dict[str, Any]]:
    content = message.get("content")
    calls = "tool_calls" in message
    if content is None:
        if not calls:
            raise RowProblem(f"{where} has no `content`; only a message with `tool_calls` may")
        return ""
    if isinstance(content, str):
        if not content and not calls and message["role"] == "assistant":
            raise RowProblem(f"{where} is an empty answer; write its content or remove the row")
        return clean(content, where)
    if isinstance(content, list) and content:
        return _parts(content, message["role"], where, images=images)
    raise RowProblem(f"{where}: `content` must be a string or a list of parts")


def _parts(parts: list[Any], role: str, where: str, *, images: bool) -> str | list[dict[str, Any]]:
    for i, part in enumerate(parts, start=1):
        _check_part(part, role, f"{where}, part {i}", images=images)
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _check_part(part: object, role: str, where: str, *, images: bool) -> None:
    if not isinstance(part, dict):
        raise RowProblem(f"{where} must be an object with `type`")
    if part.get("type") == "text":
        if not isinstance(part.get("text"), str):
            raise RowProblem(f"{where}: `text` must be a string")
        clean(part["text"], where)
    elif part.get("type") == "image_url":
        _check_image(part.get("image_url"), role, where, images=images)
    else:
        raise RowProblem(f"{where}: `type` must be text or, at the hosted service, image_url")


def _check_image(image: object, role: str, where: str, *, images: bool) -> None:
    if not images:
        raise RowProblem(
            f"{where} is an image: rows with images can be trained on by `azureOpenAI` only"
        )
    if role not in _IMAGE_ROLES:
        raise RowProblem(f"{where}: images may stand in system and user messages only")
    if not isinstance(image, dict) or not isinstance(image.get("url"), str):
        raise RowProblem(f"{where}: `image_url` must be an object with `url`")
    if not _IMAGE_URL.match(image["url"]):
        raise RowProblem(
            f"{where}: `url` must be https:// or data:image/… with base64 (JPEG, PNG, WEBP)"
        )
    if image.get("detail", "auto") not in _IMAGE_DETAILS:
        raise RowProblem(f"{where}: `detail` must be low, high or auto")


def check_answers(messages: list[Message]) -> None:
    """RowProblem unless calls are answered in time.

    Every call but those of the last message must be answered before anyone else speaks.
    """
    open_calls: set[str] = set()
    for i, message in enumerate(messages, start=1):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise RowProblem(f"message {i} answers no open call; check its `tool_call_id`")
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            raise RowProblem(
                f"message {i} comes before every call is answered; add the missing tool message"
            )
        open_calls = {call["id"] for call in message.get("tool_calls", [])}


def trained(message: Message) -> bool:
    """Whether a message carries loss."""
    return bool(message["role"] == "assistant" and message.get("weight", 1) == 1)


def has_unread_keys(messages: list[dict[str, Any]]) -> bool:
    """Whether messages, as they came, have keys that nothing reads."""
    return any(not message.keys() <= MESSAGE_KEYS for message in messages)


def check_images(messages: list[Message]) -> None:
    """RowProblem for more images than a row may have."""
    if sum(_image_count(message) for message in messages) > MAX_IMAGES:
        raise RowProblem(f"the row has more than {MAX_IMAGES} images; split it")


def _image_count(message: Message) -> int:
    content = message["content"]
    return 0 if isinstance(content, str) else sum(p["type"] == "image_url" for p in content)
