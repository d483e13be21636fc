"""What an Azure OpenAI endpoint and a create request look like: addresses, token scopes, bodies.

Pure: knows the spec and the service's spelling; no client, no credential, no network.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from finetune_api.backends import AzureOpenAI, TrainingType
from finetune_api.job import FineTuneJob
from finetune_api.methods import Dpo, Method, MethodType, Reinforcement
from finetune_api.reasons import Reason
from finetune_api.spec import FineTuneJobSpec, Hyperparameters
from finetune_operator.core.errors import Transient

_COGNITIVE_SERVICES = "https://cognitiveservices.azure.{}/.default"
_FOUNDRY = "https://ai.azure.{}/.default"
_SCOPES = {
    f".{service}.azure.{cloud}": scope.format(cloud)
    for cloud in ("com", "us", "cn")
    for service, scope in (
        ("openai", _COGNITIVE_SERVICES),
        ("cognitiveservices", _COGNITIVE_SERVICES),
        ("services.ai", _FOUNDRY),
    )
}
"""Hosts that belong to an account of the service, and the scope of the tokens they take."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"https://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?(?P<path>/[-\w.~/]*)?",
    re.IGNORECASE | re.ASCII,
)
_PROJECT = re.compile(r"(?:/api/projects/(?!\.+$)[-\w.~]+)?", re.ASCII)

_TRAINING_TYPES = {
    TrainingType.STANDARD: "Standard",
    TrainingType.GLOBAL_STANDARD: "GlobalStandard",
    TrainingType.DEVELOPER: "developerTier",
}
_WIRE_METHODS = {
    MethodType.SUPERVISED: "supervised",
    MethodType.DPO: "dpo",
    MethodType.REINFORCEMENT: "reinforcement",
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address that keys and tokens may be sent to."""

    base_url: str
    """Ends in /openai/v1/."""
    host: str
    """With a port, if it is not 443: how messages name the endpoint."""
    token_scope: str


def hosted(job: FineTuneJob) -> AzureOpenAI:
    """The hosted part of the spec; ValueError for a job that runs in the cluster."""
    if job.spec.azure_open_ai is None:
        raise ValueError("not a hosted job")
    return job.spec.azure_open_ai


def model_of(job: FineTuneJob) -> str:
    """What the recorded submission starts from; ValueError if nothing says it."""
    part = job.status.azure_open_ai
    recorded = part.submission.model if part and part.submission else None
    model = recorded or job.spec.model.name
    if model is None:
        raise ValueError("a job that starts from another's result records it with its marker")
    return model


def origin(url: str) -> str:
    """`https://host[:port]` in one spelling; ValueError with a sentence if it is no such URL."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError(f"`{url}` is not an address such as https://my-account.openai.azure.com")
    port = found["port"]
    suffix = "" if port is None or int(port) == 443 else f":{int(port)}"
    return f"https://{found['host'].lower()}{suffix}"


def resolve(endpoint: str, *, allowed: Collection[str], token_scope: str | None = None) -> Endpoint:
    """Turn what the user wrote into the v1 base URL, if keys and tokens may go there.

    `allowed` are the chart's `azure.allowedEndpoints`; `token_scope` overrides the host's own.
    Refusal waits for the user: either the spec or the chart can be mended.
    """
    try:
        address = origin(endpoint)
    except ValueError as error:
        raise _refused(f"spec.azureOpenAI.endpoint: {error}") from None
    host = address.removeprefix("https://")
    own_scope = next((scope for suffix, scope in _SCOPES.items() if host.endswith(suffix)), None)
    if own_scope is None and address not in {origin(entry) for entry in allowed}:
        raise _refused(
            f"Keys and tokens are not sent to {host}: use the address of an Azure OpenAI account"
            " (https://NAME.openai.azure.com), or have the administrator add"
            f" {address} to the chart's azure.allowedEndpoints."
        )
    return Endpoint(
        base_url=f"{address}{_account_path(endpoint)}/openai/v1/",
        host=host,
        token_scope=token_scope or own_scope or _SCOPES[".openai.azure.com"],
    )


def _account_path(endpoint: str) -> str:
    """What stands before /openai/v1: nothing, or the path of a project."""
    found = _URL.fullmatch(endpoint)
    path = re.sub(r"/+", "/", (found["path"] if found else None) or "").rstrip("/")
    path = path.removesuffix("/v1").removesuffix("/openai")
    if not _PROJECT.fullmatch(path):
        raise _refused(
            f"spec.azureOpenAI.endpoint has the path {path}, which is neither an account nor a"
            " project: write https://HOST or https://HOST/api/projects/PROJECT."
        )
    return path


def _refused(message: str) -> Transient:
    return Transient(Reason.ENDPOINT_NOT_ALLOWED, message, retry_after=60.0, waits_for_user=True)


def create_body(
    spec: FineTuneJobSpec,
    *,
    model: str,
    suffix: str,
    training_file: str,
    validation_file: str | None,
) -> dict[str, Any]:
    """The create request on the wire; what is absent in the spec is left to the service."""
    training_type = spec.azure_open_ai.training_type if spec.azure_open_ai else None
    body = {
        "model": model,
        "training_file": training_file,
        "validation_file": validation_file,
        "suffix": suffix,
        "seed": spec.seed,
        "method": _method(spec),
        "trainingType": None if training_type is None else _TRAINING_TYPES[training_type],
    }
    return {key: value for key, value in body.items() if value is not None}


def _method(spec: FineTuneJobSpec) -> dict[str, Any]:
    method = spec.method
    name, settings = _WIRE_METHODS[method.type], dict[str, Any]()
    if method.type is MethodType.REINFORCEMENT:
        asked_for = reinforcement(method)
        settings["grader"] = asked_for.grader.on_the_wire()
        if asked_for.response_format:
            settings["response_format"] = asked_for.response_format.on_the_wire()
    if values := requested(spec):
        settings["hyperparameters"] = values
    return {"type": name, name: settings} if settings else {"type": name}


def requested(spec: FineTuneJobSpec) -> dict[str, int | float | str]:
    """The hyperparameters that the spec sets, by their names on the wire.

    What is absent is automatic: some models do not take the word "auto".
    """
    method, asked = spec.method, spec.hyperparameters or Hyperparameters()
    values: dict[str, int | float | str | None] = {
        "n_epochs": asked.epochs,
        "batch_size": asked.batch_size,
        "learning_rate_multiplier": _number(asked.learning_rate_multiplier),
    }
    match method.type:
        case MethodType.SUPERVISED:
            pass
        case MethodType.DPO:
            values |= _dpo(method.dpo or Dpo())
        case MethodType.REINFORCEMENT:
            values |= _reinforcement(reinforcement(method))
    return {key: value for key, value in values.items() if value is not None}


def reinforcement(method: Method) -> Reinforcement:
    """The settings of reinforcement; ValueError for another method."""
    if method.reinforcement is None:
        raise ValueError("not a job of reinforcement")
    return method.reinforcement


def _dpo(asked: Dpo) -> dict[str, int | float | str | None]:
    return {"beta": _number(asked.beta), "l2_multiplier": _number(asked.l2_multiplier)}


def _reinforcement(asked: Reinforcement) -> dict[str, int | float | str | None]:
    effort = asked.reasoning_effort
    return {
        "reasoning_effort": None if effort is None else effort.lower(),
        "compute_multiplier": _number(asked.compute_multiplier),
        "eval_interval": asked.eval_interval,
        "eval_samples": asked.eval_samples,
    }


def number_as_text(number: float) -> str:
    """A setting as status shows it: what was asked for and what is echoed must look alike."""
    return format(number, "g")


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
