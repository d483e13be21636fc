"""The rules at the root: the name, and what may change once a job has started.

Each row is a write to an object that stands there with a status.
"""

from collections.abc import Iterator
from typing import Any

from support.builders_api import ABSENT, Manifest, changed, condition
from support.graders import a_check, a_judge, a_multi
from support.rules_methods import reinforced
from support.rules_rows import HOSTED, PODS, RuleRow, creates

_CREATE_ANOTHER = "must not change once the job has started: create a new FineTuneJob instead"
_WHILE_PAUSED = "may change only while the job is suspended, stalled or failed"
_EFFECT = {
    "azureOpenAI": "the next request to the service uses it",
    "kubernetes": "it takes effect with the next attempt",
}
_RUNNING = {"status.startedGeneration": 1, "status.phase": "Running"}
_PAUSED: dict[str, dict[str, Any]] = {
    "suspended in spec": {"status.startedGeneration": 1, "spec.suspend": True},
    "suspended in status": {"status.startedGeneration": 1, "status.phase": "Suspended"},
    "failed": {"status.startedGeneration": 1, "status.phase": "Failed"},
    "stalled": {
        "status.startedGeneration": 1,
        "status.phase": "Running",
        "status.conditions": [condition("Stalled", "True", "AuthenticationFailed")],
    },
}
_NOT_PAUSED: dict[str, dict[str, Any]] = {
    "running": _RUNNING,
    "no longer stalled": {
        "status.startedGeneration": 1,
        "status.conditions": [condition("Stalled", "False", "Running")],
    },
    "succeeded": {
        "status.startedGeneration": 1,
        "status.phase": "Succeeded",
        "status.conditions": [condition("Ready", "True", "Succeeded")],
    },
}

_MODEL = {"spec.model.revision": "v2"}
_OUTPUT = {"volume": {"claimName": "models", "path": "team-a/orca"}}
_VALIDATION = {"configMap": {"name": "gsm8k", "key": "validation.jsonl"}}

# Field: the object as it stands, and edits of it that change the field and nothing else.
_FROZEN: dict[str, tuple[Manifest, dict[str, dict[str, Any]]]] = {
    "model": (PODS, {"revision added": _MODEL, "another": {"spec.model.uri": "hf://org/other"}}),
    "method": (
        reinforced(a_multi("a", a=a_check(), b=a_judge())),
        {
            "another": {"spec.method": {"type": "DPO"}},
            "with another grader": {
                "spec.method.reinforcement.grader": a_multi("a + b", a=a_check(), b=a_judge())
            },
            "with another input, which has no type": {
                "spec.method.reinforcement.grader.graders.a.input": "{{item.question}}"
            },
            "with another input of a judge": {
                "spec.method.reinforcement.grader.graders.b.input": [
                    {"role": "user", "content": "Rate {{item.question}}"}
                ]
            },
        },
    ),
    "hyperparameters": (
        changed(PODS, {"spec.hyperparameters.epochs": 1}),
        {
            "changed": {"spec.hyperparameters.epochs": 2},
            "removed": {"spec.hyperparameters": ABSENT},
            "member added": {"spec.hyperparameters.batchSize": 4},
        },
    ),
    "parameterEfficient": (
        PODS,
        {
            "added": {"spec.parameterEfficient": {"rank": 8}},
            "added with its defaults alone": {"spec.parameterEfficient": {}},
        },
    ),
    "seed": (
        changed(PODS, {"spec.seed": 0}),
        {"changed": {"spec.seed": 1}, "removed": {"spec.seed": ABSENT}},
    ),
    "data": (
        PODS,
        {
            "another key": {"spec.data.training.configMap.key": "other.jsonl"},
            "validation added": {"spec.data.validation": _VALIDATION},
        },
    ),
    "checkpoints": (
        changed(PODS, {"spec.checkpoints.keep": 2}),
        {"changed": {"spec.checkpoints.keep": 3}, "removed": {"spec.checkpoints": ABSENT}},
    ),
    "output": (
        changed(PODS, {"spec.output": _OUTPUT}),
        {
            "another path": {"spec.output.volume.path": "team-b"},
            "removed": {"spec.output": ABSENT},
        },
    ),
    "azureOpenAI.endpoint": (
        HOSTED,
        {"changed": {"spec.azureOpenAI.endpoint": "https://other.openai.azure.com"}},
    ),
    "azureOpenAI.trainingType": (
        HOSTED,
        {"added": {"spec.azureOpenAI.trainingType": "GlobalStandard"}},
    ),
    "azureOpenAI.suffix": (
        changed(HOSTED, {"spec.azureOpenAI.suffix": "gsm8k"}),
        {
            "changed": {"spec.azureOpenAI.suffix": "other"},
            "removed": {"spec.azureOpenAI.suffix": ABSENT},
        },
    ),
}

_EDITABLE: dict[str, tuple[Manifest, dict[str, Any]]] = {
    "azureOpenAI.auth": (HOSTED, {"spec.azureOpenAI.auth.apiKeySecretRef.name": "other"}),
    "kubernetes.image": (PODS, {"spec.kubernetes.image": "trainer:2"}),
    "kubernetes.resources": (PODS, {"spec.kubernetes.resources.limits": {"memory": "64Gi"}}),
    "kubernetes.podTemplate": (
        PODS,
        {"spec.kubernetes.podTemplate.nodeSelector": {"gpu": "h200"}},
    ),
    "kubernetes.queueName": (PODS, {"spec.kubernetes.queueName": "team-a"}),
}


def _write(
    message: str, case: str, old: Manifest, edit: dict[str, Any], *, allowed: bool
) -> RuleRow:
    new = changed(old, edit)
    return RuleRow(at="", message=message, case=case, allowed=allowed, new=new, old=old)


def _parent() -> Iterator[RuleRow]:
    def stacked(on: str) -> Manifest:
        return changed(HOSTED, {"metadata.name": "dpo", "spec.model": {"jobRef": {"name": on}}})

    yield from creates(
        "",
        "`model.jobRef` must name another job than this one",
        allowed={"another": stacked("sft"), "none": HOSTED},
        refused={"itself": stacked("dpo")},
    )


def _name() -> Iterator[RuleRow]:
    yield from creates(
        "",
        "`metadata.name` must be at most 63 characters long",
        allowed={"63 characters": changed(PODS, {"metadata.name": "a" * 63})},
        refused={"64 characters": changed(PODS, {"metadata.name": "a" * 64})},
    )


def _frozen() -> Iterator[RuleRow]:
    for field, (manifest, edits) in _FROZEN.items():
        message = f"`{field}` {_CREATE_ANOTHER}"
        started = changed(manifest, _RUNNING)
        yield _write(message, f"{field} as it was", started, {"spec.cancel": True}, allowed=True)
        for case, edit in edits.items():
            yield _write(message, f"{field} {case} before the start", manifest, edit, allowed=True)
            yield _write(message, f"{field} {case} after the start", started, edit, allowed=False)
        case, edit = next(iter(edits.items()))
        for state, status in _PAUSED.items():
            old = changed(manifest, status)
            yield _write(message, f"{field} {case} while {state}", old, edit, allowed=False)


def _backend() -> Iterator[RuleRow]:
    message = (
        "the backend must not change once the job has started: create a new FineTuneJob instead"
    )
    to_pods = {
        "spec.azureOpenAI": ABSENT,
        "spec.kubernetes": {},
        "spec.model": PODS["spec"]["model"],
    }
    yield _write(message, "backend changed before the start", HOSTED, to_pods, allowed=True)
    started = changed(HOSTED, _RUNNING)
    yield _write(message, "backend changed after the start", started, to_pods, allowed=False)


def _editable() -> Iterator[RuleRow]:
    for field, (manifest, edit) in _EDITABLE.items():
        message = f"`{field}` {_WHILE_PAUSED}; {_EFFECT[field.partition('.')[0]]}"
        yield _write(message, f"{field} before the start", manifest, edit, allowed=True)
        for state, status in _PAUSED.items():
            old = changed(manifest, status)
            yield _write(message, f"{field} while {state}", old, edit, allowed=True)
        for state, status in _NOT_PAUSED.items():
            old = changed(manifest, status)
            yield _write(message, f"{field} while {state}", old, edit, allowed=False)
        suspending = {**edit, "spec.suspend": True}
        old = changed(manifest, _RUNNING)
        case = f"{field} in the edit that suspends"
        yield _write(message, case, old, suspending, allowed=False)


def rows() -> list[RuleRow]:
    """Every row of the rules at the root."""
    return [*_name(), *_parent(), *_frozen(), *_backend(), *_editable()]
