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

_NO_JSON = "sample_parse_error"
"""The made-up answer is not what the grader reads: only to be expected."""
_OF_THE_ROW_OR_RULES = frozenset(
    {"invalid_variable_error", "unresponsive_reward_error", "other_error"}
)
"""What no better answer would mend. Everything else may be the made-up answer's fault."""


async def try_grader(
    client: openai.AsyncOpenAI, patience: Patience, grader: Grader, item: dict[str, Any]
) -> str | None:
    """Have the service check the grader and grade a made-up answer to one row.

    What the service says of that row is never quoted: it may hold what stands in it.

    Returns:
        A hint if the grader failed on the answer, which a real one may or may not mend.

    Raises:
        Failure: The service does not take it, or it cannot be used on the row.
        openai.APIError: The service could not be asked.
    """
    graders: Any = client.fine_tuning.alpha.graders
    wire = grader.on_the_wire()
    _log.info("Having the service check the grader")
    try:
        await patience.ask(partial(graders.validate, grader=wire))
    except openai.BadRequestError as error:
        said = quotable(_said(error)).rstrip(".")
        raise _refused(f"The service does not take the grader: {said}") from error
    sample = "{}" if reads_json(grader) else "An answer"
    try:
        run = await patience.ask(partial(graders.run, grader=wire, item=item, model_sample=sample))
    except openai.BadRequestError as error:
        raise _refused("The service cannot use the grader on the first validation row") from error
    failed = _failed(run.to_dict())
    if certain := [name for name in failed if name in _OF_THE_ROW_OR_RULES]:
        raise _refused(f"The grader failed on the first validation row ({', '.join(certain)})")
    if failed:
        return (
            f"the grader failed on a made-up answer to the first validation row"
            f" ({', '.join(failed)}): see that it grades every answer a model may give"
        )
    return None


def _said(error: openai.BadRequestError) -> str:
    body = error.body
    return str(body.get("message") or error.message) if isinstance(body, dict) else error.message


def _failed(answer: dict[str, Any]) -> list[str]:
    """What went wrong, in the service's names, without what it says of the row."""
    errors = (answer.get("metadata") or {}).get("errors") or {}
    return [name for name, value in errors.items() if value is True and name != _NO_JSON]


def _refused(message: str) -> Failure:
    said = f"{message}. Correct spec.method.reinforcement.grader"
    return Failure(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, said)
