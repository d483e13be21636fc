"""When checkpoints are written: by time, at the end, and when the pod is to stop."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.checkpoints import Checkpoints
from finetune_trainer.progress import Progress
from finetune_trainer.steps import Meter
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story
from finetune_trainer.watch import Watch

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

STEPS = 10


class Run:
    """The training loop as the watch sees it, by a clock of its own."""

    def __init__(self, output: Path, *, every: float, step_seconds: float) -> None:
        self.now = 1000.0
        self.saved: list[int] = []
        self.stop = Stop(lambda: None)
        self._step_seconds = step_seconds
        self._checkpoints = Checkpoints(output / "checkpoints", "ours", keep=STEPS)
        self._watch = Watch(
            story=Story(),
            stop=self.stop,
            meter=Meter(),
            progress=Progress({}),
            checkpoints=self._checkpoints,
            output=output,
            save_every_seconds=every,
            clock=lambda: self.now,
        )

    def go(self, *, first: int = 0, save_seconds: float = 0, stop_at: Collection[int] = ()) -> None:
        """From one step to the last, or to where the watch ends it."""
        from transformers import TrainerControl, TrainerState

        state, control = TrainerState(global_step=first, max_steps=STEPS), TrainerControl()
        self._watch.on_train_begin(None, state, control)
        while state.global_step < STEPS:
            self.now += self._step_seconds
            state.global_step += 1
            self.stop.requested = state.global_step in stop_at
            self._watch.on_step_end(None, state, control)
            if control.should_save:
                self._save(state, save_seconds)
                self._watch.on_save(None, state, control)
            if control.should_training_stop:
                return

    def _save(self, state: Any, seconds: float) -> None:
        self._checkpoints.path(state.global_step).mkdir(parents=True)
        self.saved.append(state.global_step)
        self.now += seconds


@pytest.mark.parametrize(
    ("times", "how", "want"),
    [
        pytest.param({"every": 300, "step_seconds": 100}, {}, [3, 6, 9, 10], id="by time"),
        pytest.param({"every": 250, "step_seconds": 100}, {}, [3, 6, 9, 10],
                     id="at the end of the step in which it is time"),
        pytest.param({"every": 300, "step_seconds": 1}, {}, [10], id="a short one: at its end"),
        pytest.param({"every": 60, "step_seconds": 400}, {}, list(range(1, 11)),
                     id="steps longer than that: each"),
        pytest.param({"every": 300, "step_seconds": 100}, {"save_seconds": 250}, [3, 6, 9, 10],
                     id="the time that saving takes does not count"),
        pytest.param({"every": 300, "step_seconds": 100}, {"first": 4}, [7, 10],
                     id="a resumed run counts from its start"),
        pytest.param({"every": 9000, "step_seconds": 100}, {"stop_at": [5]}, [5],
                     id="when the pod is to stop, and no step more"),
    ],
)  # fmt: skip
def test_checkpoints_are_written(
    tmp_path: Path, times: dict[str, float], how: dict[str, Any], want: list[int]
) -> None:
    run = Run(tmp_path, **times)

    run.go(**how)

    assert run.saved == want
