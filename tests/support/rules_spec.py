"""The rules that need nothing but the spec: for each the manifests it lets through and refuses."""

from collections.abc import Iterator
from typing import Any

from support import rules_pods
from support.builders_api import ABSENT, Manifest, changed
from support.rules_rows import HOSTED, PODS, RuleRow, creates, hosted_with, pods_with

_PARENT = {"jobRef": {"name": "sft"}}


def _backends() -> Iterator[RuleRow]:
    yield from creates(
        "spec",
        "exactly one of `azureOpenAI` and `kubernetes` must be set",
        allowed={"hosted": HOSTED, "in the cluster": PODS},
        refused={
            "both backends": hosted_with("spec.kubernetes", {}),
            "no backend": hosted_with("spec.azureOpenAI", ABSENT),
        },
    )
    yield from creates(
        "spec",
        "a job in the cluster takes `model.uri`, not `model.name` or `model.jobRef`",
        allowed={"uri in the cluster": PODS},
        refused={
            "another job's result in the cluster": pods_with("spec.model", _PARENT),
            "name in the cluster": pods_with("spec.model", {"name": "gpt-4.1-mini"}),
        },
    )
    yield from creates(
        "spec",
        "a hosted job takes `model.name` or `model.jobRef`, not `model.uri`",
        allowed={
            "name at the service": HOSTED,
            "another job's result": hosted_with("spec.model", _PARENT),
        },
        refused={"uri at the service": hosted_with("spec.model", {"uri": "hf://org/model"})},
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
            allowed={f"{field} in the cluster": pods_with(f"spec.{field}", value)},
            refused={f"{field} at the service": hosted_with(f"spec.{field}", value)},
        )
    yield from creates(
        "spec",
        "`deletionPolicy.model: Delete` is for `kubernetes` jobs: a hosted model is kept",
        allowed={
            "delete the volume of a job in the cluster": pods_with(
                "spec.deletionPolicy.model", "Delete"
            ),
            "keep the hosted model": hosted_with("spec.deletionPolicy.model", "Keep"),
        },
        refused={"delete a hosted model": hosted_with("spec.deletionPolicy.model", "Delete")},
    )
    volume = {"volume": {"claimName": "models", "path": "team-a/orca"}}
    yield from creates(
        "spec",
        "`deletionPolicy.model: Delete` is for a volume of the job's own: remove it, or `output`",
        allowed={
            "delete the job's own volume": pods_with("spec.deletionPolicy.model", "Delete"),
            "keep what lies in a named volume": changed(
                PODS, {"spec.output": volume, "spec.deletionPolicy.model": "Keep"}
            ),
            "say nothing of a named volume": pods_with("spec.output", volume),
        },
        refused={
            "delete a named volume": changed(
                PODS, {"spec.output": volume, "spec.deletionPolicy.model": "Delete"}
            )
        },
    )
    yield from creates(
        "spec",
        "`deletionPolicy.job: Keep` is for `azureOpenAI` jobs: pods go with their job",
        allowed={
            "keep the hosted job": hosted_with("spec.deletionPolicy.job", "Keep"),
            "cancel the pods": pods_with("spec.deletionPolicy.job", "Cancel"),
        },
        refused={"keep the pods": pods_with("spec.deletionPolicy.job", "Keep")},
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
            "those of the service": hosted_with(hyper, every),
            "those of the cluster": pods_with(hyper, in_the_cluster),
        },
        refused={
            f"{name} at the service": hosted_with(hyper, {name: value})
            for name, value in in_the_cluster.items()
        },
    )
    yield from creates(
        "spec",
        "`hyperparameters.batchSize` of a hosted job must be at most 256",
        allowed={
            "256 at the service": hosted_with(hyper, {"batchSize": 256}),
            "257 in the cluster": pods_with(hyper, {"batchSize": 257}),
        },
        refused={"257 at the service": hosted_with(hyper, {"batchSize": 257})},
    )
    yield from creates(
        hyper,
        "`epochs` and `maxSteps` must not be set together",
        allowed={
            "epochs alone": pods_with(hyper, {"epochs": 1}),
            "steps alone": pods_with(hyper, {"maxSteps": 8}),
        },
        refused={"epochs and steps": pods_with(hyper, {"epochs": 1, "maxSteps": 8})},
    )
    yield from creates(
        hyper,
        "`learningRate` and `learningRateMultiplier` must not be set together",
        allowed={
            "rate alone": pods_with(hyper, {"learningRate": "2e-4"}),
            "multiplier alone": pods_with(hyper, {"learningRateMultiplier": "0.5"}),
        },
        refused={
            "rate and multiplier": pods_with(
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
            "settings of adapters, whose type is the default": pods_with(
                "spec.parameterEfficient", adapter
            ),
            "every weight": pods_with("spec.parameterEfficient", {"type": "None"}),
        },
        refused={
            f"{name} although every weight is trained": pods_with(
                "spec.parameterEfficient", {"type": "None", name: value}
            )
            for name, value in adapter.items()
        },
    )


def _sources() -> Iterator[RuleRow]:
    hub, secret = "hf://org/model", {"name": "hub"}
    yield from creates(
        "spec.model",
        "exactly one of `name` (hosted), `uri` (in the cluster) and `jobRef` must be set",
        allowed={"uri": PODS, "name": HOSTED, "jobRef": hosted_with("spec.model", _PARENT)},
        refused={
            "both": pods_with("spec.model.name", "gpt-4.1-mini"),
            "neither": pods_with("spec.model", {}),
            "name and jobRef": hosted_with("spec.model", {"name": "gpt-4.1"} | _PARENT),
        },
    )
    yield from _hub_only("spec.model", hub, "pvc://models/llama", secret)
    for data_set in ("spec.data.training", "spec.data.validation"):
        config_map = {"name": "gsm8k", "key": "train.jsonl"}
        yield from creates(
            data_set,
            "exactly one of `configMap`, `uri` and `split` must be set"
            if data_set == "spec.data.validation"
            else "exactly one of `configMap` and `uri` must be set",
            allowed={
                "configMap": pods_with(data_set, {"configMap": config_map}),
                "uri": pods_with(data_set, {"uri": "https://example.com/train.jsonl"}),
            },
            refused={
                "both": pods_with(
                    data_set, {"configMap": config_map, "uri": "pvc://data/train.jsonl"}
                ),
                "neither": pods_with(data_set, {}),
            },
        )
        if data_set == "spec.data.validation":
            yield from _splits(data_set)
        yield from _hub_only(
            data_set, "hf://datasets/org/name/train.jsonl", "pvc://data/train.jsonl", secret
        )


def _splits(at: str) -> Iterator[RuleRow]:
    sentence = "exactly one of `configMap`, `uri` and `split` must be set"
    uri = "pvc://data/train.jsonl"
    yield from creates(
        at,
        sentence,
        allowed={"split": pods_with(at, {"split": "5%"})},
        refused={"split and uri": pods_with(at, {"split": "5%", "uri": uri})},
    )
    yield from creates(
        at,
        "`sha256` goes with a file, not with `split`: give it to `data.training`",
        allowed={"sha256 of a file": pods_with(at, {"uri": uri, "sha256": "0" * 64})},
        refused={"sha256 of a split": pods_with(at, {"split": "5%", "sha256": "0" * 64})},
    )
    yield from creates(
        f"{at}.split",
        "`split` must be 1% to 50% in whole per cent, such as `5%`",
        allowed={each: pods_with(at, {"split": each}) for each in ("1%", "9%", "10%", "50%")},
        refused={
            each or "nothing": pods_with(at, {"split": each})
            for each in ("0%", "51%", "5", "05%", "%", "")
        },
    )


def _hub_only(at: str, hub: str, elsewhere: str, secret: Manifest) -> Iterator[RuleRow]:
    for field, value in (("revision", "main"), ("secretRef", secret)):
        yield from creates(
            at,
            f"`{field}` goes with an hf:// `uri` only",
            allowed={
                f"{field} of a hub": pods_with(at, {"uri": hub, field: value}),
                f"elsewhere without {field}": pods_with(at, {"uri": elsewhere}),
            },
            refused={f"{field} elsewhere": pods_with(at, {"uri": elsewhere, field: value})},
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
            "a key": hosted_with(at, {"apiKeySecretRef": key}),
            "an identity": hosted_with(at, {"workloadIdentity": identity}),
        },
        refused={
            "both": hosted_with(at, {"apiKeySecretRef": key, "workloadIdentity": identity}),
            "neither": hosted_with(at, {}),
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
        *rules_pods.rows(),
    ]
