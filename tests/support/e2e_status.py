"""What end-to-end tests ask of a status: its conditions, and that its words are fit for people."""

import json
import re

from support.e2e_cluster import Json


def condition(status: Json, kind: str) -> Json:
    """A condition of a status; empty if it is not there."""
    return next((each for each in status.get("conditions", []) if each["type"] == kind), {})


def assert_told(status: Json, phase: str, reason: str, sentence: str) -> None:
    """Phase, reason and sentence are these, and nobody is shown a stack trace."""
    ready = condition(status, "Ready")
    assert (status["phase"], ready["reason"]) == (phase, reason), status.get("message")
    assert re.search(sentence, status["message"]), status["message"]
    assert ready["message"] == status["message"]
    written = json.dumps(status)
    assert "Traceback" not in written
    assert '.py", line' not in written


def assert_failed(status: Json, reason: str, sentence: str) -> None:
    """Ended without a result, for this reason, and every reader of conditions knows it."""
    assert_told(status, "Failed", reason, sentence)
    assert condition(status, "Succeeded")["status"] == "False"
    assert condition(status, "Stalled")["status"] == "True"
    assert condition(status, "Reconciling") == {}
