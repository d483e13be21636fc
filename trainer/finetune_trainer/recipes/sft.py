"""Supervised fine-tuning on TRL, full or LoRA: one flat recipe, from rows to a published result.

Knows every step and no details. Must not know of signals, pods or exit codes.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_api.spec import PeftType, TargetModules
from finetune_api.status import DataSetReport, Metrics
from finetune_trainer import attention, decisions, export, log, models, settled
from finetune_trainer.batches import StepCollator
from finetune_trainer.checkpoints import Checkpoint
from finetune_trainer.conversation import Example, Renderer, cut_all
from finetune_trainer.data import VERSION, Rows
from finetune_trainer.decisions import Plan
from finetune_trainer.errors import diverged
from finetune_trainer.evaluation import mean_loss
from finetune_trainer.progress import Figures
from finetune_trainer.steps import Meter, WholeSteps
from finetune_trainer.task import Task
from finetune_trainer.watch import Watch

LAST_STEPS = 10
"""The training loss is the mean of so many steps."""
_TARGETS = {TargetModules.ALL_LINEAR: "all-linear"}
"""In peft's words."""


def run(task: Task) -> None:
    """Train, evaluate, publish; the story is up to date at every moment."""
    checkpoint = task.checkpoint
    tokenizer = models.tokenizer(task.base.folder)
    renderer = Renderer(tokenizer, task.config.created)
    rows, drop = task.training, task.config.drop_invalid
    uncut = renderer.examples(rows.rows, rows.display, drop=drop)
    model, plan = _model_and_plan(task, uncut)
    training = _cut(task, uncut, plan)
    validation = _validation(task, renderer, plan)
    log.event("plan", **{key: entry.value for key, entry in plan.resolved.items()})

    collator = StepCollator(
        rows=plan.micro_batch_size, packing=plan.packing, pad_token=tokenizer.pad_token_id
    )
    trainer = _trainer(task, plan, model, tokenizer, training, collator)
    if checkpoint is None:
        _evaluate(task, plan, trainer.model, validation, collator, step=0)
    _train(task, plan, trainer, checkpoint)
    after = _evaluate(task, plan, trainer.model, validation, collator, step=plan.total_steps)
    task.story.metrics = Metrics(train_loss=_train_loss(trainer), validation_loss=after)
    _publish(task, plan, trainer.model, tokenizer)


def _model_and_plan(task: Task, uncut: list[Example]) -> tuple[Any, Plan]:
    """Load, look and decide; or decide as an earlier start of this training did."""
    config, hardware = task.config, task.hardware
    if task.before:
        config, hardware = decisions.as_before(config, hardware, task.before)
    model = models.load(task.base.folder, bf16=decisions.base_in_bf16(config, hardware))
    model.to(hardware.device)
    facts = models.facts(model, packable=attention.can_pack(model, bf16=hardware.fast_bf16))
    plan = decisions.decide(config, facts, [len(each.input_ids) for each in uncut], hardware)
    if plan.packing:
        model.set_attn_implementation(attention.NAME)
    plan = replace(plan, resolved={VERSION: task.base.version, **plan.resolved, **task.before})
    _tell(task, plan)
    return model, plan


def _tell(task: Task, plan: Plan) -> None:
    """Write down what was decided, for the next attempt and for people."""
    settled.keep(task.output, task.fingerprint, plan.resolved)
    task.story.resolved, task.story.total_steps = plan.resolved, plan.total_steps
    task.progress.settle(plan.resolved)
    if checkpoint := task.checkpoint:
        task.story.step = task.story.resumed_from = checkpoint.step
        task.story.checkpoint = checkpoint.status(task.output)
        log.event("resume", step=checkpoint.step, path=checkpoint.path.name)


def _cut(task: Task, uncut: list[Example], plan: Plan) -> list[Example]:
    rows = task.training
    examples, truncated = cut_all(uncut, plan.max_sequence_length, rows.display)
    task.story.data = DataSetReport(
        sha256=rows.sha256,
        bytes=rows.bytes,
        examples=len(examples),
        tokens=sum(len(example.input_ids) for example in uncut),
        longest=max(len(example.input_ids) for example in uncut),
        supervised_tokens=sum(example.supervised for example in examples),
        truncated=truncated,
    )
    return examples


def _validation(task: Task, renderer: Renderer, plan: Plan) -> list[Example]:
    rows: Rows | None = task.validation
    if rows is None:
        return []
    uncut = renderer.examples(rows.rows, rows.display, drop=task.config.drop_invalid)
    return cut_all(uncut, plan.max_sequence_length, rows.display)[0]


def _trainer(
    task: Task,
    plan: Plan,
    model: Any,
    tokenizer: Any,
    training: list[Example],
    collator: StepCollator,
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl.trainer.sft_trainer import SFTTrainer

    meter = Meter()
    watch_type = type("WatchCallback", (Watch, TrainerCallback), {})
    trainer_type = type("StepTrainer", (WholeSteps, SFTTrainer), {"meter": meter})
    watch = watch_type(
        story=task.story,
        stop=task.stop,
        meter=meter,
        progress=task.progress,
        checkpoints=task.checkpoints,
        output=task.output,
        save_every_seconds=task.config.checkpoint_every_seconds,
    )
    trainer = trainer_type(
        model=model,
        args=_arguments(task, plan),
        train_dataset=Dataset.from_list([vars(example) for example in training]),
        data_collator=collator,
        processing_class=tokenizer,
        callbacks=[watch],
        peft_config=_lora(plan) if task.config.peft == PeftType.LORA else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _lora(plan: Plan) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=plan.lora_rank,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules=_TARGETS[plan.lora_targets],
        task_type="CAUSAL_LM",
    )


def _arguments(task: Task, plan: Plan) -> Any:
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=str(task.checkpoints.folder),
        num_train_epochs=plan.epochs,
        max_steps=plan.max_steps or -1,
        per_device_train_batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        seed=plan.seed,
        data_seed=plan.seed,
        bf16=plan.bf16,
        use_cpu=task.hardware.device == "cpu",
        activation_checkpointing=plan.recompute,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would report 0 for NaN
        save_strategy="no",  # the watch asks for checkpoints by time
        report_to="none",
        disable_tqdm=True,
    )


def _train(task: Task, plan: Plan, trainer: Any, checkpoint: Checkpoint | None) -> None:
    if checkpoint and checkpoint.step >= plan.total_steps:
        # The training loop would do one more step.
        trainer._load_from_checkpoint(str(checkpoint.path))
        trainer.state = _state(checkpoint.path)
        return
    with task.stop.deferred():
        trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
        if task.stop.requested:
            task.progress.close()  # tells the last step and its checkpoint


def _state(folder: Path) -> Any:
    from transformers import TrainerState

    return TrainerState.load_from_json(str(folder / "trainer_state.json"))


def _evaluate(
    task: Task,
    plan: Plan,
    model: Any,
    validation: list[Example],
    collator: StepCollator,
    *,
    step: int,
) -> str | None:
    if not validation:
        return None
    percent = min(99, step * 100 // plan.total_steps)
    figures: Figures = {"step": step, "totalSteps": plan.total_steps}
    to_score = {"rowsToScore": len(validation)}
    task.progress.post(percent, None, {**figures, **to_score, "rowsScored": 0})
    log.event("scoring", step=step, rows=len(validation))
    mean = mean_loss(
        model,
        validation,
        collator,
        autocast=plan.bf16,
        told=lambda rows: task.progress.add({"rowsScored": rows}),
    )
    if not math.isfinite(mean):
        raise diverged("The validation loss is", step)
    loss = f"{mean:.6f}"
    log.event("validation", step=step, loss=float(loss))
    scored = {"rowsToScore": None, "rowsScored": None, "validationLoss": loss}
    task.progress.post(percent, None, {**figures, **scored})
    return loss


def _train_loss(trainer: Any) -> str:
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    newest = losses[-LAST_STEPS:]
    return f"{sum(newest) / len(newest):.6f}"


def _publish(task: Task, plan: Plan, model: Any, tokenizer: Any) -> None:
    config = task.config
    if config.peft == PeftType.NONE:
        model.to(models.saved_dtype(task.base.folder))
    export.publish(
        model,
        tokenizer,
        base=task.base.source,
        display=config.model_display,
        card=_card(task, plan),
        output=task.output,
        fingerprint=task.fingerprint,
    )
    task.story.result_path = export.RESULT


def _card(task: Task, plan: Plan) -> str:
    settings = "\n".join(f"- {key}: {entry.value}" for key, entry in plan.resolved.items())
    return (
        f"---\nbase_model: {task.config.model_display}\n---\n"
        f"# {task.config.job}\n\n"
        f"{task.config.model_display} fine-tuned on {task.training.display} "
        f"(sha256 {task.training.sha256}).\n\n{settings}\n"
    )
