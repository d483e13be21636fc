"""What is measured at a step, under the names that events, checkpoints and results.csv use.

Pure. Must not know of time or status; the numbers come from the curves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from azure_openai import learning
from azure_openai.learning import Course
from azure_openai.methods import Method
from azure_openai.rewards import rewards

_LOSS_COLUMNS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
_REWARD_COLUMNS = (
    "step",
    "train_mean_reward",
    "full_valid_mean_reward",
    "completion_tokens_mean",
    "reasoning_tokens_mean",
    "mean_unresponsive_rewards",
    "train_sample_parse_error_count",
    "train_other_error_count",
)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a metrics event says."""

    message: str
    data: dict[str, Any]


def columns(method: Method) -> tuple[str, ...]:
    """The columns of results.csv."""
    return _REWARD_COLUMNS if method == "reinforcement" else _LOSS_COLUMNS


def measured(course: Course, step: int, *, full: bool | None = None) -> dict[str, float]:
    """What results.csv and checkpoints hold of a step.

    `full`: whether all validation rows were used; None: as the step would have it by itself.
    """
    if course.method != "reinforcement":
        ends_epoch = step % course.steps_per_epoch == 0
        return learning.metrics(course, step, full=ends_epoch if full is None else full)
    found = rewards(course, step, validated=full)
    row: dict[str, float] = {
        "train_mean_reward": found.train,
        "completion_tokens_mean": found.completion_tokens,
        "reasoning_tokens_mean": found.reasoning_tokens,
        "mean_unresponsive_rewards": 0.0,
        "train_sample_parse_error_count": found.unreadable,
        "train_other_error_count": 0,
    }
    return row if found.valid is None else {**row, "full_valid_mean_reward": found.valid}


def told(course: Course, step: int, grader_names: Iterable[str]) -> Told:
    """The metrics event of a step."""
    if course.method != "reinforcement":
        row = measured(course, step)
        message = f"Step {step}: training loss={row['train_loss']}"
        return Told(message=message, data={"step": step, **row})
    found = rewards(course, step)
    scores: dict[str, Any] = {"train_reward_mean": found.train}
    samples = {"train_reasoning_tokens_mean": found.reasoning_tokens}
    if found.valid is not None:
        scores["valid_reward_mean"] = found.valid
        samples["valid_reasoning_tokens_mean"] = found.reasoning_tokens
    names = tuple(grader_names)
    scores["graders"] = dict.fromkeys(names, found.train)
    return Told(
        message=f"Step {step}: training reward={found.train}",
        data={
            "step": step,
            "scores": scores,
            "usage": {"samples": samples},
            "errors": {"graders": dict.fromkeys(names, 0)},
        },
    )
