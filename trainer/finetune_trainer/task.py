"""What a recipe is given: the task, its data on local files, and whom to tell.

Knows the other modules' types; decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_api.pods import TrainerConfig
from finetune_api.status import Resolved
from finetune_trainer.checkpoints import Checkpoint, Checkpoints
from finetune_trainer.data import Base, Rows
from finetune_trainer.hardware import Hardware
from finetune_trainer.progress import Progress
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attempt at one training."""

    config: TrainerConfig
    base: Base
    training: Rows
    validation: Rows | None
    hardware: Hardware
    output: Path
    fingerprint: str
    checkpoints: Checkpoints
    checkpoint: Checkpoint | None
    """The one to continue from."""
    before: Mapping[str, Resolved]
    """What an earlier attempt decided; empty in the first."""
    story: Story
    stop: Stop
    progress: Progress
