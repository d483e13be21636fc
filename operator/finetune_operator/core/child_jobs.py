"""The child Jobs of a FineTuneJob: one that checks its data, one for each attempt at training.

Pure. Pods pass the `restricted` Pod Security Standard, carry no API token of the cluster, and mount
Secrets instead of showing them.
"""

from finetune_api import constants as c
from finetune_api.job import FineTuneJob
from finetune_api.pods import PrepareConfig
from finetune_api.reasons import ExitCode
from finetune_operator.core import names
from finetune_operator.core.manifests import TRAINER_ACCOUNT, Surroundings, metadata
from finetune_operator.core.mounts import (
    Manifest,
    Mounts,
    annotated,
    base,
    variable,
    with_data,
    with_hub,
    with_model,
)

SPEC_DIGEST_ANNOTATION = f"{c.GROUP}/spec-digest"
_USER = 10001
_GRACE_SECONDS = 120
"""Time for a step to end and a checkpoint to be written."""


def _container(name: str, image: str, around: Surroundings, mounts: Mounts) -> Manifest:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": around.image_pull_policy,
        "env": [variable("HOME", c.SCRATCH_DIR), *mounts.env],
        "volumeMounts": list(mounts.mounts),
        "terminationMessagePath": c.TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _pod_spec(container: Manifest, account: str, around: Surroundings, mounts: Mounts) -> Manifest:
    spec: Manifest = {
        "restartPolicy": "Never",
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": list(mounts.volumes),
    }
    if around.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in around.image_pull_secrets]
    return spec


def _rule(action: str, container: str, *codes: ExitCode) -> Manifest:
    """For the exit codes of our container: one that a cluster injects has codes of its own."""
    values = sorted(int(code) for code in codes)
    found = {"containerName": container, "operator": "In", "values": values}
    return {"action": action, "onExitCodes": found}


def _job(meta: Manifest, pod: Manifest) -> Manifest:
    """A child Job: the operator alone decides on another attempt; disruptions are not failures."""
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    container = pod["containers"][0]["name"]
    final = (
        ExitCode.BAD_DATA,
        ExitCode.GPU_OUT_OF_MEMORY,
        ExitCode.DIVERGED,
        ExitCode.BAD_CONFIG,
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    disrupted,
                    _rule("Ignore", container, ExitCode.PREEMPTED),
                    _rule("FailJob", container, *final),
                ]
            },
            "template": {"metadata": {"labels": dict(meta["labels"])}, "spec": pod},
        },
    }


def prepare_job(
    job: FineTuneJob, name: str, config: PrepareConfig, around: Surroundings
) -> Manifest:
    """The Job that reads and checks the data, and uploads it for a hosted job."""
    hosted = job.spec.azure_open_ai
    identity = hosted.auth.workload_identity if hosted else None
    audiences = {c.AZURE_TOKEN_FILE: c.AZURE_TOKEN_AUDIENCE} if identity else {}
    files = {"config.json": config.model_dump_json(exclude_none=True), **around.shared_files}
    if hosted and around.azure_ca:
        files["azure-ca.crt"] = around.azure_ca
    annotations, volume = annotated(files)
    mounts = with_hub(with_data(base(volume, audiences), job), job, around.hf_endpoint)
    if hosted and hosted.auth.api_key_secret_ref:
        reference = hosted.auth.api_key_secret_ref
        picked = {"secretName": reference.name, "items": [{"key": reference.key, "path": "key"}]}
        mounts = mounts.with_volume("api-key", {"secret": picked}, c.API_KEY_FILE.rsplit("/", 1)[0])
    if config.tokenizer is not None:
        mounts = with_model(mounts, job)
    mounts = mounts.with_env(*(variable(env.name, env.value) for env in around.prepare_env))
    container = _container(c.COMPONENT_PREPARE, around.prepare_image, around, mounts)
    container["command"] = ["python", "-m", "finetune_operator.prepare"]
    container["resources"] = {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},  # a ResourceQuota may demand both
    }
    account = identity.service_account_name if identity else TRAINER_ACCOUNT
    pod = _pod_spec(container, account, around, mounts)
    pod["terminationGracePeriodSeconds"] = 5
    if around.prepare_node_selector:
        pod["nodeSelector"] = dict(around.prepare_node_selector)
    if around.prepare_tolerations:
        pod["tolerations"] = [
            each.model_dump(mode="json", exclude_none=True) for each in around.prepare_tolerations
        ]
    meta = metadata(job, name, c.COMPONENT_PREPARE)
    meta["annotations"] = {SPEC_DIGEST_ANNOTATION: names.spec_digest(job)}
    manifest = _job(meta, pod)
    manifest["spec"]["template"]["metadata"]["annotations"] = annotations
    return manifest


def training_job(job: FineTuneJob, name: str, claim: str, around: Surroundings) -> Manifest:
    """The Job of one attempt."""
    asked = job.spec.kubernetes
    if asked is None:
        raise ValueError("a hosted job has no training Job")
    template = asked.pod_template
    audiences = {c.PROGRESS_TOKEN_FILE: c.PROGRESS_AUDIENCE}
    config = {"configMap": {"name": name}}
    mounts = with_model(with_data(base(config, audiences), job), job)
    mounts = with_hub(mounts, job, around.hf_endpoint)
    mounts = mounts.with_claim(claim, c.OUTPUT_DIR, read_only=False)
    mounts = mounts.with_volume(
        "shared-memory", {"emptyDir": {"medium": "Memory"}}, "/dev/shm", read_only=False
    ).with_env(*_reporting(job, around))
    if template and template.env:
        mounts = mounts.with_env(*(variable(env.name, env.value) for env in template.env))
    container = _container(c.COMPONENT_TRAINER, asked.image or around.trainer_image, around, mounts)
    if asked.resources:
        container["resources"] = asked.resources.model_dump(mode="json", exclude_none=True)
    pod = _pod_spec(container, TRAINER_ACCOUNT, around, mounts)
    pod["terminationGracePeriodSeconds"] = _GRACE_SECONDS
    meta = metadata(job, name, c.COMPONENT_TRAINER)
    meta["annotations"] = {SPEC_DIGEST_ANNOTATION: names.pod_digest(job)}
    manifest = _job(meta, pod)
    _apply_template(manifest, job)
    if asked.queue_name:
        manifest["metadata"]["labels"][c.LABEL_KUEUE_QUEUE] = asked.queue_name
        manifest["spec"]["suspend"] = True
    return manifest


def _reporting(job: FineTuneJob, around: Surroundings) -> list[Manifest]:
    """What makes a trainer report, if there is somebody to report to."""
    if not around.progress_url:
        return []
    return [
        variable("KUBEFLOW_TRAINER_SERVER_URL", progress_url(job, around)),
        variable("KUBEFLOW_TRAINER_SERVER_CA_CERT", c.PROGRESS_CA_FILE),
        variable("KUBEFLOW_TRAINER_SERVER_TOKEN", c.PROGRESS_TOKEN_FILE),
    ]


_TEMPLATE_FIELDS = (
    "node_selector", "tolerations", "affinity", "topology_spread_constraints",
    "priority_class_name", "runtime_class_name", "scheduler_name",
)  # fmt: skip


def _apply_template(manifest: Manifest, job: FineTuneJob) -> None:
    """The closed list of what users may say about the pod; our labels win."""
    template = job.spec.kubernetes.pod_template if job.spec.kubernetes else None
    if template is None:
        return
    pod = manifest["spec"]["template"]
    chosen = template.model_dump(mode="json", exclude_none=True, include=set(_TEMPLATE_FIELDS))
    pod["spec"].update(chosen)
    pod["metadata"]["labels"] = {**(template.labels or {}), **pod["metadata"]["labels"]}
    if template.annotations:
        pod["metadata"]["annotations"] = dict(template.annotations)
    if template.image_pull_secrets:
        pod["spec"]["imagePullSecrets"] = [
            *pod["spec"].get("imagePullSecrets", []),
            *({"name": secret.name} for secret in template.image_pull_secrets),
        ]


def progress_url(job: FineTuneJob, around: Surroundings) -> str:
    """Where this job's pods report, in Kubeflow Trainer's wire format."""
    meta = job.metadata
    path = "apis/trainer.kubeflow.org/v1alpha1"
    return f"{around.progress_url}/{path}/namespaces/{meta.namespace}/trainjobs/{meta.name}/status"
