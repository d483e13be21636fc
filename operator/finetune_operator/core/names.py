"""Deterministic names and digests of what belongs to a job.

Knows strings and the spec; two jobs of one name, deleted and re-created, share no child's name.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from finetune_api.job import FineTuneJob

_UID_DIGITS, _ATTEMPT_DIGITS, _DIGEST_DIGITS = 6, 2, 8
MARKER_LENGTH = _UID_DIGITS + _ATTEMPT_DIGITS + _DIGEST_DIGITS
"""Hex digits; the end of a hosted job's suffix: whose, which attempt, what it trains."""
_MAX_NAME = 63
_PREPARE = re.compile(r"-p[0-9]+-([0-9]+)$")
_TRAINING = re.compile(r"-a([0-9]+)$")
_TRAINING_FIELDS = ("method", "hyperparameters", "seed")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def child_name(job: FineTuneJob, suffix: str) -> str:
    """`<name, cut>-<5 characters of hash(uid)>-<suffix>`, at most 63 characters."""
    tail = f"-{_sha256(job.metadata.uid)[:5]}-{suffix}"
    return job.metadata.name[: _MAX_NAME - len(tail)].rstrip("-.").replace(".", "-") + tail


def prepare_name(job: FineTuneJob, retry: int) -> str:
    """The name of a prepare Job: the generation it was made for, and how many were before it."""
    return child_name(job, f"p{job.metadata.generation}-{retry}")


def prepare_number(name: str) -> int | None:
    """The `retry` that the name of a prepare Job ends in; None for any other Job's name."""
    found = _PREPARE.search(name)
    return None if found is None else int(found[1])


def next_prepare(taken: Iterable[str]) -> int:
    """The first `retry` after those of all these Jobs of one job, whatever generation's they are.

    Only the end of a name tells: of a long one, a longer number leaves less of the beginning.
    """
    used = [number for name in taken if (number := prepare_number(name)) is not None]
    return max(used, default=-1) + 1


def training_name(job: FineTuneJob, attempt: int) -> str:
    """The name of an attempt's Job."""
    return child_name(job, f"a{attempt}")


def attempt_number(name: str) -> int | None:
    """The attempt that the name of a training Job ends in; None for any other Job's name."""
    found = _TRAINING.search(name)
    return None if found is None else int(found[1])


def output_claim_name(job: FineTuneJob) -> str:
    """The name of the job's own PVC."""
    return child_name(job, "output")


def result_name(job: FineTuneJob) -> str:
    """The name of the ConfigMap that exports the result."""
    return f"{job.metadata.name}-result"


def spec_digest(job: FineTuneJob, retry: str | None = None) -> str:
    """16 hex digits over everything that a prepare report depends on.

    `retry` is the retry token that it is made for; absent: the one that status acknowledges.
    """
    spec, hosted = job.spec, job.spec.azure_open_ai
    relevant: dict[str, Any] = {
        "model": spec.model.model_dump(),
        "method": spec.method.model_dump(mode="json"),
        "data": spec.data.model_dump(),
        "retry": retry or job.status.last_handled_retry_at,
        "validateOnly": spec.validate_only,
        "hosted": None if hosted is None else hosted.model_dump(),
        "maxSequenceLength": (
            spec.hyperparameters.max_sequence_length if spec.hyperparameters else None
        ),
        "seed": spec.seed if spec.data.validation and spec.data.validation.split else None,
        "epochs": spec.hyperparameters.epochs if hosted and spec.hyperparameters else None,
    }
    return _sha256(json.dumps(relevant, sort_keys=True))[:16]


def pod_digest(job: FineTuneJob) -> str:
    """16 hex digits over what may be edited between attempts: image, resources and the like."""
    asked = job.spec.kubernetes
    dumped = None if asked is None else asked.model_dump(mode="json", exclude_none=True)
    return _sha256(json.dumps(dumped, sort_keys=True))[:16]


def training_digest(job: FineTuneJob, model: str) -> str:
    """A digest over everything that changes what a hosted job learns, its data included.

    `model`: what it starts from, as the service names it.
    """
    spec, data = job.spec.model_dump(mode="json"), job.status.data
    hosted = spec["azureOpenAI"]
    relevant = {name: spec[name] for name in _TRAINING_FIELDS} | {
        "model": model,
        "endpoint": hosted["endpoint"],
        "trainingType": hosted["trainingType"],
        "training": data.training.sha256 if data and data.training else None,
        "validation": data.validation.sha256 if data and data.validation else None,
    }
    return _sha256(json.dumps(relevant, sort_keys=True))


def marker(job: FineTuneJob, attempt: int, model: str) -> str:
    """16 hex digits that find this submission again among the service's jobs."""
    number = attempt % 16**_ATTEMPT_DIGITS
    return f"{uid_part(job.metadata.uid)}{number:0{_ATTEMPT_DIGITS}x}{marker_digest(job, model)}"


def uid_part(uid: str) -> str:
    """The beginning of every marker of one FineTuneJob."""
    return _sha256(uid)[:_UID_DIGITS]


def marker_digest(job: FineTuneJob, model: str) -> str:
    """The end of the marker of every submission that trains the same, whoever makes it."""
    return training_digest(job, model)[:_DIGEST_DIGITS]


def remote_suffix(job: FineTuneJob, submission_marker: str) -> str:
    """The suffix that the service keeps: the user's own, then the marker; at most 40 characters."""
    hosted = job.spec.azure_open_ai
    own = hosted.suffix if hosted else None
    return f"{own}-{submission_marker}" if own else submission_marker
