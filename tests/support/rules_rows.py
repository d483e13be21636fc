"""Rows of a rule: the manifests it lets through and those it refuses.

A rule is known by the schema path where it stands and by its sentence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.builders_api import Manifest, changed, hosted_job, pod_job


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """One write and what a rule says to it."""

    at: str
    message: str
    case: str
    allowed: bool
    new: Manifest
    old: Manifest | None = None
    """The object as it stands, its status included; absent: `new` is created."""

    @property
    def id(self) -> str:
        """A sentence for the test report."""
        where = self.at or "root"
        return f"{where}: {self.case}: {'allowed' if self.allowed else 'refused'}"


def creates(
    at: str, message: str, *, allowed: Mapping[str, Manifest], refused: Mapping[str, Manifest]
) -> Iterator[RuleRow]:
    """Rows for objects that are created."""
    for verdict, cases in ((True, allowed), (False, refused)):
        for case, manifest in cases.items():
            yield RuleRow(at=at, message=message, case=case, allowed=verdict, new=manifest)


HOSTED = hosted_job()
PODS = pod_job()


def hosted_with(path: str, value: Any) -> Manifest:
    """The hosted job with one value of its own."""
    return changed(HOSTED, {path: value})


def pods_with(path: str, value: Any) -> Manifest:
    """The same for the job in the cluster."""
    return changed(PODS, {path: value})
