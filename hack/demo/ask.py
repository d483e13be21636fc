"""A pod from the trainer image that asks the base model and the result the same question."""

import json
import time

from cluster.settings import ClusterError
from deploy.install import HUB
from deploy.tools import kubectl

_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SYSTEM = "Reply user's question as accurately as possible."
_QUESTION = (
    "Lena picks 14 apples in the morning and twice as many in the afternoon. How many apples"
    " does she pick in all?\nSolution:"
)
_POD = "ask"
_DEADLINE_S = 300.0
_SCRIPT = (
    "python -c 'from huggingface_hub import snapshot_download as fetch;"
    f' fetch("{_BASE}", local_dir="/tmp/base")\' 2>/tmp/download'
    " || { cat /tmp/download; exit 1; }\n"
    'exec python -m finetune_trainer.ask --result "$RESULT" --model /tmp/base'
    ' --system "$SYSTEM" --prompt "$QUESTION" --max-tokens 96'
)


def ask(namespace: str, image: str, claim: str, result: str) -> str:
    """The answers before and after.

    Args:
        namespace: where the claim is.
        image: the trainer image.
        claim: the PVC with the result.
        result: the path of the result in it.
    """
    kubectl("-n", namespace, "delete", "pod", _POD, "--ignore-not-found", "--wait")
    manifest = json.dumps(_pod(image, claim, result))
    kubectl("-n", namespace, "apply", "-f", "-", given=manifest)
    _wait(namespace)
    log = kubectl("-n", namespace, "logs", _POD)
    kubectl("-n", namespace, "delete", "pod", _POD, "--wait=false")
    # What the trainer notes about the machine is one JSON object a line.
    return "\n".join(line for line in log.splitlines() if not line.startswith("{"))


def _wait(namespace: str) -> None:
    """Until the pod has ended.

    Raises:
        ClusterError: it failed, or took too long; with what it said.
    """
    deadline = time.monotonic() + _DEADLINE_S
    phase = ""
    while phase != "Succeeded":
        if phase == "Failed" or time.monotonic() > deadline:
            raise ClusterError(kubectl("-n", namespace, "logs", _POD, "--tail=5"))
        time.sleep(1)
        phase = kubectl("-n", namespace, "get", "pod", _POD, "-o", "jsonpath={.status.phase}")


def _pod(image: str, claim: str, result: str) -> dict[str, object]:
    variables = {
        "HF_ENDPOINT": HUB, "HOME": "/tmp", "RESULT": f"/mnt/output/{result}",
        "SYSTEM": _SYSTEM, "QUESTION": _QUESTION,
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _POD},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "ask",
                    "image": image,
                    "command": ["sh", "-c", _SCRIPT],
                    "env": [{"name": name, "value": value} for name, value in variables.items()],
                    "volumeMounts": [
                        {"name": "output", "mountPath": "/mnt/output", "readOnly": True},
                        {"name": "scratch", "mountPath": "/tmp"},
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
            "volumes": [
                {"name": "output", "persistentVolumeClaim": {"claimName": claim}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }
