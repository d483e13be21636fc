"""What a real API server makes of our objects: defaults, pruning, bounds, status, old objects."""

import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from support import rules_spec
from support.builders_api import Manifest, changed, condition, hosted_job, pod_job
from support.crd_server import CrdServer, Refused, crd_manifest, schema

pytestmark = pytest.mark.integration

FIXTURE_GROUP = "fixture.finetune.dev"


def test_what_is_left_out_is_filled_in(crd_server: CrdServer) -> None:
    stored = crd_server.create(pod_job("defaults", checkpoints={}, retryPolicy={}), dry_run=True)
    want = pod_job()["spec"] | {
        "method": {"type": "Supervised"},
        "data": {**pod_job()["spec"]["data"], "invalidRows": "Fail"},
        "suspend": False,
        "validateOnly": False,
        "cancel": False,
        "deletionPolicy": {"job": "Cancel", "model": "Keep"},
        "checkpoints": {"everySeconds": 300, "keep": 2},
        "retryPolicy": {"maxRetries": 3},
    }
    assert stored["spec"] == want


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(hosted_job(), id="hosted"),
        pytest.param(pod_job(), id="in the cluster"),
        pytest.param(
            pod_job(parameterEfficient={}, checkpoints={}, retryPolicy={}),
            id="members whose defaults are filled in",
        ),
    ],
)
def test_the_server_and_the_models_fill_in_the_same(
    crd_server: CrdServer, manifest: Manifest
) -> None:
    stored = crd_server.create(manifest, dry_run=True)
    by_the_models = FineTuneJob.model_validate(
        changed(manifest, {"metadata": stored["metadata"]})
    ).spec.model_dump(mode="json", exclude_none=True)
    assert stored["spec"] == by_the_models


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        pytest.param("spec.unheardOf", "spec", id="in spec"),
        pytest.param("spec.model.unheardOf", "spec.model", id="deeper"),
        pytest.param("spec.kubernetes.podTemplate.hostNetwork", "spec.kubernetes.podTemplate",
                     id="a member of a pod that may not be set"),
    ],
)  # fmt: skip
def test_unknown_fields_are_pruned(crd_server: CrdServer, path: str, parent: str) -> None:
    stored = crd_server.create(changed(pod_job(), {path: True}), dry_run=True)
    node: Any = stored
    for name in parent.split("."):
        node = node[name]
    assert path.rsplit(".", 1)[-1] not in node


def test_kubectl_names_an_unknown_field_instead(crd_server: CrdServer, tmp_path: Path) -> None:
    manifest = tmp_path / "job.json"
    manifest.write_text(json.dumps(pod_job(evaluation={})))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        crd_server.kubectl("apply", "-f", str(manifest), "--dry-run=server")
    assert 'unknown field "spec.evaluation"' in refused.value.stderr


def test_what_stands_in_a_toleration_is_kept(crd_server: CrdServer) -> None:
    toleration = {"key": "dedicated", "operator": "Equal", "value": "", "effect": "NoExecute"}
    toleration |= {"tolerationSeconds": 60}
    manifest = pod_job(kubernetes={"podTemplate": {"tolerations": [toleration]}})
    stored = crd_server.create(manifest, dry_run=True)
    assert stored["spec"]["kubernetes"]["podTemplate"]["tolerations"] == [toleration]


_REFUSED: list[tuple[str, Manifest, str, Any]] = [
    ("a model name with a blank", hosted_job(), "spec.model.name", "gpt 4"),
    ("a model name of 254 characters", hosted_job(), "spec.model.name", "g" * 254),
    ("a scheme that is not built", pod_job(), "spec.model.uri", "s3://bucket/model"),
    ("a hub model without its organisation", pod_job(), "spec.model.uri", "hf://model"),
    ("a method that is not built", pod_job(), "spec.method.type", "Distillation"),
    ("a URI that is cut off", pod_job(), "spec.data.training", {"uri": "hf://datasets/org/name"}),
    ("data over http", pod_job(), "spec.data.training", {"uri": "http://example.com/x"}),
    ("a digest in capitals", pod_job(), "spec.data.training.sha256", "A" * 64),
    ("a digest that is cut off", pod_job(), "spec.data.training.sha256", "a" * 63),
    ("an object's name in capitals", pod_job(), "spec.data.training.configMap.name", "GSM8K"),
    ("a key with a slash", pod_job(), "spec.data.training.configMap.key", "a/b"),
    ("an endpoint over http", hosted_job(), "spec.azureOpenAI.endpoint", "http://a.example"),
    ("an endpoint with a query", hosted_job(), "spec.azureOpenAI.endpoint", "https://a.b/?c=d"),
    ("an endpoint with a user", hosted_job(), "spec.azureOpenAI.endpoint", "https://u@a.b"),
    ("a suffix of 19 characters", hosted_job(), "spec.azureOpenAI.suffix", "s" * 19),
    ("an unknown training type", hosted_job(), "spec.azureOpenAI.trainingType", "Cheap"),
    ("no epoch", pod_job(), "spec.hyperparameters.epochs", 0),
    ("half an epoch", pod_job(), "spec.hyperparameters.epochs", 0.5),
    ("a learning rate as a number", pod_job(), "spec.hyperparameters.learningRate", 0.0002),
    ("a negative learning rate", pod_job(), "spec.hyperparameters.learningRate", "-2e-4"),
    ("a seed beyond 31 bits", pod_job(), "spec.seed", 2**31),
    ("a negative quantity", pod_job(), "spec.kubernetes.resources.limits", {"cpu": "-1"}),
    ("a quantity in an unknown unit", pod_job(), "spec.kubernetes.resources.limits", {"cpu": "1X"}),
    ("17 kinds of resources", pod_job(), "spec.kubernetes.resources.limits",
     {f"example.com/{n}": 1 for n in range(17)}),
    ("a variable that starts with a digit", pod_job(), "spec.kubernetes.podTemplate.env",
     [{"name": "1ST", "value": ""}]),
    ("one variable twice", pod_job(), "spec.kubernetes.podTemplate.env",
     [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    ("65 labels", pod_job(), "spec.kubernetes.podTemplate.labels",
     {f"l{n}": "" for n in range(65)}),
    ("a path that starts at the root", pod_job(), "spec.output.volume",
     {"claimName": "models", "path": "/etc"}),
    ("an output path that leads upwards", pod_job(), "spec.output.volume",
     {"claimName": "models", "path": "team/../../tmp"}),
    ("data above its claim", pod_job(), "spec.data.training", {"uri": "pvc://d/../etc/passwd"}),
    ("a model above its claim", pod_job(), "spec.model.uri", "pvc://models/../etc"),
    ("a learning rate beyond all floats", pod_job(), "spec.hyperparameters.learningRate", "1e400"),
    ("a learning rate of nothing", pod_job(), "spec.hyperparameters.learningRate", "0.0"),
    ("all units dropped", pod_job(), "spec.parameterEfficient", {"dropout": "1.0"}),
    ("an endpoint with a no-break space", hosted_job(), "spec.azureOpenAI.endpoint",
     "https://a.example\u00a0"),
    ("a queue that is no value of a label", pod_job(), "spec.kubernetes.queueName", "q" * 64),
    ("11 retries", pod_job(), "spec.retryPolicy.maxRetries", 11),
    ("a deadline of no time", pod_job(), "spec.activeDeadlineSeconds", 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("manifest", "path", "value"), [pytest.param(*row, id=case) for case, *row in _REFUSED]
)
def test_what_is_out_of_bounds_is_refused_at_its_field(
    crd_server: CrdServer, manifest: Manifest, path: str, value: Any
) -> None:
    with pytest.raises(Refused) as refused:
        crd_server.create(changed(manifest, {path: value}), dry_run=True)
    assert any(cause.field.startswith(path) for cause in refused.value.causes), refused.value.causes


@pytest.mark.parametrize(
    ("manifest", "path", "value"),
    [
        pytest.param(pod_job(), "spec.kubernetes.resources.limits",
                     {"nvidia.com/gpu": 1, "memory": "64Gi", "cpu": "1500m"}, id="quantities"),
        pytest.param(pod_job(), "spec.kubernetes.queueName", "q" * 63, id="a queue"),
        pytest.param(pod_job(), "spec.model.uri", "pvc://models/llama/8b", id="a model on a claim"),
        pytest.param(pod_job(), "spec.data.training", {"uri": "pvc://d/train.jsonl"},
                     id="data on a claim"),
        pytest.param(pod_job(), "spec.hyperparameters.learningRate", "2e-4", id="a decimal"),
        pytest.param(hosted_job(), "spec.model.name", "gpt-4.1-mini-2025-04-14.ft-0a1-gsm8k",
                     id="an earlier result"),
        pytest.param(hosted_job(), "spec.azureOpenAI.endpoint", "https://127.0.0.1:8443/azure",
                     id="an endpoint with port and path"),
    ],
)  # fmt: skip
def test_what_is_within_bounds_is_taken(
    crd_server: CrdServer, manifest: Manifest, path: str, value: Any
) -> None:
    crd_server.create(changed(manifest, {path: value}), dry_run=True)


def test_status_can_be_patched_part_by_part(crd_server: CrdServer) -> None:
    crd_server.create(hosted_job("patched"))
    crd_server.patch_status("patched", {"startedGeneration": 1, "phase": "Running"})
    crd_server.patch_status("patched", {"conditions": [condition("Ready", "False", "Running")]})
    last = crd_server.patch_status("patched", {"phase": None, "progress": {"percent": 20}})
    assert last["status"] == {
        "startedGeneration": 1,
        "conditions": [condition("Ready", "False", "Running")],
        "progress": {"percent": 20},
    }


def test_status_of_an_unknown_phase_is_refused(crd_server: CrdServer) -> None:
    crd_server.create(hosted_job("bad-phase"))
    with pytest.raises(Refused, match="phase"):
        crd_server.patch_status("bad-phase", {"phase": "Sleeping"})


def test_a_user_cannot_unfreeze_a_job_by_dropping_its_status(crd_server: CrdServer) -> None:
    crd_server.stored(hosted_job("frozen") | {"status": {"startedGeneration": 1}})
    with pytest.raises(Refused, match="`seed` must not change"):
        crd_server.patch("frozen", {"spec": {"seed": 1}, "status": None})


def test_a_user_cannot_write_status_with_the_spec(crd_server: CrdServer) -> None:
    crd_server.create(hosted_job("spec-only"))
    patched = crd_server.patch("spec-only", {"status": {"phase": "Succeeded"}})
    assert "status" not in patched


def without_rules_below_the_root(crd: Manifest) -> Manifest:
    """An older CRD: every rule that a spec alone decides is still missing."""
    older = deepcopy(crd)

    def strip(node: Manifest) -> None:
        node.pop("x-kubernetes-validations", None)
        for child in node.get("properties", {}).values():
            strip(child)
        for key in {"items", "additionalProperties"} & node.keys():
            strip(node[key])

    strip(schema(older)["properties"]["spec"])
    return older


def test_objects_stored_before_a_rule_existed_still_take_a_status(crd_server: CrdServer) -> None:
    fixture = crd_server.with_group(FIXTURE_GROUP)
    fixture.install(without_rules_below_the_root(crd_manifest()))
    against_todays = [row.new for row in rules_spec.rows() if not row.allowed]
    for number, manifest in enumerate(against_todays):
        fixture.create(changed(manifest, {"metadata.name": f"old-{number}"}))

    fixture.install(crd_manifest())
    fixture.wait_until_refused(changed(against_todays[0], {"metadata.name": "new"}))

    for number in range(len(against_todays)):
        patched = fixture.patch_status(
            f"old-{number}",
            {"observedGeneration": 1, "conditions": [condition("Stalled", "True", "InvalidSpec")]},
        )
        assert patched["status"]["observedGeneration"] == 1
