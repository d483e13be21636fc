"""What pods are told: the spec in, PrepareConfig and TrainerConfig out.

Pure. Decides nothing that the trainer decides from data and hardware.
"""

from finetune_api import constants as c
from finetune_api.job import FineTuneJob
from finetune_api.methods import MethodType
from finetune_api.pods import (
    DataFile,
    FileSource,
    HttpsSource,
    HubSource,
    LoraSettings,
    PrepareConfig,
    RowFormat,
    Split,
    TrainerConfig,
    UploadTarget,
)
from finetune_api.sources import DataSource, InvalidRows
from finetune_api.spec import Checkpoints, Hyperparameters, Packing, ParameterEfficient
from finetune_api.status import DataStatus
from finetune_operator.core.conditions import parse_time
from finetune_operator.core.mounts import data_path

_ROW_FORMATS = {
    MethodType.SUPERVISED: RowFormat.CHAT,
    MethodType.DPO: RowFormat.PREFERENCE,
    MethodType.REINFORCEMENT: RowFormat.PROMPTS,
}
_HF = "hf://"
_HF_DATASETS = "hf://datasets/"


def model_source(job: FineTuneJob) -> HubSource | FileSource:
    """Where a pod finds the model of an in-cluster job."""
    uri = job.spec.model.uri or ""
    if uri.startswith(_HF):
        return HubSource(
            repo_id=uri.removeprefix(_HF),
            repo_type="model",
            revision=job.spec.model.revision or "main",
        )
    path = uri.removeprefix("pvc://").partition("/")[2]
    return FileSource(path=f"{c.MODEL_DIR}/{path}".rstrip("/"))


def upload_target(
    job: FineTuneJob, *, base_url: str, token_scope: str, authority_host: str | None
) -> UploadTarget:
    """Where the prepare pod of a hosted job puts its files, and as whom."""
    hosted = job.spec.azure_open_ai
    identity = hosted.auth.workload_identity if hosted else None
    return UploadTarget(
        base_url=base_url,
        token_scope=token_scope,
        authority_host=authority_host,
        client_id=identity.client_id if identity else None,
        tenant_id=identity.tenant_id if identity else None,
    )


def _data_file(
    role: str, source: DataSource, seen: str | None, allowed: list[str], denied: list[str]
) -> DataFile:
    digest = source.sha256 or seen
    mounted = data_path(role, source)
    if mounted is not None:
        where = source.config_map
        shown = f"ConfigMap {where.name}/{where.key}" if where else source.uri or ""
        return DataFile(source=FileSource(path=mounted), display=shown, sha256=digest)
    uri = source.uri or ""
    if uri.startswith(_HF_DATASETS):
        owner, name, path = uri.removeprefix(_HF_DATASETS).split("/", 2)
        hub = HubSource(
            repo_id=f"{owner}/{name}",
            repo_type="dataset",
            revision=source.revision or "main",
            path=path,
        )
        return DataFile(source=hub, display=uri, sha256=digest)
    https = HttpsSource(url=uri, allowed_ranges=allowed, denied_ranges=denied)
    return DataFile(source=https, display=uri.partition("?")[0], sha256=digest)


def _split(job: FineTuneJob, at_least: int) -> Split | None:
    """The same for every pod of a job: the minimum is the service's, and 1 in the cluster."""
    validation = job.spec.data.validation
    if validation is None or validation.split is None:
        return None
    seed = {} if job.spec.seed is None else {"seed": job.spec.seed}
    return Split(percent=int(validation.split.rstrip("%")), at_least=at_least, **seed)


def prepare_config(
    job: FineTuneJob,
    *,
    upload: UploadTarget | None,
    min_examples: int,
    allowed_ranges: list[str],
    denied_ranges: list[str],
) -> PrepareConfig:
    """The prepare pod's task; its digests are only those that the user asks for."""
    data, asked = job.spec.data, job.spec.hyperparameters or Hyperparameters()
    return PrepareConfig(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        created=parse_time(job.metadata.creation_timestamp),
        training=_data_file("training", data.training, None, allowed_ranges, denied_ranges),
        validation=(
            _data_file("validation", data.validation, None, allowed_ranges, denied_ranges)
            if data.validation and not data.validation.split
            else None
        ),
        split=_split(job, min_examples),
        drop_invalid=data.invalid_rows is InvalidRows.DROP,
        tokenizer=model_source(job) if job.spec.model.uri else None,
        max_sequence_length=asked.max_sequence_length,
        row_format=_ROW_FORMATS[job.spec.method.type],
        grader=reinforced.grader if (reinforced := job.spec.method.reinforcement) else None,
        hosted_model=job.spec.model.name,
        epochs=asked.epochs,
        min_examples=min_examples,
        upload=upload,
        validate_only=job.spec.validate_only,
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def training_config(
    job: FineTuneJob,
    *,
    attempt: int,
    output_path: str,
    allowed_ranges: list[str],
    denied_ranges: list[str],
) -> TrainerConfig:
    """The training pod's task; the data must be what the prepare pod saw."""
    spec, data = job.spec, job.spec.data
    asked = spec.hyperparameters or Hyperparameters()
    peft = spec.parameter_efficient or ParameterEfficient()
    saving = spec.checkpoints or Checkpoints()
    seed = {} if spec.seed is None else {"seed": spec.seed}
    seen = job.status.data or DataStatus()
    rows = seen.training.sha256 if seen.training else None
    held_out = seen.validation.sha256 if seen.validation else None
    return TrainerConfig(
        job=f"{job.metadata.namespace}/{job.metadata.name}",
        job_uid=job.metadata.uid,
        created=parse_time(job.metadata.creation_timestamp),
        attempt=attempt,
        model=model_source(job),
        model_display=(spec.model.uri or "").removeprefix(_HF),
        peft=peft.type,
        lora=LoraSettings(
            rank=peft.rank,
            alpha=peft.alpha,
            dropout=_number(peft.dropout),
            target_modules=peft.target_modules,
        ),
        epochs=asked.epochs,
        max_steps=asked.max_steps,
        batch_size=asked.batch_size,
        learning_rate=_number(asked.learning_rate),
        learning_rate_multiplier=_number(asked.learning_rate_multiplier),
        max_sequence_length=asked.max_sequence_length,
        packing=asked.packing or Packing.AUTO,
        micro_batch_size=asked.micro_batch_size,
        training=_data_file("training", data.training, rows, allowed_ranges, denied_ranges),
        validation=(
            _data_file("validation", data.validation, held_out, allowed_ranges, denied_ranges)
            if data.validation and not data.validation.split
            else None
        ),
        split=_split(job, 1),
        drop_invalid=data.invalid_rows is InvalidRows.DROP,
        checkpoint_every_seconds=saving.every_seconds,
        checkpoint_keep=saving.keep,
        output_dir=f"{c.OUTPUT_DIR}/{output_path}",
        **seed,
    )
