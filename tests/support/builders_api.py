"""Manifests of FineTuneJobs as users write them: valid as they are, changed by paths.

`changed(hosted_job(), {"spec.seed": 7, "spec.data": ABSENT})` is a copy with one field set and one
removed. It knows no model class: what the API server gets is exactly what stands here.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from finetune_api import constants

Manifest = dict[str, Any]

ABSENT: Final = object()
"""As a value: the field is not there."""


def hosted_job(name: str = "gsm8k-hosted", **spec: Any) -> Manifest:
    """A small job for Azure OpenAI; further members of spec by their camelCase names."""
    return _job(
        name,
        {
            "model": {"name": "gpt-4.1-mini-2025-04-14"},
            "data": {"training": {"configMap": {"name": "gsm8k", "key": "train.jsonl"}}},
            "azureOpenAI": {
                "endpoint": "https://my-account.openai.azure.com",
                "auth": {"apiKeySecretRef": {"name": "azure", "key": "api-key"}},
            },
        }
        | spec,
    )


def pod_job(name: str = "gsm8k-pods", **spec: Any) -> Manifest:
    """A small job in the cluster; further members of spec by their camelCase names."""
    return _job(
        name,
        {
            "model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"},
            "data": {"training": {"configMap": {"name": "gsm8k", "key": "train.jsonl"}}},
            "kubernetes": {},
        }
        | spec,
    )


def _job(name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": constants.API_VERSION,
        "kind": constants.KIND,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def changed(manifest: Manifest, changes: Mapping[str, Any]) -> Manifest:
    """A copy in which each dotted path has the given value; parents are made as needed."""
    copy = deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = copy
        for parent in parents:
            node = node.setdefault(parent, {})
        if value is ABSENT:
            del node[last]
        else:
            node[last] = value
    return copy


def condition(kind: str, status: str, reason: str, message: str = "") -> Manifest:
    """One condition of a status."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-22T12:00:00Z",
        "observedGeneration": 1,
    }
