"""Writes the report where the kubelet finds it, cut to what the kubelet keeps.

Knows the report's form only.
"""

from pathlib import Path

from finetune_api.constants import TERMINATION_LIMIT_BYTES
from finetune_api.pods import PrepareReport


def write(report: PrepareReport, path: Path) -> None:
    """Leave the report as the container's termination message."""
    path.write_bytes(encode(report))


def encode(report: PrepareReport) -> bytes:
    """The report as JSON within the limit; the least useful parts go first."""
    while len(content := _json(report)) > TERMINATION_LIMIT_BYTES:
        report = _shorter(report)
    return content


def _json(report: PrepareReport) -> bytes:
    return report.model_dump_json(exclude_none=True).encode()


def _shorter(report: PrepareReport) -> PrepareReport:
    if report.bad_rows:
        return report.model_copy(update={"bad_rows": report.bad_rows[:-1]})
    for name, data in (("validation", report.validation), ("training", report.training)):
        if data and data.warnings:
            fewer = data.model_copy(update={"warnings": data.warnings[:-1] or None})
            return report.model_copy(update={name: fewer})
    message = report.message or ""
    return report.model_copy(update={"message": message[: len(message) // 2]})
