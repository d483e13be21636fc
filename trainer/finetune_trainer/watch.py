"""Watches training: checkpoints by time, SIGTERM, divergence, progress, log lines.

A transformers callback by its methods alone, so that nothing heavy is imported. Decides when; how
is decided elsewhere.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_trainer import log
from finetune_trainer.checkpoints import Checkpoints
from finetune_trainer.errors import diverged
from finetune_trainer.progress import Progress
from finetune_trainer.steps import Meter
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story


class Watch:
    """What happens between the steps of one attempt."""

    def __init__(
        self,
        *,
        story: Story,
        stop: Stop,
        meter: Meter,
        progress: Progress,
        checkpoints: Checkpoints,
        output: Path,
        save_every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._story = story
        self._stop = stop
        self._meter = meter
        self._progress = progress
        self._checkpoints = checkpoints
        self._output = output
        self._save_every = save_every_seconds
        self._clock = clock
        self._started = self._saved = clock()
        self._first_step = 0

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Start the clocks of this attempt."""
        self._started = self._saved = self._clock()
        self._first_step = state.global_step

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint when it is time, at the end, and when the pod is to stop."""
        self._story.step = state.global_step
        due = self._clock() - self._saved >= self._save_every
        last = state.global_step >= state.max_steps
        control.should_save = due or last or self._stop.requested
        control.should_training_stop = last or self._stop.requested
        if control.should_save:
            self._checkpoints.clear(state.global_step)

    def on_log(
        self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any
    ) -> None:
        """Stop at a loss that is not finite, before it is saved; else tell it."""
        if "loss" not in logs:
            return
        for name, words in (("loss", "loss"), ("grad_norm", "gradient")):
            if not math.isfinite(logs[name]):
                raise diverged(f"The {words} is", state.global_step)
        self._tell(state, logs["loss"])

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Seal the checkpoint that was just written."""
        done = self._checkpoints.complete(state.global_step, self._story.resolved)
        self._saved = self._clock()
        self._story.checkpoint = done.status(self._output)
        self._progress.add({"checkpointStep": done.step})
        log.event("checkpoint", step=done.step, path=done.path.name)

    def _tell(self, state: Any, loss: float) -> None:
        elapsed = max(self._clock() - self._started, 1e-9)
        done = state.global_step - self._first_step
        remaining = elapsed / done * (state.max_steps - state.global_step)
        speed = round(self._meter.tokens / elapsed)
        checkpoint = self._story.checkpoint
        figures = {
            "step": state.global_step,
            "totalSteps": state.max_steps,
            "epoch": round(float(state.epoch), 3),
            "loss": loss,
            "tokensPerSecond": speed,
            "checkpointStep": checkpoint.step if checkpoint else None,
            "resumedFrom": self._story.resumed_from,
        }
        log.event("step", **figures)
        # The last percent is the result's.
        percent = min(99, state.global_step * 100 // state.max_steps)
        self._progress.post(percent, remaining, figures)
