"""Has the service try a grader on one row before anything is uploaded or trained.

A grader that fails in training costs what was trained until then. Must not know of files.
"""

import logging
from functools import partial
from typing import Any

import openai

from finetune_api.graders import Grader
from finetune_api.reasons import ExitCode, Reason
from finetune_data.graders.checking import reads_json
from finetune_operator.core.azure_errors import quotable
from finetune_operator.prepare.failure import Failure
from finetune_operator.prepare.service import Patience

_log = logging.getLogger(__name__)

_OF_THE_SAMPLE = "sample_parse_error"
"""A made-up answer may be a bad one: that says nothing of the grader."""
_OF_THE_SERVICE = frozenset({"python_grader_server_error", "model_grader_server_error"})
"""Pass by themselves."""


async def try_grader(
    client: openai.AsyncOpenAI, patience: Patience, grader: Grader, item: dict[str, Any]
) -> None:
    """Have the service check the grader and grade a made-up answer to one row.

    Raises:
        Failure: The service does not take it, or it fails on the row.
        openai.APIError: The service could not be asked.
    """
    graders: Any = client.fine_tuning.alpha.graders
    wire = grader.on_the_wire()
    _log.info("Having the service check the grader")
    try:
        await patience.ask(partial(graders.validate, grader=wire))
        sample = "{}" if reads_json(grader) else "An answer"
        run = await patience.ask(partial(graders.run, grader=wire, item=item, model_sample=sample))
    except openai.BadRequestError as error:
        raise _refused(f"The service does not take the grader: {quotable(_said(error))}") from error
    if (problem := _problem(run.to_dict())) is not None:
        raise _refused(f"The grader failed on the first validation row: {quotable(problem)}")


def _said(error: openai.BadRequestError) -> str:
    body = error.body
    return str(body.get("message") or error.message) if isinstance(body, dict) else error.message


def _problem(answer: dict[str, Any]) -> str | None:
    """What the grader itself did wrong, in the service's names and words."""
    errors = answer.get("metadata", {}).get("errors", {})
    failed = [
        name
        for name, value in errors.items()
        if value is True and name != _OF_THE_SAMPLE and name not in _OF_THE_SERVICE
    ]
    if not failed:
        return None
    details = [errors.get(f"{name}_details") for name in failed]
    return "; ".join([*failed, *(str(text) for text in details if text)])


def _refused(message: str) -> Failure:
    said = f"{message.rstrip('.')}. Correct spec.method.reinforcement.grader"
    return Failure(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, said)
