"""The training process, a child of the supervisor.

    python -m finetune_trainer [CONFIG]

Takes SIGTERM before anything else. Must not import a heavy library: a bad config is told at once.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from finetune_api.constants import CONFIG_FILE
from finetune_api.pods import TrainerReport
from finetune_trainer import environment
from finetune_trainer.stop import Stop
from finetune_trainer.story import Story, as_json, write_json
from finetune_trainer.supervisor import REPORT_FILE_VARIABLE


def main(arguments: list[str]) -> NoReturn:
    """Run one attempt and end the process with its exit code."""
    story = Story()
    stop = Stop(lambda: leave(story.preempted()))
    stop.install()
    environment.prepare()
    from finetune_trainer import process

    leave(process.run(Path(arguments[0] if arguments else CONFIG_FILE), story, stop))


def leave(report: TrainerReport) -> NoReturn:
    """Hand the report to the supervisor and end without the libraries' own clean-up."""
    if report_file := os.environ.get(REPORT_FILE_VARIABLE):
        with suppress(OSError):  # the supervisor has words of its own for every exit code
            write_json(Path(report_file), as_json(report))
    with suppress(RuntimeError):  # SIGTERM may have come in the middle of a line
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(report.code)


if __name__ == "__main__":
    main(sys.argv[1:])
