"""The runtime as a process, with a controller that only tells what it is asked to look at.

STUB_HOLD_SECONDS makes each look take that long, as a reconcile that waits for an answer does.
"""

import asyncio
import json
import os
import sys

from finetune_operator.adapters import connection, logs
from finetune_operator.adapters.store import Key
from finetune_operator.runtime import run
from finetune_operator.services import Services
from finetune_operator.settings import Settings


class Stub:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._hold = float(os.environ.get("STUB_HOLD_SECONDS", "0"))

    async def reconcile(self, key: Key) -> float | None:
        job = self._services.store.job(key)
        uid = job["metadata"]["uid"] if job else ""
        children = [child["metadata"]["name"] for child in self._services.store.child_jobs(uid)]
        report = self._services.store.progress(uid)
        tell(
            seen=str(key),
            known=job is not None,
            children=children,
            progress=report.status.progress_percentage if report else None,
            left=self._services.leadership.time_left(),
        )
        await asyncio.sleep(self._hold)
        tell(finished=str(key))
        return None

    async def close(self) -> None:
        return None


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    logs.set_up(settings.log_level)
    sys.exit(asyncio.run(run(settings, connection.environment(), Stub)))
