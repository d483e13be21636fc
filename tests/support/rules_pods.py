"""The rules on the pods of a job in the cluster: their template and their resources."""

from collections.abc import Iterator
from typing import Any

from support.builders_api import Manifest
from support.rules_rows import RuleRow, creates, pods_with


def _pod_template() -> Iterator[RuleRow]:
    at = "spec.kubernetes.podTemplate"
    ours = ("HOME", "HF_ENDPOINT", "HF_TOKEN", "TERMINATION_LOG")
    ours += ("KUBEFLOW_TRAINER_SERVER_URL", "FINETUNE_REPORT_FILE")
    yield from creates(
        f"{at}.env",
        "HOME, HF_ENDPOINT, HF_TOKEN, TERMINATION_LOG, KUBEFLOW_* and FINETUNE_* are set by the"
        " operator: remove them from `env` (a token goes into a Secret, named by `secretRef`)",
        allowed={
            name: pods_with(f"{at}.env", [{"name": name, "value": "1"}])
            for name in ("OMP_NUM_THREADS", "HF_HUB_DOWNLOAD_TIMEOUT", "MY_HOME")
        },
        refused={name: pods_with(f"{at}.env", [{"name": name, "value": "1"}]) for name in ours},
    )
    theirs = ("job-name", "controller-uid", "batch.kubernetes.io/job-name")
    theirs += ("finetune.dev/job-uid", "app.kubernetes.io/component")
    yield from creates(
        f"{at}.labels",
        "job-name, controller-uid, app.kubernetes.io/managed-by and /component,"
        " batch.kubernetes.io/* and finetune.dev/* belong to controllers: remove them from"
        " `labels`",
        allowed={
            name: pods_with(f"{at}.labels", {name: "x"})
            for name in ("team", "app.kubernetes.io/name", "example.com/job-name")
        },
        refused={name: pods_with(f"{at}.labels", {name: "x"}) for name in theirs},
    )


def _label_keys() -> Iterator[RuleRow]:
    for name in ("labels", "annotations", "nodeSelector"):
        at = f"spec.kubernetes.podTemplate.{name}"
        yield from creates(
            at,
            "the key of a label or annotation must be NAME or DOMAIN/NAME, such as"
            " `example.com/team`: at most 63 letters, digits, '-', '_' and '.' after a domain of at"
            " most 253, with a letter or digit at both ends",
            allowed={
                f"{name} {key}": pods_with(at, {key: "x"})
                for key in (
                    *("team", "Cost_centre.v-2", "example.com/team", "k" * 63),
                    f"{'d' * 253}/{'k' * 63}",
                )
            },
            refused={
                f"{name} {key!r}": pods_with(at, {"team": "x", key: "x"})
                for key in (
                    *("my team", "", "/team", "team/", "a/b/c", "Example.com/team", "k" * 64),
                    f"{'d' * 254}/k",
                )
            },
        )


def _tolerations() -> Iterator[RuleRow]:
    at = "spec.kubernetes.podTemplate.tolerations"

    def tolerating(**toleration: Any) -> Manifest:
        return pods_with(at, [toleration])

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


_RESOURCES = "spec.kubernetes.resources"
_GPU = "nvidia.com/gpu"


def _asking(requests: Manifest, limits: Manifest) -> Manifest:
    return pods_with(_RESOURCES, {"requests": requests, "limits": limits})


def _resources() -> Iterator[RuleRow]:
    yield from creates(
        _RESOURCES,
        "`requests` must not be above `limits`: lower the one or raise the other",
        allowed={
            "no requests": pods_with(_RESOURCES, {"limits": {"cpu": 1}}),
            "no limits": pods_with(_RESOURCES, {"requests": {"cpu": 1}}),
            "the same, written otherwise": _asking({"cpu": "1000m"}, {"cpu": 1}),
            "a number below a larger unit": _asking({"memory": 1024}, {"memory": "2Ki"}),
            "limits of something else": _asking({"cpu": 8}, {"memory": "1Gi"}),
        },
        refused={
            "more cores": _asking({"cpu": 2}, {"cpu": "1500m"}),
            "a larger unit": _asking({"memory": "1Gi"}, {"memory": "1G"}),
            "one of two": _asking({"cpu": 1, "memory": "2Gi"}, {"cpu": 1, "memory": "1Gi"}),
        },
    )


def _devices() -> Iterator[RuleRow]:
    yield from creates(
        _RESOURCES,
        "`requests` of a device such as `nvidia.com/gpu` must be the same as its `limits`:"
        " name it in `limits` alone",
        allowed={
            "a GPU in limits alone": pods_with(_RESOURCES, {"limits": {_GPU: 1}}),
            "a GPU in both": _asking({_GPU: 1}, {_GPU: "1"}),
            "cores without a limit": _asking({"cpu": 1}, {_GPU: 1}),
        },
        refused={
            "a GPU in requests alone": pods_with(_RESOURCES, {"requests": {_GPU: 1}}),
            "a GPU beside other limits": _asking({_GPU: 1}, {"memory": "1Gi"}),
            "fewer GPUs than the limit": _asking({_GPU: 1}, {_GPU: 2}),
        },
    )


def _names_and_numbers() -> Iterator[RuleRow]:
    for field in ("requests", "limits"):
        yield from creates(
            f"{_RESOURCES}.{field}",
            "a training pod uses one GPU: a resource such as `nvidia.com/gpu` must be `0` or `1`",
            allowed={
                **{
                    f"{field}: {value!r} GPUs": _asking({_GPU: value}, {_GPU: value})
                    for value in (0, 1, "0", "1")
                },
                f"{field}: two of another device": _asking(
                    {"example.com/gpu-share": 2}, {"example.com/gpu-share": 2}
                ),
            },
            refused={
                f"{field}: {value!r} of {name}": pods_with(f"{_RESOURCES}.{field}", {name: value})
                for name, value in ((_GPU, 2), (_GPU, "8"), (_GPU, "1k"), ("amd.com/gpu", "2"))
            },
        )
        beside = {"limits": {_GPU: 1}} if field == "requests" else {}
        yield from creates(
            f"{_RESOURCES}.{field}",
            "a resource is `cpu`, `memory`, `ephemeral-storage`, `hugepages-SIZE` or has a domain"
            " before its name, such as `nvidia.com/gpu`",
            allowed={
                name: pods_with(_RESOURCES, {**beside, field: {name: 1}})
                for name in ("cpu", "memory", "ephemeral-storage", "hugepages-2Mi", _GPU)
            },
            refused={
                name: pods_with(f"{_RESOURCES}.{field}", {name: 1})
                for name in ("gpu", "CPU", "storage", "ram", "/gpu", "a/", "a/b/c", "hugepages-")
            },
        )


def rows() -> Iterator[RuleRow]:
    """Every row of the rules on pods."""
    yield from _pod_template()
    yield from _label_keys()
    yield from _tolerations()
    yield from _resources()
    yield from _devices()
    yield from _names_and_numbers()
