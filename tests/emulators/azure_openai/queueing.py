"""Which jobs wait and which may begin, when only so many may run at a time.

First come, first served; jobs of the developer tier have a queue of their own. A job keeps its
place until it is over, paused or not. Must not know of HTTP.
"""

from collections.abc import Iterable, Sequence
from math import inf

from azure_openai import lifecycle
from azure_openai.lifecycle import Job
from azure_openai.settings import Settings
from azure_openai.store import Store


def admit(store: Store, settings: Settings, now: float) -> None:
    """Let those begin who could have begun by `now`.

    What lies between two requests follows from the records, so this is early enough before a
    request looks at a job or changes one.
    """
    for developer in (False, True):
        waiting = [job for job in store.waiting() if job.is_developer is developer]
        if not waiting:
            continue
        limit = settings.running_developer_jobs if developer else settings.running_jobs
        running = [] if limit is None else store.admitted()
        ours = [job for job in running if job.is_developer is developer]
        for job, moment in begin(waiting, ours, limit=limit, now=now):
            store.admit(job.id, moment)
        if limit is not None:
            store.forget_over(now)


def begin(
    waiting: Sequence[Job], running: Iterable[Job], *, limit: int | None, now: float
) -> list[tuple[Job, float]]:
    """Who of `waiting`, oldest first, begins when; without a limit, those of the future too."""
    ends = [lifecycle.end_moment(job) for job in running]
    begun: list[tuple[Job, float]] = []
    earliest = -inf
    for job in waiting:
        earliest = max(earliest, job.created_at + job.pace.queue_seconds)
        if limit is None:
            begun.append((job, job.created_at + job.pace.queue_seconds))
            continue
        busy = sorted(end for end in ends if end > earliest)
        if len(busy) >= limit:
            earliest = busy[len(busy) - limit]
        if earliest > now:
            break
        begun.append((job, earliest))
        ends.append(lifecycle.end_moment(lifecycle.admitted(job, earliest)))
    return begun
