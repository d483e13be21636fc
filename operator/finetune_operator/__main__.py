"""`python -m finetune_operator`: the operator, set up by FINETUNE_* variables."""

import asyncio
import gc
import os
import sys

from finetune_operator import runtime
from finetune_operator.adapters import connection, logs
from finetune_operator.settings import InvalidSettings, Settings
from finetune_operator.wiring import build


def main() -> int:
    """The exit code: 0 asked to stop, 1 something broke, 2 cannot start with these settings."""
    try:
        settings = Settings.from_env(os.environ)
        settings.require_files()
        server = connection.environment()
    except (InvalidSettings, connection.NoConnection) as e:
        print(e, file=sys.stderr)
        return 2
    logs.set_up(settings.log_level)
    # What was imported stays: looking through it again and again was most of what gc costs.
    # JSON makes many objects and few cycles: looking less often saves a twelfth of all CPU.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    return asyncio.run(runtime.run(settings, server, build))


if __name__ == "__main__":
    sys.exit(main())
