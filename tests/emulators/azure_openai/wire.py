"""Records as the service writes them: absent keys instead of nulls, -1 for what is automatic.

Pure. Must not know of requests. Shapes follow what was seen on the wire, not the published schema.
"""

import base64
from collections.abc import Sequence
from typing import Any

from azure_openai import history, lifecycle, methods
from azure_openai.history import Checkpoint, Event
from azure_openai.lifecycle import Job
from azure_openai.methods import Hyperparameters
from azure_openai.store import Part, StoredFile, Upload


def job_json(job: Job, now: float) -> dict[str, Any]:
    """A job as create, get and list show it."""
    status = lifecycle.status(job, now)
    end = lifecycle.outcome(job, now)
    started = (now if end is None else end.at) >= job.started_at
    unresolved = methods.undecided(job.course.method, job.asked)
    hyperparameters = job.resolved if started else unresolved
    shown = {
        "id": job.id,
        "created_at": int(job.created_at),
        "hyperparameters": {name: hyperparameters[name] for name in methods.COMMON},
        "model": job.model,
        "object": "fine_tuning.job",
        "seed": job.seed,
        "status": job.shown_status or status,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "estimated_finish": _estimated_finish(job),
        "method": _method(job, hyperparameters) if job.method_sent else None,
        "suffix": job.suffix,
        "trainingType": job.training_type,
        **({} if end is None else _ending(job, end)),
    }
    return {key: value for key, value in shown.items() if value is not None}


def file_json(file: StoredFile) -> dict[str, Any]:
    """A file as upload, get and list show it."""
    shown = {
        "id": file.id,
        "object": "file",
        "bytes": len(file.content),
        "created_at": int(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
    }
    if file.status == "error":
        shown["status_details"] = f"Validation of jsonl file failed: {file.problem}."
    return shown


def upload_json(upload: Upload, now: float) -> dict[str, Any]:
    """An upload as each of its operations shows it."""
    shown = {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at),
        "expires_at": int(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status(now),
    }
    return shown if upload.file is None else {**shown, "file": file_json(upload.file)}


def part_json(upload: Upload, part: Part) -> dict[str, Any]:
    """One piece of an upload."""
    return {
        "id": part.id,
        "object": "upload.part",
        "upload_id": upload.id,
        "azure_block_id": base64.b64encode(part.id.encode()).decode(),
        "created_at": int(part.created_at),
    }


def event_json(event: Event) -> dict[str, Any]:
    """One line of a job's log; `data` is the one key that is sent as null."""
    return {
        "id": event.id,
        "created_at": int(event.at),
        "level": event.level,
        "message": event.message,
        "object": "fine_tuning.job.event",
        "data": event.data,
        "type": event.type,
    }


def checkpoint_json(job: Job, checkpoint: Checkpoint) -> dict[str, Any]:
    """One saved model."""
    return {
        "id": checkpoint.id,
        "created_at": int(checkpoint.at),
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": job.id,
        "metrics": checkpoint.metrics,
        "object": "fine_tuning.job.checkpoint",
        "step_number": checkpoint.step,
    }


def list_json(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """The envelope of every list."""
    return {"object": "list", "has_more": has_more, "data": list(data)}


def _method(job: Job, hyperparameters: Hyperparameters) -> dict[str, Any]:
    method, own = job.course.method, job.reinforcement
    options: dict[str, Any] = {"hyperparameters": dict(hyperparameters)}
    if own is not None:
        options["grader"] = own.grader
        if own.response_format is not None:
            options["response_format"] = own.response_format
    return {"type": method, method: options}


def _estimated_finish(job: Job) -> int:
    begins = job.created_at + job.pace.queue_seconds if job.slot_at is None else job.slot_at
    return int(begins + job.training_seconds + job.pace.silent_seconds)


def _ending(job: Job, end: lifecycle.Outcome) -> dict[str, Any]:
    """The keys that only a finished job has."""
    ending: dict[str, Any] = {"finished_at": int(end.at)}
    if end.error is not None:
        ending["error"] = {"code": end.error.code, "message": end.error.message}
    if end.status == "succeeded":
        ending["fine_tuned_model"] = history.model_name(job)
        ending["result_files"] = [history.result_file_id(job)]
        ending["trained_tokens"] = history.trained_tokens(job)
    return ending
