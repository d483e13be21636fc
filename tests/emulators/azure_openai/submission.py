"""The body of a create request: read, checked, normalised.

Must not know of the store; whether files and earlier models exist is the caller's question. Unknown
keys are ignored as the service ignores them.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from azure_openai import catalogue, methods
from azure_openai.errors import invalid, invalid_body
from azure_openai.graders import read_grader
from azure_openai.methods import HyperparameterError, Hyperparameters, Method, Reinforcement
from finetune_api.graders import Grader
from finetune_data.graders.checking import item_members
from finetune_data.graders.templates import Placeholder

_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MAXIMUM_SEED = 2_147_483_647


class _Options(BaseModel):
    hyperparameters: dict[str, Any] | None = None


class _JsonSchema(BaseModel):
    type: Literal["json_schema"]
    json_schema: dict[str, Any]


class _GradedOptions(_Options):
    grader: dict[str, Any]
    response_format: _JsonSchema | None = None


class _Method(BaseModel):
    type: Method
    supervised: _Options | None = None
    dpo: _Options | None = None
    reinforcement: _GradedOptions | None = None

    @property
    def options(self) -> _Options | None:
        """Those of the method that was chosen."""
        match self.type:
            case "supervised":
                return self.supervised
            case "dpo":
                return self.dpo
            case "reinforcement":
                return self.reinforcement


class Submission(BaseModel):
    """A create request."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = Field(default=None, ge=0, le=_MAXIMUM_SEED)
    sent_method: _Method | None = Field(default=None, alias="method")
    hyperparameters: dict[str, Any] | None = None
    training_type: str | None = Field(default=None, alias="trainingType")

    @property
    def method(self) -> Method:
        """How to train; supervised if the client says nothing."""
        return "supervised" if self.sent_method is None else self.sent_method.type

    def asked(self) -> Hyperparameters:
        """The hyperparameters from wherever the client put them; refuses what is out of range."""
        options = None if self.sent_method is None else self.sent_method.options
        sent = None if options is None else options.hyperparameters
        if sent is None and self.method == "supervised":
            sent = self.hyperparameters
        try:
            return methods.read(self.method, sent or {})
        except HyperparameterError as error:
            raise invalid(str(error), param=error.name) from error

    def reinforcement(self) -> Reinforcement | None:
        """What only reinforcement training has; refuses a grader that cannot grade."""
        options = self._graded()
        if options is None:
            return None
        response = options.response_format
        return Reinforcement(
            grader=options.grader,
            grader_names=tuple(self._grader(options).leaves()),
            response_format=None if response is None else response.model_dump(),
        )

    def members(self) -> tuple[Placeholder, ...]:
        """What graders read of every row."""
        options = self._graded()
        return () if options is None else item_members(self._grader(options))

    def _graded(self) -> _GradedOptions | None:
        if self.sent_method is None or self.sent_method.type != "reinforcement":
            return None
        options = self.sent_method.reinforcement
        if options is None:
            raise invalid("Reinforcement fine-tuning needs a grader.", param="method.reinforcement")
        return options

    @staticmethod
    def _grader(options: _GradedOptions) -> Grader:
        return read_grader(options.grader, "method.reinforcement.grader")


def read_submission(body: bytes) -> Submission:
    """Check `body`; the model and training type come back as the service spells them."""
    try:
        sent = Submission.model_validate_json(body)
    except ValidationError as error:
        raise invalid_body(error) from error
    if sent.suffix is not None and not _SUFFIX.fullmatch(sent.suffix):
        raise invalid(
            "The suffix may have 1 to 40 letters, digits, '-', '_'; '.' is a reserved character.",
            param="suffix",
        )
    if sent.method == "reinforcement" and sent.validation_file is None:
        raise invalid("Reinforcement fine-tuning needs a validation file.", param="validation_file")
    model, training_type = catalogue.dated_name(sent.model), _known_type(sent.training_type)
    return sent.model_copy(update={"model": model, "training_type": training_type})


def _known_type(name: str | None) -> str | None:
    if name is None:
        return None
    found = catalogue.training_type(name)
    if found is None:
        raise invalid(f"The training type '{name}' is not supported.", param="trainingType")
    return found
