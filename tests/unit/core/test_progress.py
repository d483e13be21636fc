"""Progress from pods and from the service; nothing that they say can make status unwritable."""

from datetime import timedelta

import pytest

from finetune_api.pods import ProgressMetric, TrainerStatus
from finetune_api.status import FineTuneJobStatus, KubernetesStatus, Progress
from finetune_operator.core import progress
from finetune_operator.core.observed import ReportedProgress
from support.builders import NOW, a_job, a_remote, at, prepared, stamp


def report(
    *, percent: int | None = 20, seconds: int | None = None, **metrics: str
) -> ReportedProgress:
    return ReportedProgress(
        job_uid="j",
        status=TrainerStatus(
            progress_percentage=percent,
            estimated_remaining_seconds=seconds,
            metrics=[ProgressMetric(name=name, value=value) for name, value in metrics.items()],
        ),
        received_at=NOW,
    )


@pytest.mark.parametrize(
    ("told", "want"),
    [
        pytest.param(
            report(
                step="120", totalSteps="600", loss="0.83125", epoch="0.4", tokensPerSecond="11200.7"
            ),
            {
                "percent": 20,
                "text": "20%",
                "step": 120,
                "total_steps": 600,
                "loss": "0.8313",
                "epoch": "0.4",
                "tokens_per_second": 11200,
            },
            id="all that our trainer says",
        ),
        pytest.param(report(percent=None), {}, id="nothing yet"),
        pytest.param(
            report(percent=0, step="0"),
            {"percent": 0, "text": "0%", "step": 0},
            id="the very start",
        ),
        pytest.param(
            report(seconds=3600),
            {"percent": 20, "text": "20%", "eta": "13:00 UTC"},
            id="done within the day",
        ),
        pytest.param(
            report(seconds=86_400),
            {"percent": 20, "text": "20%", "eta": "2026-11-23 12:00 UTC"},
            id="done on another day",
        ),
        pytest.param(report(seconds=10**15), {"percent": 20, "text": "20%"}, id="never done"),
        pytest.param(
            report(step="-1", totalSteps="1e300", loss="nan", epoch="soon", tokensPerSecond="inf"),
            {"percent": 20, "text": "20%"},
            id="figures that are none",
        ),
        pytest.param(
            report(loss="1e12", epoch="9" * 60),
            {"percent": 20, "text": "20%", "loss": "1.0000e+12", "epoch": "1.0000e+60"},
            id="figures that are long",
        ),
        pytest.param(
            report(Step="7", learning_rate="1"),
            {"percent": 20, "text": "20%"},
            id="metrics of other trainers",
        ),
    ],
)
def test_a_pods_report(told: ReportedProgress, want: dict[str, object]) -> None:
    got = progress.from_pod(told)
    assert got == Progress(**want, updated_at=stamp(0))  # type: ignore[arg-type]
    assert FineTuneJobStatus.model_validate({"progress": got.model_dump()}).progress == got


@pytest.mark.parametrize(
    ("value", "want"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param(0.83124, "0.8312", id="four decimals"),
        pytest.param(2.0, "2", id="no trailing zeros"),
        pytest.param(0.00001, "0", id="almost nothing"),
        pytest.param(-0.5, "-0.5", id="below zero"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(float("-inf"), None, id="infinite"),
        pytest.param(1e300, "1.0000e+300", id="huge"),
    ],
)
def test_decimals(value: float | None, want: str | None) -> None:
    assert progress.decimal(value) == want


@pytest.mark.parametrize(
    ("step", "details", "remote", "want_percent", "want_total"),
    [
        pytest.param(40, {"total_steps": 100}, {}, 40, 100, id="the service says how many steps"),
        pytest.param(
            7,
            {},
            {"hyperparameters": {"n_epochs": "2", "batch_size": "16"}},
            50,
            14,
            id="from rows, epochs and batch size",
        ),
        pytest.param(7, {}, {}, None, None, id="nobody knows of how many"),
        pytest.param(100, {"total_steps": 100}, {}, 99, 100, id="done is what success says"),
        pytest.param(999, {"total_steps": 100}, {}, 99, 100, id="further than there are"),
        pytest.param(
            7,
            {},
            {"hyperparameters": {"n_epochs": "auto", "batch_size": "0"}},
            None,
            None,
            id="auto",
        ),
    ],
)
def test_the_services_progress(
    step: int,
    details: dict[str, int],
    remote: dict[str, object],
    want_percent: int | None,
    want_total: int | None,
) -> None:
    status = prepared(a_job(hosted=True)).status
    got = progress.from_service(a_remote(step=step, details=details, **remote), status, NOW)
    assert got is not None
    assert (got.percent, got.total_steps, got.step) == (want_percent, want_total, step)


@pytest.mark.parametrize(
    ("finish", "want"),
    [
        pytest.param(3600, "13:00 UTC", id="in an hour"),
        pytest.param(-1, None, id="over already: it was a guess"),
    ],
)
def test_the_services_guess(finish: float, want: str | None) -> None:
    remote = a_remote(step=1, estimated_finish=at(finish))
    got = progress.from_service(remote, a_job(hosted=True).status, NOW)
    assert got is not None
    assert got.eta == want


def test_before_a_step_is_told_what_was_known_stays() -> None:
    before = Progress(percent=10, step=3)
    status = a_job().status.model_copy(update={"progress": before})
    assert progress.from_service(a_remote(), status, NOW) == before
    assert progress.from_service(a_remote(), a_job().status, NOW) is None


def test_success_is_all_of_it() -> None:
    before = Progress(percent=97, text="97%", step=97, total_steps=100, eta="13:00 UTC", loss="0.5")
    status = a_job().status.model_copy(update={"progress": before})
    got = progress.completed(status, NOW + timedelta(seconds=5))
    want = Progress(
        percent=100, text="100%", step=100, total_steps=100, loss="0.5", updated_at=stamp(5)
    )
    assert got == want


@pytest.mark.parametrize(
    ("told", "want"),
    [
        pytest.param(
            report(percent=0, step="0", totalSteps="8", rowsScored="12", rowsToScore="50"),
            "Step 0 of 8, 12 of 50 validation rows scored",
            id="before the first step",
        ),
        pytest.param(
            report(step="8", totalSteps="8", loss="0.5", rowsScored="48", rowsToScore="50"),
            "Step 8 of 8, loss 0.5, 48 of 50 validation rows scored",
            id="after the last step",
        ),
        pytest.param(
            report(step="1", totalSteps="8", loss="0.5"), "Step 1 of 8, loss 0.5", id="training"
        ),
        pytest.param(
            report(step="0", rowsScored="many", rowsToScore="50"), "Step 0", id="no figure"
        ),
        pytest.param(report(percent=0), "otherwise", id="while the model is loaded"),
    ],
)
def test_what_a_running_pod_does(told: ReportedProgress, want: str) -> None:
    status = FineTuneJobStatus(progress=progress.from_pod(told))
    assert progress.sentence(status, "otherwise", progress.scoring(told)) == want


def test_a_step_is_gained_where_it_is_saved_or_reached() -> None:
    assert progress.gained_step(KubernetesStatus(), None) == 0
    assert progress.gained_step(KubernetesStatus(), Progress(step=4)) == 4
