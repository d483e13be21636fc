import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.backends.azure_openai import wire
from finetune_operator.core.observed import (
    Figures,
    RemoteCheckpoint,
    RemoteDetails,
    StepFigures,
)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "azure"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def sample(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("job_*.json")), ids=lambda path: path.stem)
def test_every_shape_of_a_job_is_read(path: Path) -> None:
    body = json.loads(path.read_text())
    job = wire.job(body, seen_at=NOW)
    assert job.id == body["id"]
    assert job.raw_status == body["status"]
    assert job.created_at == datetime.fromtimestamp(body["created_at"], UTC)
    assert job.suffix == body.get("suffix")
    assert job.fine_tuned_model == body.get("fine_tuned_model")
    assert "-1" not in job.hyperparameters.values()


def test_a_succeeded_job() -> None:
    body = sample("job_succeeded")
    job = wire.job(body, seen_at=NOW)
    assert job.result_files == tuple(body["result_files"])
    assert job.trained_tokens == body["trained_tokens"]
    assert (job.error_code, job.error_message) == (None, None)


@pytest.mark.parametrize(
    ("changes", "field", "want"),
    [
        pytest.param({"status": "quarantined"}, "raw_status", "quarantined", id="unknown status"),
        pytest.param({"status": None}, "raw_status", "", id="no status"),
        pytest.param({"created_at": None}, "created_at", NOW, id="no time of creation"),
        pytest.param({"error": {}}, "error_message", None, id="an empty error"),
        pytest.param({"error": None}, "error_code", None, id="error null"),
        pytest.param({"error": "boom"}, "error_code", None, id="error of another kind"),
        pytest.param({"error": {"code": "x"}}, "error_code", "x", id="an error without message"),
        pytest.param(
            {"estimated_finish": "2026-11-22T12:00:00Z"},
            "estimated_finish",
            NOW,
            id="time as in the schema",
        ),
        pytest.param(
            {"estimated_finish": "2026-11-22T12:00:00"},
            "estimated_finish",
            NOW,
            id="time without a zone",
        ),
        pytest.param({"estimated_finish": 0}, "estimated_finish", None, id="time 0 is none"),
        pytest.param({"estimated_finish": "soon"}, "estimated_finish", None, id="no time at all"),
        pytest.param({"estimated_finish": 1e30}, "estimated_finish", None, id="beyond all years"),
        pytest.param({"trained_tokens": -1}, "trained_tokens", None, id="-1 tokens"),
        pytest.param({"trained_tokens": True}, "trained_tokens", None, id="a boolean is no count"),
        pytest.param({"result_files": None}, "result_files", (), id="no result files"),
        pytest.param({"result_files": ["f", 7]}, "result_files", ("f",), id="an odd file id"),
        pytest.param(
            {"hyperparameters": {"n_epochs": 3, "batch_size": -1, "learning_rate_multiplier": 0.1}},
            "hyperparameters",
            {"n_epochs": "3", "learning_rate_multiplier": "0.1"},
            id="what is automatic is left out",
        ),
        pytest.param(
            {"hyperparameters": {"n_epochs": "auto", "batch_size": 6.0}},
            "hyperparameters",
            {"batch_size": "6"},
            id="auto in words",
        ),
        pytest.param(
            {
                "hyperparameters": {"n_epochs": 2, "batch_size": -1},
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {
                        "hyperparameters": {
                            "n_epochs": "auto",
                            "reasoning_effort": "medium",
                            "compute_multiplier": 1.5,
                        }
                    },
                },
            },
            "hyperparameters",
            {"n_epochs": "2", "reasoning_effort": "medium", "compute_multiplier": "1.5"},
            id="those of the method beside the common ones",
        ),
        pytest.param({"hyperparameters": None}, "hyperparameters", {}, id="no hyperparameters"),
        pytest.param({"suffix": "x" * 999}, "suffix", "x" * 253, id="bounded"),
    ],
)
def test_odd_values(changes: dict[str, Any], field: str, want: object) -> None:
    job = wire.job(sample("job_created_method") | changes, seen_at=NOW)
    assert vars(job)[field] == want


@pytest.mark.parametrize("body", [None, [], "text", {}, {"id": None}, {"id": ""}, {"id": 7}])
def test_what_is_no_job_is_refused(body: object) -> None:
    with pytest.raises(wire.Unusable):
        wire.job(body, seen_at=NOW)


def test_a_list_survives_what_is_no_job() -> None:
    page = wire.page({"data": [{"id": "ftjob-1"}, None, {"object": "fine_tuning.job"}]})
    assert [job.id for job in wire.jobs(page.items, seen_at=NOW)] == ["ftjob-1"]


@pytest.mark.parametrize(
    ("said", "want"),
    [
        pytest.param({"has_more": False}, False, id="the last page"),
        pytest.param({"has_more": True}, True, id="not the last"),
        pytest.param({}, True, id="not said: look further"),
    ],
)
def test_whether_there_are_more_pages(said: dict[str, Any], want: bool) -> None:
    assert wire.page({"data": [{"id": "ftjob-1"}], **said}).has_more is want


@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {}}])
def test_what_is_no_list_is_refused(body: object) -> None:
    with pytest.raises(wire.Unusable):
        wire.page(body)


def test_details_of_a_run_that_ended_well() -> None:
    details = wire.details(sample("events")["data"], sample("checkpoints")["data"])
    events, checkpoints = sample("events")["data"], sample("checkpoints")["data"]
    newest = next(event["data"] for event in events if event["type"] == "metrics")
    assert details.step == newest["step"]
    assert details.figures.train_loss == newest["train_loss"]
    assert details.figures.validation_loss == newest["full_valid_loss"]
    assert details.billed_tokens == 8000
    assert [c.name for c in details.checkpoints] == [
        c["fine_tuned_model_checkpoint"] for c in checkpoints
    ]
    assert (
        details.checkpoints[0].figures.validation_loss
        == checkpoints[0]["metrics"]["full_valid_loss"]
    )


@pytest.mark.parametrize(
    ("events", "want"),
    [
        pytest.param([], RemoteDetails(), id="nothing yet"),
        pytest.param(
            [{"type": "metrics", "message": "Step 10: training loss=0.99", "data": None}],
            RemoteDetails(step=10, figures=Figures(train_loss=0.99)),
            id="figures in the sentence only",
        ),
        pytest.param(
            [{"type": "metrics", "message": "Step 7/90: training loss=1e-3"}],
            RemoteDetails(step=7, total_steps=90, figures=Figures(train_loss=0.001)),
            id="a total",
        ),
        pytest.param(
            [
                {"type": "metrics", "data": {"step": 20, "train_loss": 1.0, "valid_loss": 3.0}},
                {"type": "metrics", "data": {"step": 10, "full_valid_loss": 1.5}},
            ],
            RemoteDetails(step=20, figures=Figures(train_loss=1.0, validation_loss=1.5)),
            id="the whole validation set counts, not a batch",
        ),
        pytest.param(
            [{"type": "metrics", "data": {"step": 3, "train_loss": "NaN"}}],
            RemoteDetails(step=3),
            id="not a number",
        ),
        pytest.param(
            [
                {
                    "type": "metrics",
                    "data": {
                        "step": 4,
                        "scores": {"train_reward_mean": 0.25, "valid_reward_mean": 0.5},
                    },
                }
            ],
            RemoteDetails(step=4, figures=Figures(train_reward=0.25, validation_reward=0.5)),
            id="rewards as the service tells them today",
        ),
        pytest.param(
            [
                {
                    "type": "metrics",
                    "data": {"step": 4, "train_mean_reward": 0.25, "full_valid_mean_reward": 0.5},
                }
            ],
            RemoteDetails(step=4, figures=Figures(train_reward=0.25, validation_reward=0.5)),
            id="rewards as the result file names them",
        ),
        pytest.param(
            [{"type": "telemetry", "message": "Weather is fine", "data": [1, 2]}],
            RemoteDetails(),
            id="unknown type",
        ),
        pytest.param([{}, {"message": None}], RemoteDetails(), id="empty events"),
    ],
)
def test_odd_events(events: list[dict[str, Any]], want: RemoteDetails) -> None:
    assert wire.details(events, []) == want


def test_what_an_older_page_said_is_kept() -> None:
    checkpoint = RemoteCheckpoint(name="m", step=5)
    old = RemoteDetails(
        step=5, figures=Figures(validation_loss=1.5, train_reward=0.5), checkpoints=(checkpoint,)
    )
    new = RemoteDetails(step=15, figures=Figures(train_loss=0.0))
    assert wire.updated(old, new) == RemoteDetails(
        step=15,
        figures=Figures(train_loss=0.0, validation_loss=1.5, train_reward=0.5),
        checkpoints=(checkpoint,),
    )


CSV = """step,train_loss,train_mean_token_accuracy,valid_loss,full_valid_loss
1,2.5,0.4,2.75,
2,1.5,0.5,,1.75
"""
STEPS = (
    StepFigures(step=1, figures=Figures(train_loss=2.5)),
    StepFigures(step=2, figures=Figures(train_loss=1.5, validation_loss=1.75)),
)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(CSV, STEPS, id="as it comes"),
        pytest.param(base64.b64encode(CSV.encode()).decode(), STEPS, id="in base64"),
        pytest.param(
            "train_loss,step\n2.5,1\nx,y\n",
            (StepFigures(step=1, figures=Figures(train_loss=2.5)),),
            id="other columns in another order, and a row of nothing",
        ),
        pytest.param(
            "step,train_mean_reward,full_valid_mean_reward\n5,0.25,0.5\n",
            (StepFigures(step=5, figures=Figures(train_reward=0.25, validation_reward=0.5)),),
            id="rewards",
        ),
        pytest.param("step,train_loss\n", (), id="no steps"),
        pytest.param(
            "step,train_loss\r1,2.5\r",
            (StepFigures(step=1, figures=Figures(train_loss=2.5)),),
            id="lines that end as they once did",
        ),
        pytest.param("", (), id="nothing at all"),
    ],
)
def test_a_result_file(text: str, want: tuple[StepFigures, ...]) -> None:
    assert wire.results(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param('step,train_loss\n"' + "x" * 140_000, "not a table", id="a quote without end"),
        pytest.param("step,train_loss\n" + "1,2\n" * 2_100_000, "too large", id="8 MiB"),
    ],
)
def test_a_result_file_that_holds_up_nobody(text: str, want: str) -> None:
    with pytest.raises(wire.Unusable, match=want):
        wire.results(text)


def test_a_result_file_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"base64|Incorrect padding"):
        wire.results("This is no table.")
