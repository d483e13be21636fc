"""What the hosted service's refusals and failures mean for a job, and what to do about them.

Pure: status, code and message in, one of the three kinds of errors out. Knows no client library,
and never sees a header or a key.
"""

import re
from dataclasses import dataclass

from finetune_api.reasons import Reason
from finetune_operator.core.azure_refusals import (
    NOTHING_CREATED,
    RULES,
    Answer,
    Kind,
    Purpose,
)
from finetune_operator.core.errors import Ambiguous, OperatorError, Terminal, Transient

MESSAGE_LIMIT = 300
"""Characters of the service's own words that a sentence of ours may quote."""
ROLE = "Cognitive Services OpenAI Contributor"
_LONGEST_WAIT = 3600.0
_SECRETS = re.compile(r"sk-[\w*-]+|eyJ[\w.-]+|(?<![-\w])[A-Za-z0-9+/_]{32,}=*")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, in words: what was refused and what to do about it."""

    credential: str
    if_unknown: str
    if_forbidden: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, as far as sentences name it."""

    purpose: Purpose
    host: str
    caller: Caller
    model: str = ""
    job_id: str = ""


class Fenced(Transient):
    """Not sent: too little lease time was left. Known to have had no effect."""

    def __init__(self) -> None:
        super().__init__(
            Reason.SUBMITTING,
            "Too little of the leader's lease was left to create the hosted job: it is tried again"
            " as soon as the lease is renewed.",
            retry_after=1.0,
        )


def key_caller(secret: str, key: str) -> Caller:
    """Requests with the API key of a Secret."""
    return Caller(
        credential=f"the API key in Secret `{secret}` (key `{key}`)",
        if_unknown="Put a valid key of this account into the Secret",
        if_forbidden="Allow access with keys on the account, or use auth.workloadIdentity",
    )


def identity_caller(service_account: str, client_id: str) -> Caller:
    """Requests with the federated identity of a ServiceAccount."""
    return Caller(
        credential=f"the identity {client_id} of ServiceAccount `{service_account}`",
        if_unknown=(
            "Check clientID and tenantID, and that the identity has the role"
            f" '{ROLE}' on the account (a new assignment takes up to 30 minutes)"
        ),
        if_forbidden=(
            f"Give the identity the role '{ROLE}' on the account"
            " (a new assignment takes up to 30 minutes)"
        ),
    )


_MAY_EXIST = " Whether the hosted job was created is found out before anything is posted again."


def refusal(answer: Answer, call: Call) -> OperatorError:
    """What a refusal means: the kind of error, the reason and what to do.

    Only a create may end a job for good or be in doubt: about a job that runs already, every
    refusal is something to wait out.
    """
    creating = call.purpose is Purpose.CREATE
    if creating and answer.status not in NOTHING_CREATED:
        message = f"{call.host} answered the request to create the job with HTTP {answer.status}."
        return Ambiguous(
            Reason.CONFIRMING_SUBMISSION, message + _quoted(answer.message) + _MAY_EXIST
        )
    rule = next(rule for rule in RULES if rule.fits(answer, call.purpose))
    sentence = rule.sentence.format(
        host=call.host,
        status=answer.status,
        model=call.model or "the model",
        job_id=call.job_id,
        credential=call.caller.credential,
        if_unknown=call.caller.if_unknown,
        if_forbidden=call.caller.if_forbidden,
    )
    message = sentence + _quoted(answer.message)
    if rule.kind is Kind.TERMINAL and creating:
        return Terminal(rule.reason, message)
    return Transient(
        rule.reason,
        message,
        retry_after=_wait(answer.retry_after, rule.wait),
        waits_for_user=rule.kind in (Kind.WAITS_FOR_USER, Kind.TERMINAL),
    )


def unreachable(host: str, *, untrusted: bool = False, unknown_host: bool = False) -> Transient:
    """No connection came about, so nothing was asked."""
    if untrusted:
        problem = (
            "has a certificate that is not trusted: have its CA added to the chart's azure.caBundle"
        )
    elif unknown_host:
        problem = "has no address: check spec.azureOpenAI.endpoint"
    else:
        problem = "cannot be reached"
    return Transient(
        Reason.ENDPOINT_UNREACHABLE,
        f"{host} {problem}.",
        waits_for_user=untrusted or unknown_host,
    )


def no_tokens(host: str, status: int | None) -> Transient | None:
    """What Entra's HTTP status means if it is an outage, or too many requests: nobody's mistake."""
    if status is None or (status != 429 and status < 500):
        return None
    message = f"Entra at {host} gives no tokens for now (HTTP {status})."
    return Transient(Reason.SERVICE_UNAVAILABLE, message)


def no_answer(call: Call) -> OperatorError:
    """The request went out, and no usable answer came."""
    message = f"{call.host} gave no answer that can be used."
    if call.purpose is Purpose.CREATE:
        return Ambiguous(Reason.CONFIRMING_SUBMISSION, message + _MAY_EXIST)
    return Transient(Reason.SERVICE_UNAVAILABLE, message)


def quotable(words: str) -> str:
    """The service's words without what looks like a key or token, on one line, bounded."""
    line = _SECRETS.sub("…", " ".join(words.split()))
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def _quoted(words: str) -> str:
    said = quotable(words)
    if not said:
        return ""
    return f" The service says: {said}" + ("" if said[-1] in ".!?…" else ".")


def _wait(asked: float | None, otherwise: float) -> float:
    """At least a second, at most an hour, whatever the service asks for."""
    return otherwise if asked is None else min(max(asked, 1.0), _LONGEST_WAIT)


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """Why a hosted job failed, for conditions and attempts."""

    reason: Reason
    message: str


_FAILURES = (
    (
        r"failed rai checks",
        Reason.DATA_INVALID,
        "Before training, the service's safety check refused the training data (nothing is"
        " charged): take such rows out and ask for a retry.",
    ),
    (
        r"unable to be deployed|model evaluation identified",
        Reason.TRAINING_FAILED,
        "After training, the service's safety evaluation refused the model (nothing is charged):"
        " review the training data and ask for a retry.",
    ),
    (
        r"jsonl|fewer than|at least 10",
        Reason.DATA_INVALID,
        "The service refused the training data: mend it and ask for a retry.",
    ),
    (
        r"internal|unavailable|timed? ?out",
        Reason.TRAINING_FAILED,
        "The service failed while it trained: ask for a retry.",
    ),
    ("", Reason.TRAINING_FAILED, "The hosted job failed."),
)


def job_failure(code: str | None, message: str | None) -> JobFailure:
    """What `error` of a failed job means; both parts may be absent."""
    text = f"{code or ''} {message or ''}"
    reason, sentence = next(
        (reason, sentence)
        for pattern, reason, sentence in _FAILURES
        if re.search(pattern, text, re.IGNORECASE)
    )
    return JobFailure(reason=reason, message=sentence + _quoted(message or code or ""))
