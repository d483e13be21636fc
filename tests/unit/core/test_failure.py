"""What the end of a training pod means: reason, sentence, whether another attempt may help."""

from typing import Any

import pytest

from finetune_api.pods import TrainerReport
from finetune_api.reasons import ExitCode, Reason
from finetune_operator.core.failure import judge
from finetune_operator.core.observed import ChildState
from support.builders import a_child, a_job, a_pod, started

CHILD = a_child(started(a_job()), state=ChildState.FAILED, message="Job has reached the limit")


def words(code: int, reason: str, message: str = "What the trainer says") -> TrainerReport:
    return TrainerReport(code=code, reason=reason, message=message)


@pytest.mark.parametrize(
    ("code", "want_reason", "want_retry", "want_advice"),
    [
        pytest.param(ExitCode.BAD_DATA, Reason.DATA_INVALID, False, "correct it", id="65"),
        pytest.param(
            ExitCode.UNAVAILABLE, Reason.DATA_UNAVAILABLE, True, "could not be read", id="69"
        ),
        pytest.param(ExitCode.INTERNAL, Reason.TRAINING_FAILED, True, "pod's log", id="70"),
        pytest.param(
            ExitCode.GPU_OUT_OF_MEMORY,
            Reason.GPU_OUT_OF_MEMORY,
            False,
            "lower microBatchSize",
            id="72",
        ),
        pytest.param(ExitCode.DISK_FULL, Reason.DISK_FULL, False, "enlarge it", id="73"),
        pytest.param(ExitCode.DIVERGED, Reason.DIVERGED, False, "lower the learning rate", id="74"),
        pytest.param(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, False, "correct it", id="78"),
        pytest.param(ExitCode.KILLED, Reason.OUT_OF_MEMORY, False, "limits.memory", id="137"),
        pytest.param(1, Reason.TRAINING_FAILED, True, "exit code 1", id="somebody else's trainer"),
        pytest.param(139, Reason.TRAINING_FAILED, True, "exit code 139", id="a crash"),
    ],
)
def test_an_exit_code_alone_is_enough(
    code: int, want_reason: Reason, want_retry: bool, want_advice: str
) -> None:
    verdict = judge(CHILD, a_pod(CHILD, phase="Failed", exit_code=code))
    assert (verdict.reason, verdict.retry) == (want_reason, want_retry)
    assert want_advice in verdict.message


@pytest.mark.parametrize(
    ("pod", "want_reason", "want_retry", "want_message"),
    [
        pytest.param(
            {"exit_code": 65, "words": words(65, "DataChanged")},
            Reason.DATA_CHANGED,
            False,
            "What the trainer says",
            id="the last words are more exact",
        ),
        pytest.param(
            {"exit_code": 65, "words": words(65, "NeverHeardOf")},
            Reason.DATA_INVALID,
            False,
            "What the trainer says",
            id="a reason that is none of ours",
        ),
        pytest.param(
            {"exit_code": 137, "words": words(65, "DataInvalid")},
            Reason.OUT_OF_MEMORY,
            False,
            "limits.memory",
            id="words of another end",
        ),
        pytest.param(
            {"exit_code": 65, "words": "Traceback (most recent call last)"},
            Reason.DATA_INVALID,
            False,
            "correct it",
            id="words that are no report",
        ),
        pytest.param(
            {"exit_code": 1, "exit_reason": "OOMKilled"},
            Reason.OUT_OF_MEMORY,
            False,
            "limits.memory",
            id="the kernel killed it, whatever the code",
        ),
        pytest.param(
            {"exit_code": 137, "disrupted": True},
            Reason.PREEMPTED,
            True,
            "before it could save",
            id="evicted in a hurry",
        ),
        pytest.param(
            {"exit_code": 137, "deleting": True},
            Reason.PREEMPTED,
            True,
            "before it could save",
            id="deleted in a hurry",
        ),
        pytest.param(
            {"exit_code": 137, "disrupted": True, "exit_reason": "OOMKilled"},
            Reason.OUT_OF_MEMORY,
            False,
            "limits.memory",
            id="out of memory while evicted",
        ),
        pytest.param(
            {"exit_code": None},
            Reason.TRAINING_FAILED,
            True,
            "Job has reached the limit",
            id="lost with its node",
        ),
    ],
)
def test_what_else_is_known_counts(
    pod: dict[str, Any], want_reason: Reason, want_retry: bool, want_message: str
) -> None:
    verdict = judge(CHILD, a_pod(CHILD, phase="Failed", **pod))
    assert (verdict.reason, verdict.retry) == (want_reason, want_retry)
    assert want_message in verdict.message


def test_no_pod_at_all() -> None:
    verdict = judge(CHILD, None)
    assert (verdict.reason, verdict.retry) == (Reason.TRAINING_FAILED, True)
    assert verdict.message == "The training pod was deleted (Job has reached the limit)"
