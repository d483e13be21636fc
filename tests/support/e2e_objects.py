"""Manifests that end-to-end tests apply: small jobs, small data, and what stands around them.

Knows the testbed's names; calls nothing.
"""

import json
from typing import Any

from deploy.install import EMULATOR
from finetune_api.constants import FORCE_NEW_ANNOTATION
from support.builders_api import Manifest, changed, hosted_job, pod_job
from support.chat_rows import assistant, row, user

DATA = "data"
SECRET = "azure"
MODEL = "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
TAINT = "finetune.dev/e2e"
"""What the tests taint the node with; only who is to be driven away does not tolerate it."""
_TOLERATION = {"key": TAINT, "operator": "Exists"}


def short_rows(count: int = 24) -> str:
    """JSON Lines: chat rows of some thirty tokens, all different."""
    return "".join(
        json.dumps(row(user(f"What is {i} plus 1?"), assistant(str(i + 1)))) + "\n"
        for i in range(count)
    )


def tiny(name: str = "tiny", steps: int = 2, **changes: Any) -> Manifest:
    """A real training run of some seconds on one CPU; `changes` by dotted path in spec."""
    spec: dict[str, Any] = {
        "spec.model.uri": MODEL,
        "spec.hyperparameters": {"maxSteps": steps, "batchSize": 2, "microBatchSize": 2},
        "spec.parameterEfficient": {"type": "LoRA", "rank": 4},
        "spec.data.training.configMap": {"name": DATA, "key": "train.jsonl"},
        "spec.checkpoints.everySeconds": 1,
        "spec.kubernetes.resources": {
            "requests": {"cpu": "300m", "memory": "1Gi"},
            "limits": {"cpu": "1", "memory": "3Gi"},
        },
        "spec.kubernetes.podTemplate.tolerations": [_TOLERATION],
    }
    return changed(pod_job(name), spec | {f"spec.{path}": v for path, v in changes.items()})


def queued(name: str = "queued", **changes: Any) -> Manifest:
    """A job that is prepared and then waits for a queue that nobody serves: no CPU is spent."""
    return tiny(name, **{"kubernetes.queueName": "nobody", **changes})


def hosted(name: str = "hosted", **changes: Any) -> Manifest:
    """A job at the emulated account, which keeps what equal jobs of other tests trained."""
    spec: dict[str, Any] = {
        "spec.hyperparameters": {"epochs": 1, "batchSize": 8},
        "spec.data.training.configMap": {"name": DATA, "key": "train.jsonl"},
        "spec.azureOpenAI.endpoint": f"https://{EMULATOR}",
        "spec.azureOpenAI.auth.apiKeySecretRef": {"name": SECRET, "key": "key"},
    }
    manifest = changed(hosted_job(name), spec | {f"spec.{p}": v for p, v in changes.items()})
    manifest["metadata"]["annotations"] = {FORCE_NEW_ANNOTATION: "true"}
    return manifest


def obj(kind: str, name: str, api_version: str = "v1", **members: Any) -> Manifest:
    """Any object."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **members}


def config_map(name: str, **data: str) -> Manifest:
    """A ConfigMap; `train_jsonl` is the key train.jsonl."""
    return obj("ConfigMap", name, data={key.replace("_", "."): v for key, v in data.items()})


def secret(name: str, **data: str) -> Manifest:
    """A Secret."""
    return obj("Secret", name, stringData=data)


def claim(name: str, **spec: Any) -> Manifest:
    """A PersistentVolumeClaim."""
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return obj("PersistentVolumeClaim", name, spec=wanted | spec)


def may_read(name: str, account: str, namespace: str) -> list[Manifest]:
    """The Role and RoleBinding that the sentence of SecretAccessDenied asks for."""
    rule = {"resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}
    return _granted("finetune-secrets", rule, account, namespace)


def may_be(name: str, account: str, namespace: str) -> list[Manifest]:
    """Those that the sentence about tokens of a ServiceAccount asks for."""
    rule = {"resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"]}
    return _granted("finetune-tokens", rule, account, namespace)


def _granted(name: str, rule: Manifest, account: str, namespace: str) -> list[Manifest]:
    group = "rbac.authorization.k8s.io"
    return [
        obj("Role", name, f"{group}/v1", rules=[{"apiGroups": [""], **rule}]),
        obj(
            "RoleBinding",
            name,
            f"{group}/v1",
            roleRef={"apiGroup": group, "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        ),
    ]


def script_pod(
    name: str,
    image: str,
    code: str,
    *,
    volumes: dict[str, dict[str, Any]] | None = None,
    user_id: int = 10002,
    **env: str,
) -> Manifest:
    """A pod that passes the `restricted` standard and runs Python code; volumes by mount path."""
    mounted = {f"v{number}": path for number, path in enumerate(volumes or {})}
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", code],
        "env": [{"name": key, "value": value} for key, value in {"HOME": "/tmp", **env}.items()],
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            *({"name": volume, "mountPath": path} for volume, path in mounted.items()),
        ],
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return obj(
        "Pod",
        name,
        spec={
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "tolerations": [_TOLERATION],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": user_id,
                "runAsGroup": user_id,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                *({"name": volume, **(volumes or {})[path]} for volume, path in mounted.items()),
            ],
        },
    )
