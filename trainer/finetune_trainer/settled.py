"""What was decided before step 1, on the output volume: a later start decides the same again.

A checkpoint carries the same values; this is for a pod that is lost before the first one. Knows
files; must not know what the values mean.
"""

import json
from pathlib import Path

from finetune_api.status import Resolved
from finetune_trainer.story import write_json

FILE = "resolved.json"


def recall(output: Path, fingerprint: str) -> dict[str, Resolved]:
    """What an earlier start of this training decided; empty if there was none."""
    try:
        kept = json.loads((output / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    if kept["fingerprint"] != fingerprint:
        return {}
    return {name: Resolved(**value) for name, value in kept["resolved"].items()}


def keep(output: Path, fingerprint: str, resolved: dict[str, Resolved]) -> None:
    """Write it down."""
    values = {name: value.model_dump() for name, value in resolved.items()}
    write_json(output / FILE, json.dumps({"fingerprint": fingerprint, "resolved": values}))
