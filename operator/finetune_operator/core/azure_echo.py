"""What the service says that it trains with, beside what the spec asks for.

Pure. It settles nothing: the service's word is what counts, and a difference is only shown.
"""

from finetune_api.spec import FineTuneJobSpec
from finetune_api.status import Resolved
from finetune_operator.core.azure_names import number_as_text, requested
from finetune_operator.core.observed import RemoteJob

_ECHO = {
    "n_epochs": "epochs",
    "batch_size": "batchSize",
    "learning_rate_multiplier": "learningRateMultiplier",
    "beta": "beta",
    "l2_multiplier": "l2Multiplier",
    "reasoning_effort": "reasoningEffort",
    "compute_multiplier": "computeMultiplier",
    "eval_interval": "evalInterval",
    "eval_samples": "evalSamples",
}


def resolved(spec: FineTuneJobSpec, job: RemoteJob) -> dict[str, Resolved] | None:
    """What the service trains with; where it is not what was asked for, the reason says so."""
    asked = {
        key: value if isinstance(value, str) else number_as_text(value)
        for key, value in requested(spec).items()
    }
    said = {
        _ECHO[key]: _echoed(value, asked.get(key))
        for key, value in job.hyperparameters.items()
        if key in _ECHO
    }
    if job.seed is not None:
        said["seed"] = _echoed(str(job.seed), None if spec.seed is None else str(spec.seed))
    return said or None


def _echoed(value: str, asked: str | None) -> Resolved:
    reason = "the service's echo"
    if asked is not None and asked != value:
        reason += f", though the spec asks for {asked}"
    return Resolved(value=value[:253], reason=reason)
