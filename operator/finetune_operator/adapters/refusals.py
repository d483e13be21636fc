"""What was asked of the API server, and what its refusals mean to us: translated once, here.

It must not know how a request is sent.
"""

from dataclasses import dataclass
from typing import Any

from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.errors import Conflict, OperatorError, Terminal, Transient

Json = dict[str, Any]


class AlreadyExists(Exception):
    """An object of that name exists: whoever created it must look whose it is."""


class Expired(Exception):
    """The resourceVersion is too old to watch from: list again."""


class NamespaceTerminating(OperatorError):
    """Nothing can be created in that namespace any more."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked, in the words of metrics and messages."""

    verb: str
    resource: Resource
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    denied: Reason = Reason.PERMISSION_DENIED

    @property
    def path(self) -> str:
        """The URL's path."""
        return self.resource.path(self.namespace, self.name, self.subresource)

    def __str__(self) -> str:
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.resource.plural} {place}".rstrip()


def refusal(asked: Request, code: int, answer: Json, retry_after: float) -> Exception:
    """The one place where the API server's refusals become our errors."""
    message = str(answer.get("message") or f"HTTP status {code}")[:800]
    match code:
        case 409 if answer.get("reason") == "AlreadyExists":
            return AlreadyExists(message)
        case 409:
            return Conflict(message)
        case 410:
            return Expired(message)
        case 400 | 405 | 413 | 415 | 422:
            return Terminal(Reason.REQUEST_REFUSED, f"The API server refused: {message}")
        case 403:
            return _forbidden(asked, answer, message)
        case 429 | 503:
            return Transient(
                Reason.API_ERROR,
                f"The API server is busy ({asked}); trying again",
                retry_after=retry_after,
            )
        case _:
            return Transient(
                Reason.API_ERROR, f"The API server failed ({asked}): {message}", retry_after=2
            )


def _forbidden(asked: Request, answer: Json, message: str) -> Exception:
    causes = (answer.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceTerminating(Reason.API_ERROR, message)
    if "exceeded quota" in message:
        advice = (
            "The namespace's ResourceQuota is used up: free some (PersistentVolumeClaims of deleted"
            f" FineTuneJobs stay), or raise it ({message})"
        )
        return Transient(Reason.QUOTA_EXCEEDED, advice, waits_for_user=True)
    return Transient(asked.denied, message, waits_for_user=True)
