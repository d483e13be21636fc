"""Puts the files of a hosted job into the account, once per content, and waits for the service.

A file's name says its digest, so that it is found again, by this pod's successor too: an upload
that broke off leaves nothing that counts. Must not know how rows are checked.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import openai
from openai.pagination import AsyncCursorPage
from openai.types import FileObject

from finetune_api.graders import Grader
from finetune_api.pods import UploadTarget
from finetune_api.reasons import ExitCode, Reason
from finetune_data.lines import sha256_of
from finetune_operator.core.azure_errors import quotable
from finetune_operator.prepare import failure
from finetune_operator.prepare.data import CheckedData, CheckedFile
from finetune_operator.prepare.failure import Failure
from finetune_operator.prepare.places import Places
from finetune_operator.prepare.service import Patience, connect, explained
from finetune_operator.prepare.trying import try_grader

_log = logging.getLogger(__name__)

MAX_BYTES = 512 * 1024 * 1024
"""What the service takes in one file."""

PROCESSING_SECONDS = 1800.0
BUSY_SECONDS = 60.0
"""What the pod waits in all where the service says when to ask again."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_PAGE = 100
_USABLE = ("uploaded", "pending", "running", "processed")


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """The files' ids at the service."""

    training: str
    validation: str | None
    hint: str | None = None
    """What trying the grader has shown, if anything."""


async def upload(
    data: CheckedData, target: UploadTarget, places: Places, grader: Grader | None = None
) -> Uploaded:
    """Make both files usable at the service, once it has tried the grader if there is one.

    Raises:
        Failure: the data or the grader is not what the service takes, or changed meanwhile.
        OperatorError: the service or Entra refused or could not be reached.
    """
    for file in (data.training, data.validation):
        if file is not None and file.check.size > MAX_BYTES:
            raise failure.bad_data(f"{file.what} is larger than 512 MiB, the service's limit")
    async with connect(target, places) as client:
        with explained(target):
            patience = Patience(target, BUSY_SECONDS)
            hint = None
            if grader is not None:
                hint = await try_grader(client, patience, grader, data.first_item())
            account = _Account(client, patience)
            known = [stored async for stored in account.stored()]
            training = await account.file_of(data.training, "train", known)
            validation = (
                await account.file_of(data.validation, "validation", known)
                if data.validation
                else None
            )
            # Both are with the service before either is waited for.
            await account.wait_until_processed(data.training, training)
            if data.validation and validation:
                await account.wait_until_processed(data.validation, validation)
    held_out = validation.id if validation else None
    return Uploaded(training=training.id, validation=held_out, hint=hint)


class _Account:
    def __init__(self, client: openai.AsyncOpenAI, patience: Patience) -> None:
        self._files = client.files
        self._patience = patience

    async def stored(self) -> AsyncIterator[FileObject]:
        """Every training file of the account, newest first, page by page."""
        page = await self._page()
        while page.data:
            for file in page.data:
                yield file
            if not page.has_more:
                return
            page = await self._page(after=page.data[-1].id)

    async def _page(self, after: str | openai.Omit = openai.omit) -> AsyncCursorPage[FileObject]:
        return await self._patience.ask(
            partial(self._files.list, purpose="fine-tune", limit=_PAGE, after=after)
        )

    async def file_of(
        self, file: CheckedFile, role: str, known: Sequence[FileObject]
    ) -> FileObject:
        """The file at the service, found among the known ones or uploaded now."""
        name = f"{file.check.sha256[:32]}-{role}.jsonl"
        for stored in known:
            # An equal name with other bytes would be the remainder of something broken.
            same = (stored.filename, stored.bytes) == (name, file.check.size)
            if same and stored.status in _USABLE:
                _log.info("%s: already at the service as %s", file.what, stored.id)
                return stored
        return await self._upload(file, name)

    async def _upload(self, file: CheckedFile, name: str) -> FileObject:
        _log.info("%s: uploading %d bytes as %s", file.what, file.check.size, name)

        async def sent() -> FileObject:
            with file.path.open("rb") as content:
                return await self._files.create(file=(name, content), purpose="fine-tune")

        uploaded = await self._patience.ask(sent)
        # A volume may change between check and upload; the name promises a digest.
        if await asyncio.to_thread(sha256_of, file.path) != file.check.sha256:
            await self._patience.ask(partial(self._files.delete, uploaded.id))
            raise failure.bad_data(
                f"{file.what} changed while it was uploaded; let it rest and retry",
                Reason.DATA_CHANGED,
            )
        _log.info("%s: uploaded as %s", file.what, uploaded.id)
        return uploaded

    async def wait_until_processed(self, file: CheckedFile, stored: FileObject) -> None:
        """Return once the service has read the file through; Failure if it cannot use it."""
        deadline = time.monotonic() + PROCESSING_SECONDS
        pause = _FIRST_PAUSE
        while stored.status != "processed":
            if stored.status not in _USABLE:
                raise _refused(file, stored)
            if time.monotonic() > deadline:
                raise Failure(
                    ExitCode.UNAVAILABLE,
                    Reason.SERVICE_UNAVAILABLE,
                    f"{file.what}: the service did not process the file within 30 minutes",
                )
            _log.info("%s: the service says %s", file.what, stored.status)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            stored = await self._patience.ask(partial(self._files.retrieve, stored.id))


def _refused(file: CheckedFile, known: FileObject) -> Failure:
    said = quotable(known.status_details or f"status {known.status}")
    return failure.bad_data(f"{file.what}: the service cannot use the file: {said}")
