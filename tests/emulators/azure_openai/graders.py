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
