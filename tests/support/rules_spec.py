"""The rules that need nothing but the spec: for each the manifests it lets through and refuses.

A rule is known by the schema path where it stands and by its sentence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.builders_api import ABSENT, Manifest, changed, hosted_job, pod_job


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """One write and what a rule says to it."""

    at: str
    message: str
    case: str
    allowed: bool
    new: Manifest
    old: Manifest | None = None
    """The object as it stands, its status included; absent: `new` is created."""

    @property
    def id(self) -> str:
        """A sentence for the test report."""
        where = self.at or "root"
        return f"{where}: {self.case}: {'allowed' if self.allowed else 'refused'}"


def creates(
    at: str, message: str, *, allowed: Mapping[str, Manifest], refused: Mapping[str, Manifest]
) -> Iterator[RuleRow]:
    """Rows for objects that are created."""
    for verdict, cases in ((True, allowed), (False, refused)):
        for case, manifest in cases.items():
            yield RuleRow(at=at, message=message, case=case, allowed=verdict, new=manifest)


HOSTED = hosted_job()
PODS = pod_job()


def _hosted(path: str, value: Any) -> Manifest:
    return changed(HOSTED, {path: value})


def _pods(path: str, value: Any) -> Manifest:
    return changed(PODS, {path: value})


def _backends() -> Iterator[RuleRow]:
    yield from creates(
        "spec",
        "exactly one of `azureOpenAI` and `kubernetes` must be set",
        allowed={"hosted": HOSTED, "in the cluster": PODS},
        refused={
            "both backends": _hosted("spec.kubernetes", {}),
            "no backend": _hosted("spec.azureOpenAI", ABSENT),
        },
    )
    yield from creates(
        "spec",
        "a job in the cluster takes `model.uri`, not `model.name`",
        allowed={"uri in the cluster": PODS},
        refused={"name in the cluster": _pods("spec.model", {"name": "gpt-4.1-mini"})},
    )
    yield from creates(
        "spec",
        "a hosted job takes `model.name`, not `model.uri`",
        allowed={"name at the service": HOSTED},
        refused={"uri at the service": _hosted("spec.model", {"uri": "hf://org/model"})},
    )


def _one_backend_only() -> Iterator[RuleRow]:
    """Settings of one backend, refused by name for the other."""
    in_the_cluster = (
        ("parameterEfficient", "the hosted service decides it", {"rank": 8}),
        (
            "output",
            "the hosted service keeps the model",
            {"volume": {"claimName": "models", "path": "team-a/orca"}},
        ),
        ("checkpoints", "the hosted service keeps one per epoch", {"keep": 3}),
        ("retryPolicy", "a hosted job is submitted once", {"maxRetries": 1}),
        ("ttlSecondsAfterFinished", "a hosted job leaves no training pod", 60),
    )
    for field, why, value in in_the_cluster:
        yield from creates(
            "spec",
            f"`{field}` is for `kubernetes` jobs: {why}",
            allowed={f"{field} in the cluster": _pods(f"spec.{field}", value)},
            refused={f"{field} at the service": _hosted(f"spec.{field}", value)},
        )
    yield from creates(
        "spec",
        "`deletionPolicy.model: Delete` is for `kubernetes` jobs: a hosted model is kept",
        allowed={
            "delete the volume of a job in the cluster": _pods(
                "spec.deletionPolicy.model", "Delete"
            ),
            "keep the hosted model": _hosted("spec.deletionPolicy.model", "Keep"),
        },
        refused={"delete a hosted model": _hosted("spec.deletionPolicy.model", "Delete")},
    )
    yield from creates(
        "spec",
        "`deletionPolicy.job: Keep` is for `azureOpenAI` jobs: pods go with their job",
        allowed={
            "keep the hosted job": _hosted("spec.deletionPolicy.job", "Keep"),
            "cancel the pods": _pods("spec.deletionPolicy.job", "Cancel"),
        },
        refused={"keep the pods": _pods("spec.deletionPolicy.job", "Keep")},
    )


def _hyperparameters() -> Iterator[RuleRow]:
    hyper = "spec.hyperparameters"
    in_the_cluster: dict[str, Any] = {
        "maxSteps": 8,
        "learningRate": "2e-4",
        "maxSequenceLength": 512,
        "packing": "Never",
        "microBatchSize": 2,
    }
    every = {"epochs": 2, "batchSize": 16, "learningRateMultiplier": "1.5"}
    yield from creates(
        "spec",
        "of `hyperparameters`, a hosted job takes"
        " `epochs`, `batchSize` and `learningRateMultiplier` only",
        allowed={
            "those of the service": _hosted(hyper, every),
            "those of the cluster": _pods(hyper, in_the_cluster),
        },
        refused={
            f"{name} at the service": _hosted(hyper, {name: value})
            for name, value in in_the_cluster.items()
        },
    )
    yield from creates(
        "spec",
        "`hyperparameters.batchSize` of a hosted job must be at most 256",
        allowed={
            "256 at the service": _hosted(hyper, {"batchSize": 256}),
            "257 in the cluster": _pods(hyper, {"batchSize": 257}),
        },
        refused={"257 at the service": _hosted(hyper, {"batchSize": 257})},
    )
    yield from creates(
        hyper,
        "`epochs` and `maxSteps` must not be set together",
        allowed={
            "epochs alone": _pods(hyper, {"epochs": 1}),
            "steps alone": _pods(hyper, {"maxSteps": 8}),
        },
        refused={"epochs and steps": _pods(hyper, {"epochs": 1, "maxSteps": 8})},
    )
    yield from creates(
        hyper,
        "`learningRate` and `learningRateMultiplier` must not be set together",
        allowed={
            "rate alone": _pods(hyper, {"learningRate": "2e-4"}),
            "multiplier alone": _pods(hyper, {"learningRateMultiplier": "0.5"}),
        },
        refused={
            "rate and multiplier": _pods(
                hyper, {"learningRate": "2e-4", "learningRateMultiplier": "0.5"}
            )
        },
    )


def _parameter_efficient() -> Iterator[RuleRow]:
    adapter: dict[str, Any] = {
        "rank": 8,
        "alpha": 16,
        "dropout": "0.1",
        "targetModules": "AllLinear",
    }
    yield from creates(
        "spec.parameterEfficient",
        "`rank`, `alpha`, `dropout` and `targetModules` go with `type: LoRA` only",
        allowed={
            "settings of adapters, whose type is the default": _pods(
                "spec.parameterEfficient", adapter
            ),
            "every weight": _pods("spec.parameterEfficient", {"type": "None"}),
        },
        refused={
            f"{name} although every weight is trained": _pods(
                "spec.parameterEfficient", {"type": "None", name: value}
            )
            for name, value in adapter.items()
        },
    )


def _sources() -> Iterator[RuleRow]:
    hub, secret = "hf://org/model", {"name": "hub"}
    yield from creates(
        "spec.model",
        "exactly one of `name` (hosted) and `uri` (in the cluster) must be set",
        allowed={"uri": PODS, "name": HOSTED},
        refused={
            "both": _pods("spec.model.name", "gpt-4.1-mini"),
            "neither": _pods("spec.model", {}),
        },
    )
    yield from _hub_only("spec.model", hub, "pvc://models/llama", secret)
    for data_set in ("spec.data.training", "spec.data.validation"):
        config_map = {"name": "gsm8k", "key": "train.jsonl"}
        yield from creates(
            data_set,
            "exactly one of `configMap` and `uri` must be set",
            allowed={
                "configMap": _pods(data_set, {"configMap": config_map}),
                "uri": _pods(data_set, {"uri": "https://example.com/train.jsonl"}),
            },
            refused={
                "both": _pods(data_set, {"configMap": config_map, "uri": "pvc://data/train.jsonl"}),
                "neither": _pods(data_set, {}),
            },
        )
        yield from _hub_only(
            data_set, "hf://datasets/org/name/train.jsonl", "pvc://data/train.jsonl", secret
        )


def _hub_only(at: str, hub: str, elsewhere: str, secret: Manifest) -> Iterator[RuleRow]:
    for field, value in (("revision", "main"), ("secretRef", secret)):
        yield from creates(
            at,
            f"`{field}` goes with an hf:// `uri` only",
            allowed={
                f"{field} of a hub": _pods(at, {"uri": hub, field: value}),
                f"elsewhere without {field}": _pods(at, {"uri": elsewhere}),
            },
            refused={f"{field} elsewhere": _pods(at, {"uri": elsewhere, field: value})},
        )


def _hub_token() -> Iterator[RuleRow]:
    hub_file = "hf://datasets/org/name/train.jsonl"
    places = {
        "model": {"uri": "hf://org/model"},
        "data.training": {"uri": hub_file},
        "data.validation": {"uri": hub_file},
    }

    def secrets(**names: str) -> Manifest:
        sources = {f"spec.{place}": source for place, source in places.items()}
        for place, name in names.items():
            path = f"spec.{place.replace('_', '.')}"
            sources[path] = {**sources[path], "secretRef": {"name": name}}
        return changed(PODS, sources)

    yield from creates(
        "spec",
        "`secretRef` of `model`, `data.training` and `data.validation` must name the same Secret:"
        " a pod has one HF_TOKEN",
        allowed={
            "one Secret for all": secrets(model="a", data_training="a", data_validation="a"),
            "a Secret for the model alone": secrets(model="a"),
            "a Secret for the validation data alone": secrets(data_validation="a"),
        },
        refused={
            "another Secret for the data": secrets(model="a", data_training="b"),
            "another Secret for the validation": secrets(model="a", data_validation="b"),
            "one for each data set": secrets(data_training="a", data_validation="b"),
        },
    )


def _auth() -> Iterator[RuleRow]:
    at = "spec.azureOpenAI.auth"
    key = {"name": "azure", "key": "api-key"}
    identity = {"serviceAccountName": "tuner", "clientID": "c-1", "tenantID": "t-1"}
    yield from creates(
        at,
        "exactly one of `workloadIdentity` and `apiKeySecretRef` must be set",
        allowed={
            "a key": _hosted(at, {"apiKeySecretRef": key}),
            "an identity": _hosted(at, {"workloadIdentity": identity}),
        },
        refused={
            "both": _hosted(at, {"apiKeySecretRef": key, "workloadIdentity": identity}),
            "neither": _hosted(at, {}),
        },
    )


def _pod_template() -> Iterator[RuleRow]:
    at = "spec.kubernetes.podTemplate"
    ours = ("HOME", "HF_ENDPOINT", "HF_TOKEN", "TERMINATION_LOG")
    ours += ("KUBEFLOW_TRAINER_SERVER_URL", "FINETUNE_REPORT_FILE")
    yield from creates(
        f"{at}.env",
        "HOME, HF_ENDPOINT, HF_TOKEN, TERMINATION_LOG, KUBEFLOW_* and FINETUNE_* are set by the"
        " operator: remove them from `env` (a token goes into a Secret, named by `secretRef`)",
        allowed={
            name: _pods(f"{at}.env", [{"name": name, "value": "1"}])
            for name in ("OMP_NUM_THREADS", "HF_HUB_DOWNLOAD_TIMEOUT", "MY_HOME")
        },
        refused={name: _pods(f"{at}.env", [{"name": name, "value": "1"}]) for name in ours},
    )
    theirs = ("job-name", "controller-uid", "batch.kubernetes.io/job-name")
    theirs += ("finetune.dev/job-uid", "app.kubernetes.io/component")
    yield from creates(
        f"{at}.labels",
        "job-name, controller-uid, app.kubernetes.io/managed-by and /component,"
        " batch.kubernetes.io/* and finetune.dev/* belong to controllers: remove them from"
        " `labels`",
        allowed={
            name: _pods(f"{at}.labels", {name: "x"})
            for name in ("team", "app.kubernetes.io/name", "example.com/job-name")
        },
        refused={name: _pods(f"{at}.labels", {name: "x"}) for name in theirs},
    )


def _label_keys() -> Iterator[RuleRow]:
    for name in ("labels", "nodeSelector"):
        at = f"spec.kubernetes.podTemplate.{name}"
        yield from creates(
            at,
            "the key of a label must be NAME or DOMAIN/NAME, such as `example.com/team`: at most 63"
            " letters, digits, '-', '_' and '.' after the domain, with a letter or digit at both"
            " ends",
            allowed={
                f"{name} {key}": _pods(at, {key: "x"})
                for key in ("team", "Cost_centre.v-2", "example.com/team", "k" * 63)
            },
            refused={
                f"{name} {key!r}": _pods(at, {"team": "x", key: "x"})
                for key in ("my team", "", "/team", "team/", "a/b/c", "Example.com/team", "k" * 64)
            },
        )


def _tolerations() -> Iterator[RuleRow]:
    at = "spec.kubernetes.podTemplate.tolerations"

    def tolerating(**toleration: Any) -> Manifest:
        return _pods(at, [toleration])

    yield from creates(
        f"{at}.*",
        "a toleration without a `key` must have `operator: Exists`",
        allowed={
            "every taint": tolerating(operator="Exists"),
            "one taint": tolerating(key="gpu"),
        },
        refused={
            "no key and no operator": tolerating(effect="NoSchedule"),
            "no key to compare": tolerating(operator="Equal", value="a"),
        },
    )
    yield from creates(
        f"{at}.*",
        "a toleration with `operator: Exists` must have no `value`: remove it, or write"
        " `operator: Equal`",
        allowed={
            "Exists without a value": tolerating(key="gpu", operator="Exists"),
            "Exists with an empty value": tolerating(key="gpu", operator="Exists", value=""),
            "Equal with a value": tolerating(key="gpu", operator="Equal", value="yes"),
            "a value alone": tolerating(key="gpu", value="yes"),
        },
        refused={"Exists with a value": tolerating(key="gpu", operator="Exists", value="yes")},
    )
    yield from creates(
        f"{at}.*",
        "`tolerationSeconds` goes with `effect: NoExecute` only",
        allowed={
            "seconds with NoExecute": tolerating(key="a", effect="NoExecute", tolerationSeconds=60),
            "NoSchedule without seconds": tolerating(key="a", effect="NoSchedule"),
        },
        refused={
            "seconds with NoSchedule": tolerating(
                key="a", effect="NoSchedule", tolerationSeconds=60
            ),
            "seconds without an effect": tolerating(key="a", tolerationSeconds=60),
        },
    )


def _resources() -> Iterator[RuleRow]:
    at = "spec.kubernetes.resources"

    def asking(requests: Manifest, limits: Manifest) -> Manifest:
        return _pods(at, {"requests": requests, "limits": limits})

    yield from creates(
        at,
        "`requests` must not be above `limits`: lower the one or raise the other",
        allowed={
            "no requests": _pods(at, {"limits": {"cpu": 1}}),
            "no limits": _pods(at, {"requests": {"cpu": 1}}),
            "the same, written otherwise": asking({"cpu": "1000m"}, {"cpu": 1}),
            "a number below a larger unit": asking({"memory": 1024}, {"memory": "2Ki"}),
            "limits of something else": asking({"cpu": 8}, {"memory": "1Gi"}),
        },
        refused={
            "more cores": asking({"cpu": 2}, {"cpu": "1500m"}),
            "a larger unit": asking({"memory": "1Gi"}, {"memory": "1G"}),
            "one of two": asking({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "1Gi"}),
        },
    )
    gpu = "nvidia.com/gpu"
    yield from creates(
        at,
        "`requests` of a device such as `nvidia.com/gpu` must be the same as its `limits`:"
        " name it in `limits` alone",
        allowed={
            "a GPU in limits alone": _pods(at, {"limits": {gpu: 1}}),
            "a GPU in both": asking({gpu: 1}, {gpu: "1"}),
            "cores without a limit": asking({"cpu": 1}, {gpu: 1}),
        },
        refused={
            "a GPU in requests alone": _pods(at, {"requests": {gpu: 1}}),
            "a GPU beside other limits": asking({gpu: 1}, {"memory": "1Gi"}),
            "fewer GPUs than the limit": asking({gpu: 1}, {gpu: 2}),
        },
    )
    for field in ("requests", "limits"):
        beside = {"limits": {gpu: 1}} if field == "requests" else {}
        yield from creates(
            f"{at}.{field}",
            "a resource is `cpu`, `memory`, `ephemeral-storage`, `hugepages-SIZE` or has a domain"
            " before its name, such as `nvidia.com/gpu`",
            allowed={
                name: _pods(at, {**beside, field: {name: 1}})
                for name in ("cpu", "memory", "ephemeral-storage", "hugepages-2Mi", gpu)
            },
            refused={
                name: _pods(f"{at}.{field}", {name: 1}) for name in ("gpu", "CPU", "storage", "ram")
            },
        )


def rows() -> list[RuleRow]:
    """Every row of the rules below the root."""
    return [
        *_backends(),
        *_one_backend_only(),
        *_hyperparameters(),
        *_parameter_efficient(),
        *_sources(),
        *_hub_token(),
        *_auth(),
        *_pod_template(),
        *_label_keys(),
        *_tolerations(),
        *_resources(),
    ]
