"""JSON logs, one object a line, that name the FineTuneJob they are about.

Messages never hold rows, keys or tokens: whoever logs sees to that, nothing is filtered here.
"""

import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

_about: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "about", default=None
)


@contextmanager
def about(key: object, *, uid: str | None = None, generation: int | None = None) -> Iterator[None]:
    """Within this, every line of this task names the object."""
    named = {"object": str(key), "uid": uid, "generation": generation}
    token = _about.set({name: value for name, value in named.items() if value is not None})
    try:
        yield
    finally:
        _about.reset(token)


class JsonFormatter(logging.Formatter):
    """One line of JSON a record; an unexpected error brings its trace in the field `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_about.get() or {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str) -> None:
    """Send everything to stderr as JSON; libraries only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("finetune_operator").setLevel(level)
    # kopf narrates every event at INFO, and calls it an ERROR when a connection is retried.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for retried in ("kopf._cogs.clients", "kopf._core.reactor.observation"):
        logging.getLogger(retried).setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
