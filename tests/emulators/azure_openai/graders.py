"""The grader of a request: read, and checked as the service checks it before it is used.

What a grader is, and how it grades, is the project's one implementation. Must not grade.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from azure_openai.errors import invalid
from finetune_api.graders import Grader
from finetune_data.graders.checking import check_grader


def read_grader(sent: Mapping[str, Any], param: str) -> Grader:
    """The grader that an object is; ServiceError if it cannot be used."""
    try:
        grader = Grader.model_validate(dict(sent))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in (param, *first["loc"]))
        raise invalid(f"The grader is not valid: {first['msg']}.", param=where) from error
    if problem := check_grader(grader):
        raise invalid(f"The grader is not valid: {problem}.", param=param)
    return grader


def endpoint_headers(sent: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """What is to be sent along to endpoints, by their URLs."""
    return {
        part["url"]: part["headers"]
        for part in (sent, *(sent.get("graders") or {}).values())
        if part.get("url") and part.get("headers")
    }


def normalised(grader: Grader, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The grader without what nobody reads."""
    written, headers = grader.on_the_wire(), endpoint_headers(sent)
    for part in (written, *written.get("graders", {}).values()):
        if part.get("url") in headers:
            part["headers"] = headers[part["url"]]
    return written
