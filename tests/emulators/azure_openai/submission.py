"""The body of a create request: read, checked, normalised.

Must not know of the store; whether files exist is the caller's question. Unknown keys are ignored
as the service ignores them. Only supervised training is emulated; other methods are refused.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from azure_openai import catalogue
from azure_openai.errors import ServiceError, invalid

_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MAXIMUM_SEED = 2_147_483_647
_NO_FINE_TUNING = "The specified base model does not support fine-tuning."


class AskedHyperparameters(BaseModel):
    """Numbers, or "auto", or nothing."""

    n_epochs: int | Literal["auto"] | None = Field(default=None)
    batch_size: int | Literal["auto"] | None = Field(default=None)
    learning_rate_multiplier: float | Literal["auto"] | None = Field(default=None)

    def normalised(self) -> catalogue.Hyperparameters:
        """The same with one way to say that the service decides; refuses numbers out of range."""
        return catalogue.Hyperparameters(
            n_epochs=_within(self.n_epochs, 1, 50, "n_epochs"),
            batch_size=_within(self.batch_size, 1, 256, "batch_size"),
            learning_rate_multiplier=_positive(self.learning_rate_multiplier),
        )


class _Supervised(BaseModel):
    hyperparameters: AskedHyperparameters | None = None


class _Method(BaseModel):
    type: Literal["supervised"]
    supervised: _Supervised | None = None


class Submission(BaseModel):
    """A create request of the supported kind."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = Field(default=None, ge=0, le=_MAXIMUM_SEED)
    method: _Method | None = None
    hyperparameters: AskedHyperparameters | None = None
    training_type: str | None = Field(default=None, alias="trainingType")

    def asked(self) -> catalogue.Hyperparameters:
        """The hyperparameters from wherever the client put them."""
        sent = self.hyperparameters
        if self.method is not None and self.method.supervised is not None:
            sent = self.method.supervised.hyperparameters or sent
        return (sent or AskedHyperparameters()).normalised()


def read_submission(body: bytes) -> Submission:
    """Check `body`; the model and training type come back as the service spells them."""
    try:
        sent = Submission.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from error
    if sent.suffix is not None and not _SUFFIX.fullmatch(sent.suffix):
        raise invalid(
            "The suffix may have 1 to 40 letters, digits, '-', '_'; '.' is a reserved character.",
            param="suffix",
        )
    return sent.model_copy(
        update={"model": _known_model(sent.model), "training_type": _known_type(sent.training_type)}
    )


def _known_model(name: str) -> str:
    model = catalogue.base_model(name)
    if model is None:
        raise invalid(_NO_FINE_TUNING, param="model")
    return model


def _known_type(name: str | None) -> str | None:
    if name is None:
        return None
    found = catalogue.training_type(name)
    if found is None:
        raise invalid(f"The training type '{name}' is not supported.", param="trainingType")
    return found


def _within(value: int | str | None, low: int, high: int, name: str) -> int | None:
    if not isinstance(value, int):
        return None
    if not low <= value <= high:
        raise invalid(f"'{name}' must be between {low} and {high}.", param=name)
    return value


def _positive(value: float | str | None) -> float | None:
    if value is None or isinstance(value, str):
        return None
    if value <= 0:
        raise invalid(
            "'learning_rate_multiplier' must be above 0.", param="learning_rate_multiplier"
        )
    return value


def _refusal(error: ValidationError) -> ServiceError:
    first: dict[str, Any] = dict(error.errors()[0])
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return invalid(f"The request is not valid at '{where}': {first['msg']}.", param=where)
