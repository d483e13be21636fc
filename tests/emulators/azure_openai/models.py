"""Which models this account has: base models of the catalogue, and what its own jobs have made.

Must not know of HTTP.
"""

import re

from azure_openai import catalogue, history, lifecycle
from azure_openai.catalogue import Trainable
from azure_openai.lifecycle import Job
from azure_openai.store import Store

_RESULT = re.compile(r".+\.ft-([0-9a-f]{32})(-.+|:.+)?")


def is_result(name: str) -> bool:
    """Whether a name is that of a fine-tuned model, here or elsewhere."""
    return _RESULT.fullmatch(name) is not None


def maker(name: str, store: Store, now: float) -> Job | None:
    """The job that has made the model of this name by `now`: a result or a kept checkpoint."""
    match = _RESULT.fullmatch(name)
    if match is None:
        return None
    try:
        job = store.maker(f"ftjob-{match[1]}")
    except KeyError:
        return None
    made = {checkpoint.model for checkpoint in history.checkpoints(job, now)}
    if lifecycle.status(job, now) == "succeeded":
        made.add(history.model_name(job))
    return job if name in made else None


def trainable(name: str, store: Store, now: float) -> Trainable | None:
    """How the model can be trained, or None if there is none or it cannot."""
    if known := catalogue.trainable(name):
        return known
    job = maker(name, store, now)
    base = None if job is None else catalogue.trainable(job.base_model)
    return base if base is not None and base.continuable else None
