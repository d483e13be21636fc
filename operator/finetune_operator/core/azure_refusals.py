"""The table of what the hosted service refuses: a row an answer, a sentence a row.

Pure: data and how to search it. Made into errors by `azure_errors`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from finetune_api.reasons import Reason


class Purpose(StrEnum):
    """What was asked of the service; the same answer means different things."""

    CREATE = "create"
    JOB = "job"
    """About one job that is known to exist."""
    LIST = "list"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A refusal as it came: never a header except the seconds of Retry-After."""

    status: int
    code: str = ""
    message: str = ""
    retry_after: float | None = None


class Kind(StrEnum):
    """What an answer means for the job."""

    TERMINAL = "terminal"
    TRANSIENT = "transient"
    WAITS_FOR_USER = "waits for the user"


NOTHING_CREATED = frozenset({*range(300, 400), 400, 401, 403, 404, 405, 413, 415, 422, 429, 431})
"""Answers to a create after which there is certainly no new job, whatever their words are.

After any other answer it may have been created: 408 and 409 come late, 5xx and 499 at any time.
"""


@dataclass(frozen=True)
class Rule:
    """First match wins. `pattern` is searched in code and message.

    What a create is answered comes here only if the status is one of NOTHING_CREATED.
    """

    low: int
    high: int
    pattern: str
    kind: Kind
    reason: Reason
    sentence: str
    wait: float = 30.0
    purpose: Purpose | None = None

    def fits(self, answer: Answer, purpose: Purpose) -> bool:
        """Whether this is the rule for the answer."""
        if not self.low <= answer.status <= self.high or self.purpose not in (None, purpose):
            return False
        return bool(re.search(self.pattern, f"{answer.code} {answer.message}", re.IGNORECASE))


_T, _W, _R = Kind.TERMINAL, Kind.WAITS_FOR_USER, Kind.TRANSIENT
_NO_PLACE = (
    _R, Reason.QUOTA_EXCEEDED,
    "The account at {host} has no free place for another job or file: wait until jobs end, or"
    " delete old jobs and files.",
    300,
)  # fmt: skip
RULES = (
    Rule(
        404, 404, "", _W, Reason.REMOTE_JOB_NOT_FOUND,
        "The account at {host} does not know the hosted job {job_id}: it was deleted there, or the"
        " credentials belong to another account. It is not submitted again.",
        60, Purpose.JOB,
    ),
    Rule(400, 428, r"^quota_?exceeded\b", *_NO_PLACE),
    Rule(429, 429, r"quota|limit (was |is )?(reached|exceeded)|maximum number of", *_NO_PLACE),
    Rule(
        401, 403, r"permission|lacks the required|principal|authorizationfailed", _W,
        Reason.PERMISSION_DENIED,
        "{host} does not let {credential} fine-tune. {if_forbidden}.",
        60,
    ),
    Rule(
        403, 403, r"network|firewall|public access|private endpoint|ip address", _W,
        Reason.PERMISSION_DENIED,
        "The network rules of {host} refuse this cluster. Allow the cluster's outgoing address"
        " under Networking of the account, or give the cluster a private endpoint.",
        60,
    ),
    Rule(
        403, 403, "", _W, Reason.PERMISSION_DENIED,
        "{host} does not let {credential} fine-tune. {if_forbidden}.",
        60,
    ),
    Rule(
        401, 401, "", _W, Reason.AUTHENTICATION_FAILED,
        "{host} refused {credential}. {if_unknown}.",
        60,
    ),
    Rule(
        400, 404, r"does not support fine-?tuning|training ?type", _T, Reason.MODEL_UNAVAILABLE,
        "The service cannot fine-tune {model} like this: check the model's name, that the account's"
        " region trains it, and spec.azureOpenAI.trainingType (many models train with"
        " GlobalStandard only). None of it can be changed in a job that has started: create a new"
        " FineTuneJob.",
    ),
    Rule(
        400, 404,
        r"model_?not_?found|invalid_?model|\bmodel\b.{0,80}(not found|not exist|unknown|invalid)",
        _T, Reason.MODEL_UNAVAILABLE,
        "The account at {host} does not offer the model {model}: check spec.model.name and"
        " spec.azureOpenAI.trainingType, and create a new FineTuneJob with them: they cannot"
        " be changed in a job that has started.",
    ),
    Rule(
        400, 409, r"\bfile\b.{0,80}(not processed|pending|being processed)", _R, Reason.SUBMITTING,
        "The service has not processed the uploaded file yet.",
        15,
    ),
    Rule(
        400, 404, r"\bfile\b.{0,80}(not found|not exist)", _T, Reason.DATA_UNAVAILABLE,
        "An uploaded file is gone from the account at {host}: ask for a retry, which uploads it"
        " again.",
    ),
    Rule(
        400, 422, r"jsonl|content_?filter|\brai\b|fewer than|at least 10|examples", _T,
        Reason.DATA_INVALID,
        "The service refuses the data: mend it and ask for a retry.",
    ),
    Rule(
        404, 404, "", _W, Reason.ENDPOINT_UNREACHABLE,
        "{host} has no fine-tuning API at this address: check spec.azureOpenAI.endpoint and the"
        " account's region.",
        60,
    ),
    Rule(
        408, 409, "", _R, Reason.SERVICE_UNAVAILABLE,
        "{host} answered with a conflict (HTTP {status}).",
    ),
    Rule(
        413, 413, "", _T, Reason.REQUEST_REFUSED,
        "The service refuses the file as too large: it takes at most 512 MB a file.",
    ),
    Rule(
        429, 429, "", _R, Reason.RATE_LIMITED,
        "{host} asks for fewer requests: this is done later.",
        60,
    ),
    Rule(
        400, 499, "", _T, Reason.REQUEST_REFUSED,
        "The service refuses the request: change the spec (a new FineTuneJob, if this one has"
        " started).",
    ),
    Rule(
        300, 399, "", _T, Reason.ENDPOINT_NOT_ALLOWED,
        "{host} answered with a redirect, which is not followed: write the account's own address"
        " into spec.azureOpenAI.endpoint.",
    ),
    Rule(
        0, 999, "", _R, Reason.SERVICE_UNAVAILABLE,
        "{host} has a failure of its own (HTTP {status}).",
        5,
    ),
)  # fmt: skip
