import pytest

from finetune_api.reasons import Reason
from finetune_operator.core.azure_errors import (
    MESSAGE_LIMIT,
    Call,
    identity_caller,
    job_failure,
    key_caller,
    no_answer,
    quotable,
    refusal,
    unreachable,
)
from finetune_operator.core.azure_refusals import Answer, Purpose
from finetune_operator.core.errors import Ambiguous, OperatorError, Terminal, Transient
from support.emulator import RAI_AFTER_TRAINING, RAI_BEFORE_TRAINING

HOST = "acct.openai.azure.com"
KEY, IDENTITY = key_caller("azure", "api-key"), identity_caller("trainer", "2222")
CREATE = Call(purpose=Purpose.CREATE, host=HOST, caller=KEY, model="gpt-4.1-mini")
KNOWN = Call(purpose=Purpose.JOB, host=HOST, caller=KEY, job_id="ftjob-1")
LIST = Call(purpose=Purpose.LIST, host=HOST, caller=KEY)


def answer(status: int, message: str = "", code: str = "") -> Answer:
    return Answer(status=status, code=code, message=message)


@pytest.mark.parametrize(
    ("given", "want_kind", "want_reason", "want_words"),
    [
        pytest.param(
            answer(400, "The specified base model does not support fine-tuning."),
            Terminal, Reason.MODEL_UNAVAILABLE, "trainingType", id="model without fine-tuning",
        ),
        pytest.param(
            answer(400, "gpt-x does not support fine-tuning with Standard TrainingType"),
            Terminal, Reason.MODEL_UNAVAILABLE, "GlobalStandard", id="needs another training type",
        ),
        pytest.param(
            answer(404, "The model `gpt-9` does not exist", "model_not_found"),
            Terminal, Reason.MODEL_UNAVAILABLE, "spec.model.name", id="unknown model",
        ),
        pytest.param(
            answer(400, "Validation of jsonl file failed: line 3", "jsonlValidationFailed"),
            Terminal, Reason.DATA_INVALID, "line 3", id="the service finds a bad row",
        ),
        pytest.param(
            answer(400, "The specified file 'file-1' was not found."),
            Terminal, Reason.DATA_UNAVAILABLE, "uploads it again", id="the file was deleted",
        ),
        pytest.param(
            answer(400, "The file 'file-1' is pending, not processed."),
            Transient, Reason.SUBMITTING, "not processed", id="the file is not ready",
        ),
        pytest.param(
            answer(400, "'n_epochs' must be between 1 and 50.", "invalidPayload"),
            Terminal, Reason.REQUEST_REFUSED, "n_epochs", id="a value out of range",
        ),
        pytest.param(
            answer(400, "The specified base model does not support fine-tuning.", "invalidPayload"),
            Terminal, Reason.MODEL_UNAVAILABLE, "create a new FineTuneJob", id="frozen by then",
        ),
        pytest.param(
            answer(400, "api-version not allowed"),
            Terminal, Reason.REQUEST_REFUSED, "api-version", id="another surface",
        ),
        pytest.param(
            answer(400, "The training file exceeds the maximum number of tokens", "invalidPayload"),
            Terminal, Reason.REQUEST_REFUSED, "change the spec", id="a limit of the file's",
        ),
        pytest.param(
            answer(400, "No more jobs can be created.", "quotaExceeded"),
            Transient, Reason.QUOTA_EXCEEDED, "delete old jobs", id="a quota told by its code",
        ),
        pytest.param(
            answer(401, "Access denied due to invalid subscription key", "401"),
            Transient, Reason.AUTHENTICATION_FAILED, "Secret `azure` (key `api-key`)", id="key",
        ),
        pytest.param(
            answer(403, "Public access is disabled. Please configure private endpoint."),
            Transient, Reason.PERMISSION_DENIED, "network rules", id="network rules",
        ),
        pytest.param(
            answer(403), Transient, Reason.PERMISSION_DENIED, "does not let", id="no role"
        ),
        pytest.param(
            answer(404, "Resource not found", "404"),
            Transient, Reason.ENDPOINT_UNREACHABLE, "spec.azureOpenAI.endpoint", id="wrong path",
        ),
        pytest.param(
            answer(409), Ambiguous, Reason.CONFIRMING_SUBMISSION, "found out", id="conflict"
        ),
        pytest.param(
            answer(408), Ambiguous, Reason.CONFIRMING_SUBMISSION, "found out", id="timeout there"
        ),
        pytest.param(
            answer(413), Terminal, Reason.REQUEST_REFUSED, "512 MB", id="file too large"
        ),
        pytest.param(answer(431), Terminal, Reason.REQUEST_REFUSED, "spec", id="too many headers"),
        pytest.param(
            answer(429, "Too many requests", "tooManyRequests"),
            Transient, Reason.RATE_LIMITED, "later", id="throttled",
        ),
        pytest.param(
            answer(429, "Quota of 20 queued jobs exceeded", "quotaExceeded"),
            Transient, Reason.QUOTA_EXCEEDED, "delete old jobs", id="no free place",
        ),
        pytest.param(
            answer(500), Ambiguous, Reason.CONFIRMING_SUBMISSION, "HTTP 500", id="internal failure"
        ),
        pytest.param(
            answer(503), Ambiguous, Reason.CONFIRMING_SUBMISSION, "HTTP 503", id="unavailable"
        ),
        pytest.param(
            answer(302), Terminal, Reason.ENDPOINT_NOT_ALLOWED, "redirect", id="redirect"
        ),
    ],
)  # fmt: skip
def test_a_refused_create(
    given: Answer, want_kind: type[OperatorError], want_reason: Reason, want_words: str
) -> None:
    error = refusal(given, CREATE)
    assert type(error) is want_kind
    assert error.reason is want_reason
    assert want_words in error.message


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("", id="no words"),
        pytest.param("Request time limit exceeded", id="as if of a quota"),
        pytest.param("The limit of 3 jobs was reached", id="as if of a limit"),
        pytest.param("The principal lacks the permission", id="as if of a role"),
        pytest.param("The file is being processed", id="as if of a file"),
        pytest.param("The model was not found", id="as if of a model"),
    ],
)
@pytest.mark.parametrize("status", [201, 402, 408, 409, 410, 412, 424, 425, 499, 500, 503, 504])
def test_what_may_have_been_created_is_looked_for(status: int, words: str) -> None:
    error = refusal(answer(status, words), CREATE)
    assert type(error) is Ambiguous
    assert error.reason is Reason.CONFIRMING_SUBMISSION
    assert words in error.message


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 409, 413, 422, 429, 431, 500])
@pytest.mark.parametrize("call", [KNOWN, LIST], ids=["about a known job", "the list"])
def test_what_runs_already_is_only_waited_for(status: int, call: Call) -> None:
    assert type(refusal(answer(status), call)) is Transient


def test_a_known_job_that_is_missing_waits_for_the_user_and_is_not_submitted_again() -> None:
    error = refusal(answer(404, "The job 'ftjob-1' was not found."), KNOWN)
    assert isinstance(error, Transient)
    assert error.reason is Reason.REMOTE_JOB_NOT_FOUND
    assert error.waits_for_user
    assert "ftjob-1" in error.message
    assert "not submitted again" in error.message


@pytest.mark.parametrize(
    ("status", "want_waits"),
    [
        pytest.param(401, True, id="a key to be put right"),
        pytest.param(403, True, id="a role to be given"),
        pytest.param(400, True, id="a request that should have been good"),
        pytest.param(429, False, id="throttling passes"),
        pytest.param(500, False, id="an outage passes"),
    ],
)
def test_who_is_waited_for(status: int, want_waits: bool) -> None:
    error = refusal(answer(status), KNOWN)
    assert isinstance(error, Transient)
    assert error.waits_for_user is want_waits


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(401, "Access token is missing, invalid, audience is incorrect", id="401"),
        pytest.param(401, "The principal lacks the required data action", id="401 for the role"),
        pytest.param(403, "forbidden", id="403"),
    ],
)
def test_an_identity_is_told_its_role(status: int, message: str) -> None:
    call = Call(purpose=Purpose.CREATE, host=HOST, caller=IDENTITY)
    error = refusal(answer(status, message), call)
    assert "'Cognitive Services OpenAI Contributor'" in error.message
    assert "ServiceAccount `trainer`" in error.message


@pytest.mark.parametrize(
    ("asked", "want"),
    [
        pytest.param(7.0, 7.0, id="as asked"),
        pytest.param(0.05, 1.0, id="at least a second"),
        pytest.param(86_400.0, 3600.0, id="at most an hour"),
        pytest.param(None, 60.0, id="not said"),
    ],
)
def test_retry_after(asked: float | None, want: float) -> None:
    error = refusal(Answer(status=429, retry_after=asked), LIST)
    assert isinstance(error, Transient)
    assert error.retry_after == want


def test_no_answer_is_ambiguous_for_a_create_alone() -> None:
    assert type(no_answer(CREATE)) is Ambiguous
    assert type(no_answer(KNOWN)) is Transient


@pytest.mark.parametrize(
    ("error", "want_words", "want_waits"),
    [
        pytest.param(unreachable(HOST), "cannot be reached", False, id="outage"),
        pytest.param(unreachable(HOST, untrusted=True), "not trusted", True, id="CA"),
        pytest.param(unreachable(HOST, unknown_host=True), "no address", True, id="DNS"),
    ],
)
def test_no_connection(error: Transient, want_words: str, want_waits: bool) -> None:
    assert error.reason is Reason.ENDPOINT_UNREACHABLE
    assert want_words in error.message
    assert error.waits_for_user is want_waits


@pytest.mark.parametrize(
    ("words", "want"),
    [
        pytest.param("Incorrect key: sk-proj-abc123*** used", "Incorrect key: … used", id="key"),
        pytest.param("token eyJhbGciOi.eyJpc3Mi.c2ln bad", "token … bad", id="token"),
        pytest.param(f"key {'0af' * 12} bad", "key … bad", id="a long random word"),
        pytest.param(f"file-{'0af' * 12} bad", f"file-{'0af' * 12} bad", id="a file's id stays"),
        pytest.param("two\nlines\t here", "two lines here", id="on one line"),
        pytest.param("x " * 400, ("x " * 400)[: MESSAGE_LIMIT - 1] + "…", id="bounded"),
    ],
)
def test_what_is_quoted(words: str, want: str) -> None:
    assert quotable(words) == want


def test_a_message_with_braces_is_quoted_as_it_is() -> None:
    assert "{host}" in refusal(answer(422, "field {host} is odd"), CREATE).message


@pytest.mark.parametrize(
    ("code", "message", "want_reason", "want_words"),
    [
        pytest.param(
            "contentFilter", RAI_BEFORE_TRAINING,
            Reason.DATA_INVALID, ("Before training", "hate_fairness"), id="before training",
        ),
        pytest.param(
            "contentFilter", RAI_AFTER_TRAINING,
            Reason.TRAINING_FAILED, ("After training", "Self Harm"), id="after training",
        ),
        pytest.param(
            "jsonlValidationFailed", "Validation of jsonl file failed: line 3",
            Reason.DATA_INVALID, ("line 3",), id="a bad row",
        ),
        pytest.param(
            "internalFailure", "Something broke",
            Reason.TRAINING_FAILED, ("retry", "Something broke"), id="the service's own failure",
        ),
        pytest.param(None, None, Reason.TRAINING_FAILED, ("failed",), id="error: {}"),
    ],
)  # fmt: skip
def test_why_a_hosted_job_failed(
    code: str | None, message: str | None, want_reason: Reason, want_words: tuple[str, ...]
) -> None:
    failure = job_failure(code, message)
    assert failure.reason is want_reason
    for words in want_words:
        assert words in failure.message
