"""How training ends when it does not succeed: one error class, one constructor per kind.

Knows exit codes and reasons. A message is one sentence that says what to do; no content of rows.
"""

from finetune_api.reasons import ExitCode, Reason


class TrainerError(Exception):
    """An end that is understood.

    Attributes:
        code: The exit code.
        reason: The word for conditions and events.
    """

    def __init__(self, code: ExitCode, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def bad_config(message: str) -> TrainerError:
    """A setting that the user must change."""
    return TrainerError(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, message)


def bad_data(message: str) -> TrainerError:
    """Rows that the user must change."""
    return TrainerError(ExitCode.BAD_DATA, Reason.DATA_INVALID, message)


def data_changed(message: str) -> TrainerError:
    """Data that is not what was checked."""
    return TrainerError(ExitCode.BAD_DATA, Reason.DATA_CHANGED, message)


def diverged(what: str, step: int) -> TrainerError:
    """A loss, a gradient or weights that are not finite."""
    return TrainerError(
        ExitCode.DIVERGED,
        Reason.DIVERGED,
        f"{what} not finite at step {step}: "
        "give a lower learning rate, or data without broken rows, in a new FineTuneJob.",
    )
