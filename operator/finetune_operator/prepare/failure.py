"""How preparing ends when it does not succeed: reason, sentence, exit code.

Everything that can go wrong is translated here, once. Knows no I/O.
"""

import errno
from collections.abc import Sequence

from finetune_api.pods import BadRow, PrepareReport
from finetune_api.reasons import ExitCode, Reason
from finetune_data.problems import SourceError, describe
from finetune_operator.core.errors import OperatorError, Terminal, Transient

_MESSAGE_LIMIT = 1024


class Failure(Exception):
    """The data cannot be used or not be reached; the report says so."""

    def __init__(
        self,
        code: ExitCode,
        reason: Reason,
        message: str,
        bad_rows: Sequence[BadRow] = (),
        *,
        waits_for_user: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message[:_MESSAGE_LIMIT]
        self.bad_rows = list(bad_rows)
        self.waits_for_user = waits_for_user

    def report(self) -> PrepareReport:
        """The pod's last words."""
        return PrepareReport(
            ok=False,
            reason=self.reason,
            message=self.message,
            transient=self.code in (ExitCode.UNAVAILABLE, ExitCode.PREEMPTED),
            waits_for_user=self.waits_for_user,
            bad_rows=self.bad_rows,
        )


def bad_data(message: str, reason: Reason = Reason.DATA_INVALID) -> Failure:
    """The user must change the data."""
    return Failure(ExitCode.BAD_DATA, reason, message)


def bad_rows(what: str, rows: Sequence[BadRow], total: int, verdict: str = "") -> Failure:
    """Rows that cannot be used, with their lines."""
    told = f"{verdict}: " if verdict else ""
    message = f"{what}: {told}{describe(rows, total)}"
    return Failure(ExitCode.BAD_DATA, Reason.DATA_INVALID, message, rows)


def unreadable(what: str, error: SourceError, reason: Reason) -> Failure:
    """A source that could not be read, for now or until the user changes something."""
    code = ExitCode.UNAVAILABLE if error.transient else ExitCode.BAD_CONFIG
    return Failure(code, reason, f"{what}: {error}")


def of_service(error: OperatorError) -> Failure:
    """What the hosted service or Entra refused."""
    waits = isinstance(error, Transient) and error.waits_for_user
    code = ExitCode.BAD_CONFIG if waits or isinstance(error, Terminal) else ExitCode.UNAVAILABLE
    if error.reason is Reason.DATA_INVALID:
        code = ExitCode.BAD_DATA
    return Failure(code, error.reason, error.message, waits_for_user=waits)


def of_system(error: OSError) -> Failure:
    """A full disk is said as such; any other fault of the system is a bug of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = "The prepare pod's disk is full: use a smaller data file"
        return Failure(ExitCode.DISK_FULL, Reason.DISK_FULL, message)
    return unexpected()


def unexpected() -> Failure:
    """A bug of ours; the trace is in the log alone."""
    message = "The prepare pod ran into an error nobody expected: see its log and report it"
    return Failure(ExitCode.INTERNAL, Reason.PREPARE_FAILED, message)


def stopped() -> Failure:
    """Told to stop: the node drains, or somebody deleted the pod."""
    message = "The prepare pod was stopped before it was done"
    return Failure(ExitCode.PREEMPTED, Reason.PREPARE_FAILED, message)
