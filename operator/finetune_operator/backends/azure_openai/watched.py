"""Which jobs are watched for whom, and what is known of each.

Must not know how anything is learned: no request, no task.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from finetune_operator.adapters.store import Key
from finetune_operator.core.errors import OperatorError
from finetune_operator.core.observed import Remote, RemoteJob

_KEPT_FOR = timedelta(minutes=10)
"""How long a note about a job waits for somebody to watch it."""
_NEVER = -1_000_000


@dataclass(kw_only=True)
class Watched:
    """A job that somebody waits for."""

    keys: set[Key] = field(default_factory=set)
    remote: Remote | None = None
    twins: tuple[RemoteJob, ...] = ()
    """Active jobs of the same suffix, as the last poll saw them."""
    error: OperatorError | None = None
    """Why this very job could not be read since its last snapshot, if it was asked for alone."""
    details_round: int = _NEVER
    """The poll that last asked for its events."""
    final_tries: int = 0
    over: bool = False
    """Terminal, and published so: nothing is asked about it any more."""

    def known_since(self, moment: datetime) -> bool:
        """Whether somebody learned about it after `moment`: what was asked before is stale."""
        return self.remote is not None and self.remote.seen_at > moment


class WatchList:
    """Watched jobs by id, and the one job of each key."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._watched: dict[str, Watched] = {}
        self._ids: dict[Key, str] = {}
        self._noted: dict[str, Remote] = {}

    def active(self) -> dict[str, Watched]:
        """The jobs that are not over, by id."""
        return {job_id: watched for job_id, watched in self._watched.items() if not watched.over}

    def add(self, key: Key, job_id: str) -> Watched:
        """Let `key` watch this job, and no other."""
        if self._ids.get(key) != job_id:
            self.remove(key)
            self._ids[key] = job_id
            watched = self._watched.setdefault(job_id, Watched())
            watched.keys.add(key)
            watched.remote = watched.remote or self._noted.pop(job_id, None)
        return self._watched[job_id]

    def remove(self, key: Key) -> None:
        """Let `key` watch nothing."""
        job_id = self._ids.pop(key, None)
        if job_id is None:
            return
        self._watched[job_id].keys.discard(key)
        if not self._watched[job_id].keys:
            del self._watched[job_id]

    def last(self, job_id: str) -> Remote | None:
        """What is known of a job."""
        watched = self._watched.get(job_id)
        return watched.remote if watched else self._noted.get(job_id)

    def note(self, job_id: str, remote: Remote, *, over: bool) -> None:
        """Keep a snapshot of a job, also of one that is only about to be watched."""
        if job_id in self._watched:
            watched = self._watched[job_id]
            self.publish(watched, replace(remote, twins=watched.twins), over=over)
            return
        oldest = remote.seen_at - _KEPT_FOR
        self._noted = {id_: note for id_, note in self._noted.items() if note.seen_at >= oldest}
        self._noted[job_id] = remote

    def publish(self, watched: Watched, remote: Remote, *, over: bool) -> None:
        """Replace a snapshot, and wake those who wait if it says something new."""
        old, watched.remote, watched.over = watched.remote, remote, over
        error, watched.error = watched.error, None
        if error or old is None or replace(old, seen_at=remote.seen_at) != remote:
            self._wake_keys_of(watched)

    def fail(self, watched: Watched, error: OperatorError) -> None:
        """Note why a job cannot be read, and wake those who wait if that is news."""
        old, watched.error = watched.error, error
        if old is None or old.reason is not error.reason:
            self._wake_keys_of(watched)

    def error_of(self, key: Key) -> OperatorError | None:
        """Why the job of this key cannot be read, as far as that is its own trouble."""
        watched = self._watched.get(self._ids.get(key, ""))
        return watched.error if watched else None

    def wake_all(self) -> None:
        """Wake everybody who waits for a job that is not over."""
        for watched in self.active().values():
            self._wake_keys_of(watched)

    def _wake_keys_of(self, watched: Watched) -> None:
        for key in watched.keys:
            self._wake(key)
