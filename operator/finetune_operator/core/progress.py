"""From what a training pod or the service tells to the progress that people read.

Pure. Percentages are ready-made texts, because a printer column cannot format. What pods and the
service tell is not trusted: a figure that status could not hold is left out.
"""

import math
from datetime import UTC, datetime, timedelta

from finetune_api.pods import TrainerStatus
from finetune_api.status import (
    CheckpointStatus,
    DataStatus,
    FineTuneJobStatus,
    KubernetesStatus,
    Metrics,
    Progress,
)
from finetune_operator.core.conditions import parse_time, timestamp
from finetune_operator.core.observed import Figures, Remote, ReportedProgress

_LARGEST = 2**53 - 1
"""As in the schema; whatever a pod or the service says beyond it is no figure."""
_LONGEST_SECONDS = 365 * 86_400
_PLAIN = 1e6
"""From here on a decimal is written with an exponent, so that it stays short."""


_SILENT_AFTER = 300.0
SILENCE = (
    "; the pod has reported nothing for over 5 minutes: look for `progress-lost` in its log, and"
    " check that it may reach the operator's progress Service (DNS, NetworkPolicy)"
)


def count(value: float | None) -> int | None:
    """A figure that status can hold; None for any other."""
    if value is None or not math.isfinite(value) or not 0 <= value <= _LARGEST:
        return None
    return int(value)


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else count(float(text))
    except ValueError:
        return None


def _clock(now: datetime, then: datetime) -> str:
    same_day = then.astimezone(UTC).date() == now.astimezone(UTC).date()
    return then.astimezone(UTC).strftime("%H:%M UTC" if same_day else "%Y-%m-%d %H:%M UTC")


def _eta(now: datetime, seconds: int | None) -> str | None:
    if seconds is None or seconds > _LONGEST_SECONDS:
        return None
    return _clock(now, now + timedelta(seconds=seconds))


def decimal(value: float | None) -> str | None:
    """A figure as status holds it: four decimals, never NaN or infinite."""
    if value is None or not math.isfinite(value):
        return None
    if abs(value) >= _PLAIN:
        return f"{value:.4e}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


def metrics(figures: Figures) -> Metrics:
    """Figures as status holds them."""
    return Metrics(
        train_loss=decimal(figures.train_loss),
        validation_loss=decimal(figures.validation_loss),
        train_reward=decimal(figures.train_reward),
        validation_reward=decimal(figures.validation_reward),
    )


def from_pod(report: ReportedProgress) -> Progress:
    """The progress that a pod reported in Kubeflow's wire format."""
    told: TrainerStatus = report.status
    metrics = {metric.name: metric.value for metric in told.metrics}
    percent = told.progress_percentage
    return Progress(
        percent=percent,
        text=None if percent is None else f"{percent}%",
        step=_whole(metrics.get("step")),
        total_steps=_whole(metrics.get("totalSteps")),
        epoch=_figure(metrics.get("epoch")),
        loss=_figure(metrics.get("loss")),
        tokens_per_second=_whole(metrics.get("tokensPerSecond")),
        eta=_eta(report.received_at, told.estimated_remaining_seconds),
        updated_at=timestamp(report.received_at),
    )


def _figure(text: str | None) -> str | None:
    try:
        return None if text is None else decimal(float(text))
    except ValueError:
        return None


def reported_checkpoint(report: ReportedProgress) -> CheckpointStatus | None:
    """The newest complete checkpoint that a pod reported."""
    metrics = {metric.name: metric.value for metric in report.status.metrics}
    step = _whole(metrics.get("checkpointStep"))
    return None if step is None else CheckpointStatus(step=step)


def total_hosted_steps(data: DataStatus | None, hyperparameters: dict[str, str]) -> int | None:
    """Steps of a hosted job, once the service has said epochs and batch size."""
    epochs = _whole(hyperparameters.get("n_epochs"))
    batch = _whole(hyperparameters.get("batch_size"))
    if not (data and data.training and epochs and batch):
        return None
    return -(-data.training.examples // batch) * epochs


def from_service(remote: Remote, status: FineTuneJobStatus, now: datetime) -> Progress | None:
    """The progress that a hosted job's events tell; as it was where they tell nothing new."""
    before, step = status.progress, count(remote.details.step)
    if remote.job is None or step is None:
        return before
    asked = dict(remote.job.hyperparameters)
    total = count(remote.details.total_steps) or total_hosted_steps(status.data, asked)
    percent = min(99, 100 * step // total) if total else None
    finish = remote.job.estimated_finish
    told = Progress(
        percent=percent,
        text=None if percent is None else f"{percent}%",
        step=step,
        total_steps=total,
        loss=decimal(remote.details.figures.train_loss),
        reward=decimal(remote.details.figures.train_reward),
        eta=_clock(now, finish) if finish and finish > now else None,
        updated_at=before.updated_at if before else None,
    )
    if told == before:
        return before
    return told.model_copy(update={"updated_at": timestamp(remote.seen_at)})


def completed(status: FineTuneJobStatus, now: datetime) -> Progress:
    """100 %, as only success shows it."""
    before = status.progress or Progress()
    return before.model_copy(
        update={
            "percent": 100,
            "text": "100%",
            "step": before.total_steps or before.step,
            "eta": None,
            "updated_at": timestamp(now),
        }
    )


def gained_step(kubernetes: KubernetesStatus, progress: Progress | None) -> int:
    """The furthest step that is known to be reached or saved."""
    saved = kubernetes.checkpoint.step if kubernetes.checkpoint else 0
    return max(saved, (progress.step or 0) if progress else 0)


def scoring(report: ReportedProgress | None) -> str:
    """How far a pod's validation is; empty while it does not validate."""
    metrics = {metric.name: metric.value for metric in report.status.metrics} if report else {}
    done, rows = _whole(metrics.get("rowsScored")), _whole(metrics.get("rowsToScore"))
    return "" if done is None or rows is None else f", {done} of {rows} validation rows scored"


def seconds_to_silence(status: FineTuneJobStatus, since: datetime, now: datetime) -> float:
    """Seconds until a pod that is there `since` then has been silent for long; at most 0: it has.

    Training goes on without reports: nothing is wrong but that nobody can see it.
    """
    told = status.progress.updated_at if status.progress else None
    heard = max(since, parse_time(told)) if told else since
    return _SILENT_AFTER - (now - heard).total_seconds()


def sentence(status: FineTuneJobStatus, otherwise: str, scored: str = "") -> str:
    """`Step 120 of 600, loss 0.83`, as far as it is known; `scored` is what `scoring` says."""
    told = status.progress
    if told is None or told.step is None:
        return f"{otherwise}{scored}"
    total = f" of {told.total_steps}" if told.total_steps else ""
    loss = f", loss {told.loss}" if told.loss else ""
    reward = f", reward {told.reward}" if told.reward else ""
    return f"Step {told.step}{total}{loss}{reward}{scored}"
