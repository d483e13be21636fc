"""One object for each state of a job, and what Argo CD, kstatus and kubectl make of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from finetune_api.job import FineTuneJob
from finetune_api.reasons import Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.core import conditions
from finetune_operator.core.conditions import Summary
from support.builders_api import Manifest
from support.crd_server import CrdServer
from support.readers import HEALTH_LUA, argo_health, kstatus

FIXTURES = Path(__file__).parents[1] / "fixtures" / "health"
APPLICATION = HEALTH_LUA.with_name("application.yaml")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A state, and what its readers shall see."""

    state: str
    want_argo: str
    want_kstatus: str
    want_phase: str
    want_reason: str
    """Of Ready, as `kubectl get -o wide` shows it."""

    def load(self) -> Manifest:
        """The live object."""
        manifest: Manifest = yaml.safe_load((FIXTURES / f"{self.state}.yaml").read_text())
        return manifest


def _row(state: str, argo: str, kstatus_: str, phase: str, reason: str) -> Row:
    return Row(
        state=state, want_argo=argo, want_kstatus=kstatus_, want_phase=phase, want_reason=reason
    )


ROWS = [
    # Without a status kstatus knows nothing better: hence the operator writes one at once.
    _row("not-seen-yet", "Progressing", "Current", "", ""),
    _row("new", "Progressing", "InProgress", "Pending", "Starting"),
    _row("spec-changed", "Progressing", "InProgress", "Running", "Running"),
    _row("waiting", "Progressing", "InProgress", "Pending", "Unschedulable"),
    _row("running", "Progressing", "InProgress", "Running", "Running"),
    _row("waiting-for-the-user", "Degraded", "Failed", "Pending", "SecretNotFound"),
    _row("suspended", "Suspended", "InProgress", "Suspended", "Suspended"),
    _row("succeeded-hosted", "Healthy", "Current", "Succeeded", "Succeeded"),
    _row("succeeded-in-the-cluster", "Healthy", "Current", "Succeeded", "Succeeded"),
    _row("failed", "Degraded", "Failed", "Failed", "DataInvalid"),
    _row("retried", "Progressing", "InProgress", "Preparing", "RetryRequested"),
    _row("cancelled", "Suspended", "Failed", "Cancelled", "Cancelled"),
    _row("deleting", "Progressing", "Terminating", "Running", "Running"),
]


def row_of(state: str) -> Row:
    return next(row for row in ROWS if row.state == state)


each_state = pytest.mark.parametrize("row", [pytest.param(row, id=row.state) for row in ROWS])


def test_every_fixture_has_a_row() -> None:
    assert {path.stem for path in FIXTURES.iterdir()} == {row.state for row in ROWS}


def test_every_end_and_every_pause_has_a_row() -> None:
    quiet = {Phase.SUCCEEDED, Phase.FAILED, Phase.SUSPENDED, Phase.CANCELLED}
    assert quiet <= {row.want_phase for row in ROWS}


@each_state
def test_argo_cd_sees(row: Row) -> None:
    status, message = argo_health(row.load())
    assert status == row.want_argo
    assert message


@each_state
def test_kstatus_sees(row: Row) -> None:
    assert kstatus(row.load()) == row.want_kstatus


@each_state
def test_the_fixture_fits_todays_contract(row: Row) -> None:
    live = row.load()
    read = FineTuneJob.model_validate(live).model_dump(mode="json", exclude_none=True)
    assert read["spec"] == live["spec"]
    assert read["status"] == live.get("status", {"conditions": []})


@pytest.mark.parametrize(
    ("state", "summary"),
    [
        pytest.param("new", conditions.new(Reason.STARTING, ""), id="new"),
        pytest.param(
            "waiting",
            conditions.working(Phase.PENDING, Reason.UNSCHEDULABLE, ""),
            id="waiting",
        ),
        pytest.param(
            "running", conditions.working(Phase.RUNNING, Reason.RUNNING, ""), id="running"
        ),
        pytest.param(
            "waiting-for-the-user",
            conditions.waiting_for_user(Phase.PENDING, Reason.SECRET_NOT_FOUND, ""),
            id="waiting for the user",
        ),
        pytest.param("suspended", conditions.suspended(""), id="suspended"),
        pytest.param("succeeded-hosted", conditions.succeeded(""), id="succeeded"),
        pytest.param("failed", conditions.failed(Reason.DATA_INVALID, ""), id="failed"),
        pytest.param("cancelled", conditions.cancelled(""), id="cancelled"),
    ],
)
def test_the_operator_writes_what_the_fixture_shows(state: str, summary: Summary) -> None:
    live = FineTuneJob.model_validate(row_of(state).load())
    told = conditions.summarise(
        FineTuneJobStatus(), summary, meta=live.metadata, now=datetime.now(UTC)
    )
    earlier = {"DataValid", "Submitted"}
    shown = {(c.type, c.status, c.reason) for c in live.status.conditions if c.type not in earlier}
    assert {(c.type, c.status, c.reason) for c in told.conditions} == shown
    assert told.phase == live.status.phase


@each_state
def test_ready_reconciling_and_stalled_never_disagree(row: Row) -> None:
    shown = {c["type"]: c["status"] for c in row.load().get("status", {}).get("conditions", [])}
    assert not {"Reconciling", "Stalled"} <= shown.keys()
    assert shown.get("Reconciling", "True") == shown.get("Stalled", "True") == "True"
    if shown.get("Ready") == "True":
        assert not {"Reconciling", "Stalled"} & shown.keys()


@pytest.mark.parametrize(
    ("status", "want"),
    [
        pytest.param({}, "Progressing", id="an empty status"),
        pytest.param({"observedGeneration": 1}, "Progressing", id="no conditions"),
        pytest.param({"observedGeneration": 1, "conditions": []}, "Progressing", id="none yet"),
        pytest.param(
            {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
            "Healthy",
            id="neither message nor phase",
        ),
        pytest.param(
            {"observedGeneration": 1, "conditions": [{"type": "ByOthers", "status": "True"}]},
            "Progressing",
            id="a condition that is not ours",
        ),
    ],
)
def test_argo_cd_survives_what_is_absent(status: Manifest, want: str) -> None:
    seen, message = argo_health({"metadata": {"generation": 1}, "status": status})
    assert seen == want
    assert message


def test_the_application_needs_no_ignored_differences() -> None:
    application = yaml.safe_load(APPLICATION.read_text())
    assert "ignoreDifferences" not in application["spec"]
    assert application["spec"]["syncPolicy"]["syncOptions"] == ["ServerSideApply=true"]


@pytest.fixture(scope="module")
def served(crd_server: CrdServer) -> Iterator[CrdServer]:
    """All of them on a real API server."""
    for row in ROWS:
        live = row.load()
        name = live["metadata"]["name"]
        kept = {"name", "namespace", "annotations", "finalizers"}
        metadata = {key: value for key, value in live["metadata"].items() if key in kept}
        crd_server.stored(live | {"metadata": metadata})
        if "deletionTimestamp" in live["metadata"]:
            crd_server.delete(name)
    yield crd_server
    for row in ROWS:
        if row.state == "deleting":
            crd_server.patch(row.state, {"metadata": {"finalizers": None}})
        else:
            crd_server.delete(row.state)


def columns(printed: str) -> dict[str, dict[str, str]]:
    """What kubectl printed: by name, then by heading."""
    header, *lines = printed.splitlines()
    names = header.split()
    starts = [header.index(f"{name} ") if name != names[-1] else header.rindex(name)
              for name in names]  # fmt: skip
    ends = [*starts[1:], None]
    cells = [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines
    ]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cells}


@pytest.mark.integration
def test_kubectl_prints_the_columns_of_every_state(served: CrdServer) -> None:
    printed = columns(served.kubectl("get", "ftj"))
    narrow = ["NAME", "PHASE", "BACKEND", "MODEL", "PROGRESS", "ETA", "AGE"]
    assert list(printed["running"]) == narrow
    assert {name: row["PHASE"] for name, row in printed.items() if name in STATES} == {
        row.state: row.want_phase for row in ROWS
    }


@pytest.mark.integration
def test_kubectl_prints_more_when_asked(served: CrdServer) -> None:
    printed = columns(served.kubectl("get", "finetune", "-o", "wide"))
    wide = ["METHOD", "LOSS", "REASON", "RESULT", "QUEUE"]
    assert list(printed["running"])[6:-1] == wide
    assert {name: row["REASON"] for name, row in printed.items() if name in STATES} == {
        row.state: row.want_reason for row in ROWS
    }
    running = printed["running"]
    assert running.pop("AGE")
    assert running == {
        "NAME": "running",
        "PHASE": "Running",
        "BACKEND": "Kubernetes",
        "MODEL": "SmolLM2-135M-Instruct",
        "PROGRESS": "20%",
        "ETA": "18:02 UTC",
        "METHOD": "Supervised",
        "LOSS": "0.83",
        "REASON": "Running",
        "RESULT": "",
        "QUEUE": "team-a",
    }
    assert printed["succeeded-in-the-cluster"]["RESULT"] == "pvc://succeeded-3f1ab-output/result"


STATES = {row.state for row in ROWS}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("state", "condition"),
    [
        pytest.param("succeeded-hosted", "Succeeded", id="success"),
        pytest.param("failed", "Succeeded=False", id="failure"),
        pytest.param("waiting-for-the-user", "Stalled", id="a wait for the user"),
    ],
)
def test_kubectl_wait_has_a_target(served: CrdServer, state: str, condition: str) -> None:
    said = served.kubectl("wait", f"--for=condition={condition}", f"ftj/{state}", "--timeout=10s")
    assert "condition met" in said
