"""Desired objects around the pods of a job: config, claim, account, result; never the pods.

Pure: knows manifests and the contract, calls nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_api import constants as c
from finetune_api.backends import EnvVar, Toleration
from finetune_api.job import FineTuneJob
from finetune_api.pods import TrainerConfig
from finetune_operator.core import names
from finetune_operator.core.mounts import Manifest

TRAINER_ACCOUNT = "finetune-trainer"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What pods need to know of the installation; from the operator's settings."""

    prepare_image: str
    trainer_image: str
    image_pull_policy: str
    progress_url: str
    progress_ca: str
    azure_ca: str = ""
    fetch_ca: str = ""
    hf_endpoint: str = ""
    output_storage: str = "10Gi"
    storage_class: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    prepare_node_selector: Mapping[str, str] = field(default_factory=dict)
    prepare_tolerations: tuple[Toleration, ...] = ()
    prepare_env: tuple[EnvVar, ...] = ()

    @property
    def shared_files(self) -> dict[str, str]:
        """What lies beside every pod's config.json: authorities for https:// and hf://, if any."""
        return {c.FETCH_CA_FILE.rsplit("/", 1)[1]: self.fetch_ca} if self.fetch_ca else {}


def owner(job: FineTuneJob) -> Manifest:
    """The controller's ownerReference."""
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(job: FineTuneJob, name: str, component: str) -> Manifest:
    """Name, labels and owner of whatever belongs to a job."""
    return {
        "name": name,
        "namespace": job.metadata.namespace,
        "labels": {
            c.LABEL_MANAGED_BY: c.MANAGED_BY,
            c.LABEL_COMPONENT: component,
            c.LABEL_JOB_NAME: job.metadata.name,
            c.LABEL_JOB_UID: job.metadata.uid,
        },
        "ownerReferences": [owner(job)],
    }


def config_map(
    job: FineTuneJob, name: str, config: TrainerConfig, around: Surroundings
) -> Manifest:
    """What the training pod of this name is told, and whom it may trust."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(job, name, c.COMPONENT_TRAINER),
        "data": {
            "config.json": config.model_dump_json(exclude_none=True),
            "progress-ca.crt": around.progress_ca,
            **around.shared_files,
        },
    }


def output_claim(job: FineTuneJob, name: str, around: Surroundings) -> Manifest:
    """The job's own PVC, without an owner: the model in it stays unless the policy says else."""
    meta = metadata(job, name, c.COMPONENT_TRAINER)
    del meta["ownerReferences"]
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": around.output_storage}},
    }
    if around.storage_class:
        spec["storageClassName"] = around.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta,
        "spec": spec,
    }


def trainer_account(namespace: str) -> Manifest:
    """The ServiceAccount of tenant pods: no rights, only a subject for the progress token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": TRAINER_ACCOUNT,
            "namespace": namespace,
            "labels": {c.LABEL_MANAGED_BY: c.MANAGED_BY},
        },
        "automountServiceAccountToken": False,
    }


def result_config_map(job: FineTuneJob, data: dict[str, str]) -> Manifest:
    """The result, for other manifests to consume."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(job, names.result_name(job), "result"),
        "data": data,
    }
