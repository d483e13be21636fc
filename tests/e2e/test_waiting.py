"""A job that waits says why, and what to do; what is mended goes on by itself."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from deploy.install import SYSTEM
from finetune_api import constants as c
from support.builders_api import Manifest
from support.e2e import SOON, TRAINED, Run, Space
from support.e2e_cluster import Json
from support.e2e_objects import (
    SECRET,
    claim,
    config_map,
    hosted,
    may_read,
    obj,
    queued,
    secret,
    short_rows,
    tiny,
)
from support.e2e_status import assert_told, condition
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

APPARMOR = "container.apparmor.security.beta.kubernetes.io/trainer"
REGISTRY_OF_NOBODY = "127.0.0.1:5000/finetune-nothing:none"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A manifest that has to wait, and what its status says then."""

    job: Callable[[], Manifest]
    want_reason: str
    want_sentence: str
    want_phase: str = "Pending"
    given: Callable[[], list[Manifest]] = list


def quota(**hard: str) -> Manifest:
    return obj("ResourceQuota", "small", spec={"hard": hard})


WAITING = [
    pytest.param(
        Row(
            job=lambda: tiny(**{"kubernetes.podTemplate.nodeSelector": {"no-such": "node"}}),
            want_reason="Unschedulable",
            want_sentence=r"^No node fits: check resources, nodeSelector, tolerations",
        ),
        id="no node fits",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"kubernetes.image": REGISTRY_OF_NOBODY}),
            want_reason="ImagePullFailed",
            want_sentence=r"^The image cannot be pulled: check its name, and imagePullSecrets \(",
        ),
        id="image that is not there",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"model.secretRef": {"name": "hub"}}),
            given=lambda: [secret("hub", WRONG_KEY="x")],
            want_phase="Preparing",
            want_reason="SecretNotFound",
            want_sentence=r"^Secret hub has no key HF_TOKEN: add it, or correct the key",
        ),
        id="container config: Secret without HF_TOKEN",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"data.training.configMap.name": "nowhere"}),
            want_phase="Preparing",
            want_reason="ConfigMapNotFound",
            want_sentence=r"^ConfigMap nowhere is missing: create it in the job's namespace",
        ),
        id="failed mount: missing ConfigMap",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"data.training.configMap.key": "other.jsonl"}),
            want_phase="Preparing",
            want_reason="ConfigMapNotFound",
            want_sentence=r"^ConfigMap [a-z0-9-]+ has no key other\.jsonl: add it, or correct",
        ),
        id="failed mount: ConfigMap without the key",
    ),
    pytest.param(
        Row(
            job=lambda: hosted(**{"azureOpenAI.auth.apiKeySecretRef.name": "nowhere"}),
            want_phase="Preparing",
            want_reason="SecretNotFound",
            want_sentence=r"^Secret nowhere is missing: create it in the job's namespace",
        ),
        id="failed mount: missing API key",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(
                **{"data.training": {"uri": "pvc://nowhere/train.jsonl"}},
            ),
            want_phase="Preparing",
            want_reason="VolumeNotFound",
            want_sentence=r"^PersistentVolumeClaim nowhere is missing: create it",
        ),
        id="missing PVC",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(output={"volume": {"claimName": "models", "path": "tiny"}}),
            given=lambda: [claim("models", storageClassName="no-such-class")],
            want_reason="VolumePending",
            want_sentence=r"^A PersistentVolumeClaim is not bound: check its StorageClass and size",
        ),
        id="PVC pending: no such StorageClass",
    ),
    pytest.param(
        Row(
            job=tiny,
            given=lambda: [quota(**{"requests.memory": "512Mi"})],
            want_reason="QuotaExceeded",
            want_sentence=r"^The namespace's ResourceQuota is used up: .*exceeded quota: small",
        ),
        id="ResourceQuota refuses the training pod",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"kubernetes.podTemplate.annotations": {APPARMOR: "unconfined"}}),
            want_reason="PodSecurityRefused",
            want_sentence=r"^The namespace's Pod Security level refuses the pod: change ",
        ),
        id="PodSecurity refuses the training pod",
    ),
    pytest.param(
        Row(
            job=lambda: tiny(**{"kubernetes.podTemplate.runtimeClassName": "no-such-class"}),
            want_reason="PodCreationFailed",
            want_sentence=r"^The cluster refuses to create the pod: .*RuntimeClass",
        ),
        id="no such RuntimeClass",
    ),
    pytest.param(
        Row(
            job=lambda: hosted(**{"azureOpenAI.endpoint": "https://account.invalid"}),
            want_reason="EndpointNotAllowed",
            want_sentence=r"account.invalid.*allowedEndpoints",
        ),
        id="endpoint that may not be sent a key",
    ),
]


@pytest.mark.parametrize("row", WAITING)
def test_a_wait_is_explained(space: Space, row: Row) -> None:
    space.create(*row.given())
    status = space.run(row.job()).until_reason(row.want_reason)
    assert_told(status, row.want_phase, row.want_reason, row.want_sentence)
    assert condition(status, "Succeeded") == {}
    assert "completionTime" not in status


def test_a_pod_that_is_refused_does_not_exist(space: Space) -> None:
    space.create(quota(pods="0"))
    run = space.run(tiny())
    status = run.until_reason("QuotaExceeded")
    assert_told(status, "Preparing", "QuotaExceeded", "ResourceQuota is used up")
    assert space.objects("Pod") == []
    space.patch("ResourceQuota", "small", {"spec": {"hard": {"pods": "5"}}})
    run.until(lambda s: condition(s, "DataValid").get("status") == "True", "the pod is created")


def test_a_quota_over_limits_lets_every_pod_through(space: Space, training: None) -> None:
    """Such a quota refuses each pod that states no request or limit of its own."""
    hard = {
        "requests.cpu": "2",
        "requests.memory": "4Gi",
        "limits.cpu": "2",
        "limits.memory": "4Gi",
    }
    space.create(quota(**hard))
    status = space.run(tiny()).until_phase("Succeeded", within=TRAINED)
    assert [each["reason"] for each in status["attempts"]] == ["Succeeded"]


def test_a_deleted_configuration_is_made_again(space: Space, training: None) -> None:
    """The attempt's own ConfigMap: without it its pod would wait for ever."""
    run = space.run(queued())
    run.until_phase("Queued")
    [child] = run.children(c.COMPONENT_TRAINER)
    name = child["metadata"]["name"]
    space.delete("ConfigMap", name)
    space.patch("Job", name, {"spec": {"suspend": False}})
    status = run.until(
        lambda s: len(s.get("attempts", [])) == 2, "another attempt", within=2 * SOON
    )
    assert f"ConfigMap {name} was deleted" in status["attempts"][0]["message"]
    assert status["retries"] == 1
    [child] = wait_for(lambda: _others(run, name), "the other attempt's Job")
    space.patch("Job", child["metadata"]["name"], {"spec": {"suspend": False}})
    run.until_phase("Succeeded", within=TRAINED)


def _others(run: Run, name: str) -> list[Json] | None:
    others = [job for job in run.children(c.COMPONENT_TRAINER) if job["metadata"]["name"] != name]
    return others or None


def test_a_wait_for_the_user_stalls_and_goes_on_once_mended(space: Space) -> None:
    run = space.run(queued(**{"data.training.configMap.name": "late"}))
    status = run.until(lambda s: condition(s, "Stalled"), "Stalled", within=2 * SOON)
    assert_told(status, "Preparing", "ConfigMapNotFound", r"^ConfigMap late is missing")
    assert condition(status, "Reconciling") == {}
    space.create(config_map("late", train_jsonl=short_rows()))
    status = run.until_phase("Queued", within=3 * SOON)
    assert condition(status, "Stalled") == {}
    assert condition(status, "Reconciling")["status"] == "True"


def test_a_secret_that_the_operator_may_not_read(space: Space) -> None:
    space.delete("RoleBinding", "finetune-secrets")
    run = space.run(hosted())
    status = run.until_reason("SecretAccessDenied", within=2 * SOON)
    want = (
        r"may not read Secret `azure` in namespace .*the operator's ServiceAccount: kubectl"
        r" .* --serviceaccount=[a-z-]+:[a-z-]+"
    )
    assert_told(status, status["phase"], "SecretAccessDenied", want)
    for manifest in may_read(SECRET, space.site.account, SYSTEM):
        if manifest["kind"] == "RoleBinding":
            space.create(manifest)
    run.until_phase("Succeeded", within=3 * SOON)


def test_a_queue_decides_when_it_runs(space: Space, training: None) -> None:
    run = space.run(queued(**{"kubernetes.queueName": "team-a"}))
    status = run.until_phase("Queued")
    assert_told(status, "Queued", "Queued", "^Waiting in queue team-a for quota$")
    assert condition(status, "QuotaReserved")["status"] == "False"
    [child] = run.children(c.COMPONENT_TRAINER)
    assert child["metadata"]["labels"][c.LABEL_KUEUE_QUEUE] == "team-a"
    assert child["spec"]["suspend"] is True
    assert run.pods() == []
    # What Kueue does once there is quota.
    space.patch("Job", child["metadata"]["name"], {"spec": {"suspend": False}})
    status = run.until_phase("Running")
    assert condition(status, "QuotaReserved")["status"] == "True"
    assert status["kubernetes"]["queueName"] == "team-a"
    run.set(cancel=True)
    status = run.until_phase("Cancelled")
    assert_told(status, "Cancelled", "Cancelled", "spec.cancel")
    assert run.children(c.COMPONENT_TRAINER) == []
