"""What is known about this run so far, and the report that is made of it at any moment.

Knows the contract; must not know how training works.
"""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.pods import TrainerReport
from finetune_api.reasons import ExitCode, Reason
from finetune_api.status import CheckpointStatus, DataSetReport, Metrics, Resolved

MAX_MESSAGE = 1024


@dataclass(kw_only=True)
class Story:
    """Filled as the run goes on; each field is what a report says under the same name."""

    step: int | None = None
    total_steps: int | None = None
    resumed_from: int | None = None
    checkpoint: CheckpointStatus | None = None
    metrics: Metrics | None = None
    data: DataSetReport | None = None
    resolved: dict[str, Resolved] = field(default_factory=dict)
    result_path: str | None = None

    def report(self, code: int, reason: Reason, message: str) -> TrainerReport:
        """The report of a run that ends here."""
        return TrainerReport(
            code=int(code), reason=reason.value, message=message[:MAX_MESSAGE], **vars(self)
        )

    def preempted(self) -> TrainerReport:
        """The report of a run that SIGTERM ended."""
        where = f"at step {self.step}" if self.step else "before the first step"
        kept = f"; step {self.checkpoint.step} is saved" if self.checkpoint else ""
        return self.report(
            ExitCode.PREEMPTED, Reason.PREEMPTED, f"Stopped on request {where}{kept}."
        )


def write_json(path: Path, text: str) -> None:
    """Replace a file in one step, readable by other users, and on disk when this returns."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def as_json(report: TrainerReport) -> str:
    """The report without what it does not know."""
    return json.dumps(report.model_dump(mode="json", exclude_none=True), ensure_ascii=False)
