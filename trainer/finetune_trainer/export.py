"""Writes the result: a folder that loads by itself, complete or absent.

Knows the layout of a result; must not know how it was trained.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from finetune_api.pods import FileSource, HubSource, TrainerReport
from finetune_trainer.checkpoints import manifest, seal
from finetune_trainer.story import as_json, write_json

RESULT = "result"
REPORT = "report.json"


def finished(output: Path, fingerprint: str) -> TrainerReport | None:
    """The report of a result that this training has already left; None if there is none."""
    facts = manifest(output / RESULT)
    if facts is None or facts["fingerprint"] != fingerprint:
        return None
    try:
        return TrainerReport.model_validate_json((output / REPORT).read_bytes())
    except (OSError, ValueError):
        return None


def publish(
    model: Any,
    tokenizer: Any,
    *,
    base: HubSource | FileSource,
    display: str,
    card: str,
    output: Path,
    fingerprint: str,
) -> None:
    """Write model, tokenizer and card beside the old result, then take its place."""
    with tempfile.TemporaryDirectory(dir=output, prefix=".result-") as scratch:
        new = Path(scratch) / "new"
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        _name_base(new / "adapter_config.json", base, display)
        (new / "README.md").write_text(card, encoding="utf-8")
        seal(new, fingerprint=fingerprint)
        if (output / RESULT).exists():
            (output / RESULT).rename(Path(scratch) / "old")
        new.rename(output / RESULT)


def _name_base(file: Path, base: HubSource | FileSource, display: str) -> None:
    """An adapter names the model by where people find it, not by a path in this pod."""
    if not file.exists():
        return
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = display
    settings["revision"] = base.revision if isinstance(base, HubSource) else None
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def write_report(output: Path, report: TrainerReport) -> None:
    """Leave the report beside the result; with it the training counts as finished."""
    write_json(output / REPORT, as_json(report))


def tidy(output: Path) -> None:
    """Remove what killed attempts left half-written."""
    for folder in output.glob(".result-*"):
        shutil.rmtree(folder, ignore_errors=True)
