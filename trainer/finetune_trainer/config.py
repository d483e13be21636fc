"""Reads the training pod's task and refuses what cannot work, before anything heavy is imported.

Must not know of models or rows.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from finetune_api.pods import TrainerConfig
from finetune_trainer.errors import bad_config

_NOT_IDENTITY: Mapping[str, bool | set[str]] = {
    "attempt": True,
    "checkpoint_every_seconds": True,
    "checkpoint_keep": True,
    "output_dir": True,
    "packing": True,
    "micro_batch_size": True,
    # There is one choice, said or not.
    "lora": {"target_modules"},
}
"""What may differ between the runs of one training without changing what it computes."""


def load(path: Path) -> TrainerConfig:
    """The task; TrainerError names the field that is wrong."""
    try:
        config = TrainerConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise bad_config(f"The config file {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problem = _first_problem(error)
        raise bad_config(f"The config file {path} is not valid: {problem}.") from error
    _check(config)
    return config


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def _check(config: TrainerConfig) -> None:
    if config.epochs is not None and config.max_steps is not None:
        raise bad_config("epochs and maxSteps are both set: remove one in a new FineTuneJob.")
    if config.learning_rate is not None and config.learning_rate_multiplier is not None:
        raise bad_config(
            "learningRate and learningRateMultiplier are both set: remove one in a new FineTuneJob."
        )
    counts = {
        "epochs": config.epochs,
        "maxSteps": config.max_steps,
        "batchSize": config.batch_size,
        "microBatchSize": config.micro_batch_size,
        "maxSequenceLength": config.max_sequence_length,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise bad_config(f"{name} is {value}: give at least 1 in a new FineTuneJob.")


def fingerprint(config: TrainerConfig, digests: dict[str, str]) -> str:
    """What tells this training from any other: the task and the bytes of its data."""
    task = config.model_dump(mode="json", exclude=_NOT_IDENTITY)
    for name in ("training", "validation"):
        task[name] = digests.get(name)
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()
