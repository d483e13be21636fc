import io
import json
import logging
from collections.abc import Iterator

import pytest

from finetune_operator.adapters import logs


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.getLogger("test-of-logs")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


def test_a_line_names_its_object(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log

    with logs.about("team-a/tune", uid="uid-1", generation=2):
        logger.warning("Created Job name=%s", "tune-1")
    logger.warning("Something else")

    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first["message"] == "Created Job name=tune-1"
    assert (first["object"], first["uid"], first["generation"]) == ("team-a/tune", "uid-1", 2)
    assert "object" not in second


def test_an_unexpected_error_is_one_line(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log

    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("Reconcile crashed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["trace"]
