"""What this leadership knows of a job besides status: only what may be lost with the process.

No I/O. Nothing here is needed to be right: a new leader starts without it and looks instead.
Every moment is of a clock that nobody sets: only how long ago it was counts.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from finetune_api.reasons import Reason
from finetune_operator.core.observed import SubmissionFacts

_CANCEL_AGAIN = timedelta(minutes=2)
_PAUSE_AGAIN = timedelta(minutes=10)
_LONG_AGO = timedelta(days=1)


@dataclass
class JobMemory:
    """One FineTuneJob; another object of its name starts with nothing."""

    uid: str
    hosted: bool = False
    """At a hosted service, whose backend may know of it too."""
    submissions: dict[str, SubmissionFacts] = field(default_factory=dict)
    cancelled: dict[str, datetime] = field(default_factory=dict)
    """When the service was last asked to cancel a hosted job, by id; our own: when it accepted."""
    pause_declined: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    """When the service would not pause our hosted job, by its id, and what it said."""
    holds_finalizer: bool = False
    """This leadership added the finalizer: before that, nothing of the job was at the service."""
    exported: bool = False
    deleting_since: datetime | None = None
    """When this leadership first saw that the object is being deleted."""
    error: Reason | None = None
    error_since: datetime | None = None

    def submission(self, marker: str, now: datetime) -> SubmissionFacts:
        """What is known of a marker; from now on if it is new here."""
        return self.submissions.setdefault(
            marker, SubmissionFacts(recorded_here=False, known_since=now)
        )

    def recorded(self, marker: str, now: datetime, *, held: bool) -> None:
        """This leadership wrote the marker: nobody else can have sent it.

        Unless the finalizer was there before, or the marker was known before: then a status was
        lost, and what it said may have been done. A job that is not `held` by a finalizer leaves
        no such trace: one look at the service, and no wait before it.
        """
        known = self.submissions.get(marker)
        if known is None:
            since = now if held else now - _LONG_AGO
            known = SubmissionFacts(recorded_here=self.holds_finalizer, known_since=since)
        else:
            known = replace(known, recorded_here=False)
        self.submissions[marker] = known

    def posted(self, marker: str, now: datetime) -> None:
        """The submission is sent at this moment."""
        known = self.submissions[marker]
        self.submissions[marker] = replace(known, posted_at=now, last_look_at=None)

    def not_created(self, marker: str) -> None:
        """The submission was certainly refused, or not even sent."""
        known = self.submissions[marker]
        self.submissions[marker] = SubmissionFacts(
            recorded_here=known.recorded_here, known_since=known.known_since
        )

    def unanswered(self, marker: str, now: datetime, told: str) -> None:
        """The submission was sent, and nobody can tell what became of it."""
        self.posted(marker, now)
        known = self.submissions[marker]
        self.submissions[marker] = replace(
            known,
            unanswered=known.unanswered + 1,
            unanswered_since=known.unanswered_since or now,
            told=told,
        )

    def looked(self, marker: str, now: datetime) -> None:
        """A search that began at this moment did not find it."""
        self.submissions[marker] = replace(self.submissions[marker], last_look_at=now)

    def cancel_asked(self, job_id: str, now: datetime) -> None:
        """The service was asked to cancel this job; what was asked long ago is forgotten."""
        recent = {id_: at for id_, at in self.cancelled.items() if now - at < _LONG_AGO}
        self.cancelled = recent | {job_id: now}

    def cancel_sent(self, job_id: str | None, now: datetime) -> bool:
        """Whether a cancellation was asked for so lately that it need not be asked for again."""
        sent = self.cancelled.get(job_id) if job_id else None
        return sent is not None and now - sent < _CANCEL_AGAIN

    def declined_to_pause(self, job_id: str, said: str, now: datetime) -> bool:
        """The service would not pause this job; whether that is news."""
        is_news = self.pause_declined.get(job_id, (now, ""))[1] != said
        self.pause_declined = {job_id: (now, said)}
        return is_news

    def pause_refused(self, job_id: str | None, now: datetime) -> str:
        """What the service said when it would not pause the job; empty if it may be asked again."""
        at, said = self.pause_declined.get(job_id or "", (now, ""))
        return said if now - at < _PAUSE_AGAIN else ""

    def failed(self, reason: Reason, now: datetime) -> float:
        """For how many seconds this error lasts."""
        if self.error is not reason or self.error_since is None:
            self.error, self.error_since = reason, now
        return (now - self.error_since).total_seconds()

    def deleting(self, now: datetime) -> datetime:
        """Since when it is known that the object is being deleted: now, if that is news."""
        self.deleting_since = self.deleting_since or now
        return self.deleting_since

    def went_well(self) -> None:
        """No error any more."""
        self.error = self.error_since = None
