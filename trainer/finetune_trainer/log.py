"""Log lines of the trainer: one JSON object per line on standard output.

Must not be given the content of rows.
"""

import json
import time
from typing import Any


def event(name: str, **fields: Any) -> None:
    """Write one line; a figure that is not finite becomes null."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": stamp, "event": name, **{key: _clean(value) for key, value in fields.items()}}
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if abs(value) < float("inf") else None
    return value
