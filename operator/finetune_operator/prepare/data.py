"""Fetches the data and checks all of it: the part that both backends share.

Blocks; uses the network only through finetune_data. Knows no service.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from finetune_api.constants import SEQUENCE_LENGTH
from finetune_api.graders import Grader
from finetune_api.pods import BadRow, DataFile, PrepareConfig, RowFormat, Split
from finetune_api.reasons import ExitCode, Reason
from finetune_api.status import DataSetReport
from finetune_data.chat import parse_chat
from finetune_data.estimate import TokenEstimate
from finetune_data.graders.checking import check_grader, item_members
from finetune_data.graders.templates import Placeholder
from finetune_data.hosted_limits import TRAINED_TOKENS, tokens_per_example
from finetune_data.lines import JsonLines, sha256_of
from finetune_data.parts import write_rows
from finetune_data.preference import parse_preference
from finetune_data.problems import MAX_BAD_ROWS_SHOWN, TokenizerError, sequence_too_long
from finetune_data.prompts import item_of, parse_prompt
from finetune_data.report import (
    FileCheck,
    check_file,
    check_split,
    training_warnings,
    validation_warnings,
)
from finetune_data.rows import Parser, json_object, scan
from finetune_data.sources import SourceError, fetch, fetch_tokenizer
from finetune_data.split import Splitter
from finetune_data.tokens import ChatTokenizer, TokenCounter
from finetune_operator.prepare import failure
from finetune_operator.prepare.failure import Failure

_log = logging.getLogger(__name__)

_MODEL = "Model (spec.model.uri)"
_MIB = 1024 * 1024
_MILLION = 1_000_000
_LARGE_UPLOAD = 150_000_000
"""Bytes. The service takes more, but jobs with larger files have been seen to fail in it."""


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A local file that was checked, and what was found."""

    what: str
    """How people know it: Training data (ConfigMap gsm8k/train.jsonl)."""
    path: Path
    check: FileCheck


@dataclass(frozen=True, kw_only=True)
class CheckedData:
    """The job's data, in order."""

    training: CheckedFile
    validation: CheckedFile | None
    hosted: bool

    def first_item(self) -> dict[str, Any]:
        """What graders know of the first row: of the validation data, if there is any."""
        path = (self.validation or self.training).path
        return item_of(json_object(next(iter(JsonLines(path)))))

    def training_report(self) -> DataSetReport:
        """What status says of the training data."""
        check = self.training.check
        warnings = training_warnings(check, has_validation=self.validation is not None)
        if self.hosted and check.size > _LARGE_UPLOAD:
            warnings.append(
                f"{check.size // 1_000_000} MB: jobs with more than 150 MB have been seen to fail "
                "at the service without a reason; use fewer rows if this one does"
            )
        return check.report(warnings)

    def validation_report(self) -> DataSetReport | None:
        """What status says of the validation data, if there is any."""
        if self.validation is None:
            return None
        warnings = validation_warnings(self.validation.check, self.training.check)
        return self.validation.check.report(warnings)


def with_hint(report: DataSetReport, hint: str | None) -> DataSetReport:
    """The report, and before all else what was found out after it was made."""
    if hint is None:
        return report
    return report.model_copy(update={"warnings": [hint, *(report.warnings or [])]})


def prepare_data(config: PrepareConfig, directory: Path) -> CheckedData:
    """Fetch and check; Failure says what is wrong. `directory` takes downloads."""
    check = _Checking(
        parse=_parser(config),
        hosted_model=config.hosted_model,
        hosted=config.upload is not None,
        drop_invalid=config.drop_invalid,
        tokenizer=_tokenizer(config, directory),
        max_sequence_length=config.max_sequence_length,
        directory=directory,
    )
    validation = None
    if config.split is not None:
        training, validation = check.split(config.training, config.split)
    else:
        training = check.file("training", config.training)
    _refuse_few(training, config.min_examples, held_out=validation)
    if config.hosted_model is not None:
        _refuse_much(training, config.hosted_model, config.epochs or 1)
    if config.validation is not None:
        validation = check.file("validation", config.validation)
    return CheckedData(training=training, validation=validation, hosted=config.upload is not None)


@dataclass(frozen=True, kw_only=True)
class _Checking:
    """What holds for both files."""

    parse: Parser[Any]
    hosted_model: str | None
    hosted: bool
    drop_invalid: bool
    tokenizer: ChatTokenizer | None
    max_sequence_length: int | None
    directory: Path

    def file(self, role: str, file: DataFile) -> CheckedFile:
        """Fetch and check one file."""
        what = f"{role.capitalize()} data ({file.display})"
        path = _fetched(what, file, self.directory / role)
        _log.info("%s: checking %d bytes", what, path.stat().st_size)
        check = check_file(
            path,
            self.parse,
            tokens=self._counter(),
            drop=self.drop_invalid,
            progress=_progress(what),
        )
        _refuse_bad(what, file, check)
        if self.hosted and check.dropped:
            source, path = path, self.directory / f"{role}.jsonl"
            with path.open("wb") as kept:
                write_rows(source, self.parse, lambda _: kept)
            _describe_upload(check, path)
        _log.info("%s: %d examples are in order", what, check.examples)
        return CheckedFile(what=what, path=path, check=check)

    def split(self, file: DataFile, split: Split) -> tuple[CheckedFile, CheckedFile]:
        """Fetch one file and check both parts of it, which a hosted job uploads as files."""
        what = f"Training data ({file.display})"
        path = _fetched(what, file, self.directory / "training")
        _log.info("%s: splitting and checking %d bytes", what, path.stat().st_size)
        parse, splitter = self.parse, Splitter(split)
        for item in scan(JsonLines(path), parse):
            if not isinstance(item, BadRow):
                splitter.count(item)
        checks = check_split(
            path,
            parse,
            splitter.holds_out,
            tokens=(self._counter(), self._counter()),
            drop=self.drop_invalid,
            progress=_progress(what),
        )
        _refuse_bad(what, file, *checks)
        names = what, f"Validation data ({split.percent}% of {file.display})"
        parts = [path, path]
        if self.hosted:
            parts = [self.directory / f"{name}.jsonl" for name in ("training", "validation")]
            with parts[0].open("wb") as kept, parts[1].open("wb") as held_out:
                write_rows(path, parse, lambda row: held_out if splitter.holds_out(row) else kept)
            for check, part in zip(checks, parts, strict=True):
                _describe_upload(check, part)
        training, validation = (
            CheckedFile(what=name, path=part, check=check)
            for name, part, check in zip(names, parts, checks, strict=True)
        )
        return training, validation

    def _counter(self) -> TokenCounter | TokenEstimate:
        """Counts up to where training cuts; for a hosted job, guesses."""
        if self.tokenizer is None:
            return TokenEstimate(tokens_per_example(self.hosted_model or ""))
        default = min(SEQUENCE_LENGTH, self.tokenizer.max_positions or SEQUENCE_LENGTH)
        return TokenCounter(self.tokenizer, self.max_sequence_length or default)


def _parser(config: PrepareConfig) -> Parser[Any]:
    """What reads the rows of the method; Failure for a grader that can never grade."""
    images = config.upload is not None
    match config.row_format:
        case RowFormat.CHAT:
            return partial(parse_chat, images=images)
        case RowFormat.PREFERENCE:
            return partial(parse_preference, images=images)
        case RowFormat.PROMPTS:
            members = _members(config.grader) if config.grader else ()
            return partial(parse_prompt, images=images, members=members)


def _members(grader: Grader) -> tuple[Placeholder, ...]:
    if (problem := check_grader(grader)) is not None:
        message = f"spec.method.reinforcement: {problem}"
        raise Failure(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, message)
    return item_members(grader)


def _tokenizer(config: PrepareConfig, directory: Path) -> ChatTokenizer | None:
    if config.tokenizer is None:
        return None
    _log.info("Fetching the model's tokenizer")
    try:
        folder = fetch_tokenizer(config.tokenizer, directory / "tokenizer")
        tokenizer = ChatTokenizer(folder, config.created)
    except SourceError as error:
        raise failure.unreadable(_MODEL, error, Reason.MODEL_UNAVAILABLE) from error
    except TokenizerError as error:
        message = f"{_MODEL}: {error}"
        raise Failure(ExitCode.BAD_CONFIG, Reason.MODEL_UNAVAILABLE, message) from error
    asked, limit = config.max_sequence_length, tokenizer.max_positions
    if asked is not None and limit is not None and asked > limit:
        # The trainer would say the same, once it has a GPU.
        message = sequence_too_long(asked, limit)
        raise Failure(ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID, message)
    return tokenizer


def _fetched(what: str, file: DataFile, directory: Path) -> Path:
    _log.info("%s: fetching", what)
    try:
        path = fetch(file.source, directory)
    except SourceError as error:
        raise failure.unreadable(what, error, Reason.DATA_UNAVAILABLE) from error
    if not path.is_file():
        raise failure.unreadable(
            what, SourceError("the path is a folder; name a file", False), Reason.DATA_UNAVAILABLE
        )
    return path


def _progress(what: str) -> Callable[[int], None]:
    return lambda size: _log.info("%s: %d MiB checked", what, size // _MIB)


def _refuse_bad(what: str, file: DataFile, *checks: FileCheck) -> None:
    """`checks`: those of all parts of the file, before they are files of their own."""
    found = checks[0].sha256
    if file.sha256 is not None and found != file.sha256:
        raise failure.bad_data(
            f"{what} has the digest {found}, but {file.sha256} is expected; "
            "restore the file or change `sha256`",
            Reason.DATA_CHANGED,
        )
    if total := sum(check.bad_total for check in checks):
        rows = sorted((row for check in checks for row in check.bad_rows), key=_line)
        raise failure.bad_rows(what, rows[:MAX_BAD_ROWS_SHOWN], total)
    dropped = sum(check.dropped for check in checks)
    if dropped > sum(check.examples for check in checks):
        rows = sorted((row for check in checks for row in check.dropped_rows), key=_line)
        raise failure.bad_rows(
            what, rows[:MAX_BAD_ROWS_SHOWN], dropped, "more than half, too many to leave out"
        )


def _describe_upload(check: FileCheck, path: Path) -> None:
    """Digest and size become those of a file that was written, as uploading relies on them."""
    check.sha256, check.size = sha256_of(path), path.stat().st_size


def _line(row: BadRow) -> int:
    return row.line


def _refuse_few(file: CheckedFile, min_examples: int, held_out: CheckedFile | None) -> None:
    found = file.check.examples
    if found < min_examples:
        counted = "1 example" if found == 1 else f"{found} examples"
        if held_out is not None:
            counted += f", without {held_out.check.examples} that are held out for validation"
        raise failure.bad_data(
            f"{file.what} has {counted}; at least {min_examples} are needed, "
            "and fifty or more are sensible"
        )


def _refuse_much(file: CheckedFile, model: str, epochs: int) -> None:
    """A model that is not known gets no verdict."""
    tokens = file.check.tokens
    if tokens is None or tokens_per_example(model) is None:
        return
    if (trained := tokens.total * epochs) > TRAINED_TOKENS:
        times = f" and {epochs} epochs" if epochs > 1 else ""
        raise failure.bad_data(
            f"{file.what} has about {tokens.total // _MILLION} million tokens{times}, which makes"
            f" {trained // _MILLION} million to train on; the service trains on"
            f" {TRAINED_TOKENS // _MILLION} million at most: use fewer rows or"
            " hyperparameters.epochs"
        )
