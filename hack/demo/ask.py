"""A pod from the trainer image that asks the base model and the result the same question."""

import json

from deploy.install import HUB
from deploy.tools import kubectl

_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SYSTEM = "Reply user's question as accurately as possible."
_QUESTION = (
    "Lena picks 14 apples in the morning and twice as many in the afternoon. How many apples"
    " does she pick in all?\nSolution:"
)
_POD = "ask"
_SCRIPT = (
    f"hf download --quiet {_BASE} --local-dir /tmp/base >/dev/null &&"
    ' exec python -m finetune_trainer.ask --result "$RESULT" --model /tmp/base'
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
    kubectl(
        "-n", namespace, "wait", "--timeout=300s", "pod", _POD,
        "--for=jsonpath={.status.phase}=Succeeded",
    )  # fmt: skip
    answers = kubectl("-n", namespace, "logs", _POD)
    kubectl("-n", namespace, "delete", "pod", _POD, "--wait=false")
    return answers


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
