"""The three kinds of errors that the reconciler knows; adapters translate into them once.

    OperatorError
    ├── Terminal      the user must act; trying again changes nothing
    ├── Transient     trying again later may help (the user may have to act first)
    │   └── Declined  a hosted job goes on as it was
    └── Ambiguous     it may have happened: observe before doing it again

Knows reasons and sentences only: no HTTP status, no client library.
"""

from finetune_api.reasons import Reason


class OperatorError(Exception):
    """An expected failure with a reason to grep for and a sentence that says what to do."""

    turn: float | None = None
    """Seconds until time alone changes what is to be done: it is looked at again by then."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Terminal(OperatorError):
    """The user must act; trying again changes nothing."""


class Transient(OperatorError):
    """Trying again after `retry_after` seconds may help.

    With `waits_for_user` somebody has to mend something first (a Secret, a role): the job becomes
    Stalled when that lasts, and goes on by itself once it is mended.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retry_after: float = 30.0,
        waits_for_user: bool = False,
    ) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after
        self.waits_for_user = waits_for_user


def endured(error: OperatorError) -> OperatorError:
    """The error where it must not end a job: what is refused for good waits for the user."""
    if not isinstance(error, Terminal):
        return error
    return Transient(error.reason, error.message, retry_after=60.0, waits_for_user=True)


class Declined(Transient):
    """The service will not do this to a hosted job, which goes on as it was."""


class Ambiguous(OperatorError):
    """The request may have been carried out although no answer came: observe first."""


class Conflict(OperatorError):
    """The object changed since it was read: abort, and look again at once."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.API_ERROR, message)
