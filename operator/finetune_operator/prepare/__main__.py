"""`python -m finetune_operator.prepare [CONFIG]`: prepare the data of one job, then exit.

The exit code and the termination message are the result. Decides nothing itself.
"""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from finetune_api.constants import CONFIG_FILE
from finetune_api.pods import PrepareConfig, PrepareReport
from finetune_api.reasons import ExitCode
from finetune_data import trust
from finetune_operator.adapters import logs
from finetune_operator.core.errors import OperatorError
from finetune_operator.prepare import failure, last_words
from finetune_operator.prepare.data import prepare_data, with_hint
from finetune_operator.prepare.failure import Failure
from finetune_operator.prepare.places import Places

_log = logging.getLogger("finetune_operator.prepare")


def main() -> int:
    """Run to the end, whatever happens; the exit code says how it went."""
    places = Places.of()
    _stop_on_sigterm(places)
    logs.set_up("INFO")
    try:
        trust.add(places.fetch_ca)
        config = PrepareConfig.model_validate_json(
            Path(sys.argv[1] if len(sys.argv) > 1 else CONFIG_FILE).read_bytes()
        )
        with logs.about(config.job):
            return _run(config, places)
    except Exception:  # the last chance to leave a report instead of a stack trace
        _log.exception("Unexpected")
        return _end(failure.unexpected(), places)


def _run(config: PrepareConfig, places: Places) -> int:
    try:
        report = prepare(config, places)
    except Failure as found:
        return _end(found, places)
    except OperatorError as refused:
        return _end(failure.of_service(refused), places)
    except OSError as error:
        _log.exception("A system call failed")
        return _end(failure.of_system(error), places)
    last_words.write(report, places.termination_log)
    _log.info("Done")
    return ExitCode.OK


def prepare(config: PrepareConfig, places: Places) -> PrepareReport:
    """Fetch, check and, for a hosted job, upload."""
    with tempfile.TemporaryDirectory(prefix="prepare-") as directory:
        data = prepare_data(config, Path(directory))
        training = data.training_report()
        report = PrepareReport(ok=True, training=training, validation=data.validation_report())
        if config.upload is None or config.validate_only:
            return report
        # Only hosted jobs pay for the import of their client (a second, 60 MB).
        from finetune_operator.prepare.upload import upload

        files = asyncio.run(upload(data, config.upload, places, config.grader))
        return report.model_copy(
            update={
                "training": with_hint(training, files.hint),
                "training_file_id": files.training,
                "validation_file_id": files.validation,
            }
        )


def _end(found: Failure, places: Places) -> int:
    _log.error("%s: %s", found.reason, found.message)
    last_words.write(found.report(), places.termination_log)
    return found.code


def _stop_on_sigterm(places: Places) -> None:
    """PID 1 ignores SIGTERM unless it says otherwise; nothing here needs cleaning up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        found = failure.stopped()
        last_words.write(found.report(), places.termination_log)
        os._exit(found.code)

    signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    sys.exit(main())
