"""What pods mount and what they read from their environment: config, tokens, data, models, output.

Pure. Secrets are mounted, or named by reference; their content is never seen here.
"""

from dataclasses import dataclass, replace
from typing import Any

from finetune_api import constants as c
from finetune_api.job import FineTuneJob
from finetune_api.sources import DataSource

Manifest = dict[str, Any]

_TOKEN_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Mounts:
    """Volumes, where they are mounted, and environment variables; grown by `with_`."""

    volumes: tuple[Manifest, ...] = ()
    mounts: tuple[Manifest, ...] = ()
    env: tuple[Manifest, ...] = ()

    def with_volume(
        self, name: str, source: Manifest, path: str, *, read_only: bool = True
    ) -> "Mounts":
        """With one more volume."""
        added = replace(self, volumes=(*self.volumes, {"name": name, **source}))
        return added._with_mount(name, path, read_only=read_only)

    def with_claim(self, claim: str, path: str, *, read_only: bool = True) -> "Mounts":
        """With a PVC: one volume however often it is mounted, as the kubelet wants it."""
        source = {"persistentVolumeClaim": {"claimName": claim}}
        for volume in self.volumes:
            if source.items() <= volume.items():
                return self._with_mount(volume["name"], path, read_only=read_only)
        return self.with_volume(f"claim-{len(self.volumes)}", source, path, read_only=read_only)

    def _with_mount(self, name: str, path: str, *, read_only: bool) -> "Mounts":
        mount = {"name": name, "mountPath": path} | ({"readOnly": True} if read_only else {})
        return replace(self, mounts=(*self.mounts, mount))

    def with_env(self, *variables: Manifest) -> "Mounts":
        """With more environment variables."""
        return replace(self, env=(*self.env, *variables))


def variable(name: str, value: str) -> Manifest:
    """A plain environment variable, as it stands: `$(NAME)` would be replaced otherwise."""
    return {"name": name, "value": value.replace("$", "$$")}


def _projected_token(audience: str, path: str) -> Manifest:
    return {
        "serviceAccountToken": {
            "audience": audience,
            "expirationSeconds": _TOKEN_SECONDS,
            "path": path.rsplit("/", 1)[-1],
        }
    }


def base(config: Manifest, audiences: dict[str, str]) -> Mounts:
    """Config, scratch space and the projected tokens {path: audience}."""
    tokens = [_projected_token(audience, path) for path, audience in audiences.items()]
    mounts = (
        Mounts()
        .with_volume("config", config, c.CONFIG_DIR)
        .with_volume("scratch", {"emptyDir": {}}, c.SCRATCH_DIR, read_only=False)
    )
    if not tokens:
        return mounts
    return mounts.with_volume("tokens", {"projected": {"sources": tokens}}, c.TOKEN_DIR)


def annotated(files: dict[str, str]) -> tuple[dict[str, str], Manifest]:
    """Annotations that hold small files, and the volume that shows them: no ConfigMap needed."""
    annotations = {f"{c.GROUP}/{name}": content for name, content in files.items()}
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{c.GROUP}/{name}']"}}
        for name in files
    ]
    return annotations, {"downwardAPI": {"items": items}}


def _hub_token(secret: str) -> Manifest:
    reference = {"secretKeyRef": {"name": secret, "key": "HF_TOKEN"}}
    return {"name": "HF_TOKEN", "valueFrom": reference}


def data_path(role: str, source: DataSource) -> str | None:
    """Where a pod finds a data file that is mounted; None for a file that it fetches."""
    if source.config_map:
        return f"{c.DATA_DIR}/{role}/{source.config_map.key}"
    uri = source.uri or ""
    if uri.startswith("pvc://"):
        return f"{c.DATA_DIR}/{role}/{uri.removeprefix('pvc://').split('/', 1)[1]}"
    return None


def mounted_objects(job: FineTuneJob) -> dict[str, str]:
    """The ConfigMap or Secret behind each volume that shows one key of it."""
    data = job.spec.data
    sources = {"data-training": data.training, "data-validation": data.validation}
    objects = {
        volume: source.config_map.name
        for volume, source in sources.items()
        if source and source.config_map
    }
    hosted = job.spec.azure_open_ai
    if hosted and hosted.auth.api_key_secret_ref:
        objects["api-key"] = hosted.auth.api_key_secret_ref.name
    return objects


def with_data(mounts: Mounts, job: FineTuneJob) -> Mounts:
    """With the data that is mounted, each set below a folder of its role."""
    for role, source in (
        ("training", job.spec.data.training),
        ("validation", job.spec.data.validation),
    ):
        if source is None:
            continue
        path = f"{c.DATA_DIR}/{role}"
        if source.config_map:
            key = source.config_map.key
            picked = {"name": source.config_map.name, "items": [{"key": key, "path": key}]}
            mounts = mounts.with_volume(f"data-{role}", {"configMap": picked}, path)
        elif source.uri and source.uri.startswith("pvc://"):
            mounts = mounts.with_claim(source.uri.removeprefix("pvc://").split("/")[0], path)
    return mounts


def with_model(mounts: Mounts, job: FineTuneJob) -> Mounts:
    """With the model, if it is mounted."""
    uri = job.spec.model.uri or ""
    if uri.startswith("pvc://"):
        return mounts.with_claim(uri.removeprefix("pvc://").split("/")[0], c.MODEL_DIR)
    return mounts


def with_hub(mounts: Mounts, job: FineTuneJob, hf_endpoint: str) -> Mounts:
    """With the hub's address and token: one pod has one HF_TOKEN, the schema sees to that."""
    sources = [job.spec.model, job.spec.data.training, job.spec.data.validation]
    secrets = [source.secret_ref.name for source in sources if source and source.secret_ref]
    if hf_endpoint:
        mounts = mounts.with_env(variable("HF_ENDPOINT", hf_endpoint))
    return mounts.with_env(_hub_token(secrets[0])) if secrets else mounts
