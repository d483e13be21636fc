"""The trainer's life: config, data, model, recipe, report; every end becomes an exit code.

Knows the order and the ends; must not know how training works.
"""

import errno
import os
import shutil
import tempfile
import traceback
from pathlib import Path

from finetune_api.pods import TrainerConfig, TrainerReport
from finetune_api.reasons import ExitCode, Reason
from finetune_trainer import config as configs
from finetune_trainer import data, export, log, ownership, settled
from finetune_trainer.checkpoints import FOLDER, Checkpoint, Checkpoints
from finetune_trainer.errors import TrainerError
from finetune_trainer.progress import Figures, Progress
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story
from finetune_trainer.task import Task

FULL_DISK_BYTES = 1 << 20
"""Less room than this explains a failed write whose error does not say so."""


def run(config_file: Path, story: Story, stop: Stop) -> TrainerReport:
    """Train as the config says, and tell how it ended."""
    output: Path | None = None
    owned = False
    try:
        config = configs.load(config_file)
        output = Path(config.output_dir)
        ownership.take(output, config.job, config.job_uid)
        owned = True
        with tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
            return _train(config, output, Path(scratch), story, stop)
    except Exception as error:  # the last place where an exit code can be chosen
        return _explain(error, output, story, owned=owned)


def _train(
    config: TrainerConfig, output: Path, scratch: Path, story: Story, stop: Stop
) -> TrainerReport:
    rows = data.load(config, scratch)
    fingerprint = configs.fingerprint(config, {name: file.sha256 for name, file in rows.items()})
    if (done := export.finished(output, fingerprint)) is not None:
        log.event("finished-before", step=done.step)
        return done
    export.tidy(output)
    checkpoints = Checkpoints(output / FOLDER, fingerprint, config.checkpoint_keep)
    checkpoint = checkpoints.newest()
    progress = Progress()
    progress.post(*_reached(checkpoint))
    before = checkpoint.resolved if checkpoint else settled.recall(output, fingerprint)
    base = data.base_model(config, scratch, before)

    # From here on everything is local: libraries that look things up on a hub must not.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from finetune_trainer import hardware
    from finetune_trainer.recipes import sft

    task = Task(
        config=config,
        base=base,
        training=rows["training"],
        validation=rows.get("validation"),
        hardware=hardware.inspect(),
        output=output,
        fingerprint=fingerprint,
        checkpoints=checkpoints,
        checkpoint=checkpoint,
        before=before,
        story=story,
        stop=stop,
        progress=progress,
    )
    sft.run(task)
    report = story.report(ExitCode.OK, Reason.SUCCEEDED, _success(story))
    export.write_report(output, report)
    progress.post(100, 0, {"step": story.step, "totalSteps": story.total_steps})
    progress.close()
    return report


def _reached(checkpoint: Checkpoint | None) -> tuple[int, None, Figures]:
    """Progress before anything is loaded: nothing yet, or where the checkpoint is."""
    if checkpoint is None:
        return 0, None, {}
    # A plan by maxSteps has no number of steps beside it.
    decided = "maxSteps" if "maxSteps" in checkpoint.resolved else "totalSteps"
    total = int(checkpoint.resolved[decided].value)
    percent = min(99, checkpoint.step * 100 // total)
    return percent, None, {"step": checkpoint.step, "totalSteps": total}


def _success(story: Story) -> str:
    loss = story.metrics.train_loss if story.metrics else None
    return f"Trained {story.total_steps} steps; training loss {loss}."


def _explain(error: Exception, output: Path | None, story: Story, *, owned: bool) -> TrainerReport:
    """The report of a failure; what nobody understands goes to the log as it is."""
    if isinstance(error, TrainerError):
        return story.report(error.code, error.reason, str(error))
    if _disk_is_full(error, output):
        if owned and output is not None:
            Checkpoints(output / FOLDER, "", 0).drop_torn()
        kept = f" Step {story.checkpoint.step} is saved." if story.checkpoint else ""
        message = f"The output volume is full: enlarge it or remove files from it.{kept}"
        return story.report(ExitCode.DISK_FULL, Reason.DISK_FULL, message)
    traceback.print_exception(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        message = (
            "The GPU's memory is full: use a larger GPU, or a lower microBatchSize in a new"
            " FineTuneJob."
        )
        return story.report(ExitCode.GPU_OUT_OF_MEMORY, Reason.GPU_OUT_OF_MEMORY, message)
    kind = type(error).__name__
    message = f"Training stopped on an unexpected {kind}; the pod's log says where."
    return story.report(ExitCode.INTERNAL, Reason.TRAINING_FAILED, message)


def _disk_is_full(error: BaseException | None, output: Path | None) -> bool:
    if output is None:
        return False
    full = {errno.ENOSPC, errno.EDQUOT}
    while error is not None:
        if isinstance(error, OSError) and error.errno in full:
            return True
        # safetensors and torch.save raise classes of their own, some without the cause.
        if "No space left on device" in str(error):
            return True
        if "PytorchStreamWriter" in str(error):
            return shutil.disk_usage(output).free < FULL_DISK_BYTES
        error = error.__cause__ or error.__context__
    return False
