"""From what a training pod or the service tells to the progress that people read.

Pure. Percentages are ready-made texts, because a printer column cannot format.
"""

from datetime import UTC, datetime, timedelta

from finetune_api.pods import TrainerStatus
from finetune_api.status import (
    CheckpointStatus,
    DataStatus,
    FineTuneJobStatus,
    KubernetesStatus,
    Progress,
)
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.observed import Remote, ReportedProgress


def _whole(text: str | None) -> int | None:
    try:
        return int(float(text)) if text is not None else None
    except (ValueError, OverflowError):
        return None


def _eta(now: datetime, seconds: int | None) -> str | None:
    if seconds is None:
        return None
    then = (now + timedelta(seconds=seconds)).astimezone(UTC)
    same_day = then.date() == now.astimezone(UTC).date()
    return then.strftime("%H:%M UTC" if same_day else "%Y-%m-%d %H:%M UTC")


def decimal(value: float | None) -> str | None:
    """A figure as status holds it: four significant decimals, never NaN."""
    if value is None or value != value:
        return None
    return f"{value:.4f}".rstrip("0").rstrip(".")


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
        epoch=_short(metrics.get("epoch")),
        loss=_short(metrics.get("loss")),
        tokens_per_second=_whole(metrics.get("tokensPerSecond")),
        eta=_eta(report.received_at, told.estimated_remaining_seconds),
        updated_at=timestamp(report.received_at),
    )


def _short(text: str | None) -> str | None:
    return None if text is None else text[:24]


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


def from_service(remote: Remote, data: DataStatus | None, now: datetime) -> Progress | None:
    """The progress that a hosted job's events tell."""
    step = remote.details.step
    if remote.job is None or step is None:
        return None
    total = remote.details.total_steps or total_hosted_steps(data, dict(remote.job.hyperparameters))
    percent = min(99, 100 * step // total) if total else None
    finish = remote.job.estimated_finish
    seconds = max(0, int((finish - now).total_seconds())) if finish else None
    return Progress(
        percent=percent,
        text=None if percent is None else f"{percent}%",
        step=step,
        total_steps=total,
        loss=decimal(remote.details.train_loss),
        eta=_eta(now, seconds),
        updated_at=timestamp(remote.seen_at),
    )


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
