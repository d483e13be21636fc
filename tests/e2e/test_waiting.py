"""A job that waits says why, and what to do; what is mended goes on by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from finetune_api import constants as c
from support.builders_api import ABSENT, Manifest
from support.e2e import SOON, Run, Space, assert_told, condition
from support.e2e_cluster import wait_for
from support.e2e_objects import claim, config_map, hosted, obj, queued, secret, short_rows, tiny

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

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
            want_sentence=r"^The Secret has no key HF_TOKEN: add it, or correct the key",
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
            want_sentence=r"^The ConfigMap has no key other.jsonl: add it, or correct the key",
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
]


@pytest.mark.parametrize("row", WAITING)
def test_a_wait_is_explained(space: Space, row: Row) -> None:
    space.create(*row.given())
    run = space.run(row.job())
    status = run.until_reason(row.want_reason)
    assert_told(status, row.want_phase, row.want_reason, row.want_sentence)
    # Nothing hangs: whoever waits for the user longer than the limit is Stalled, and not over.
    status = run.until(lambda s: condition(s, "Stalled"), "Stalled", within=2 * SOON)
    assert_told(status, row.want_phase, row.want_reason, row.want_sentence)
    assert condition(status, "Reconciling") == {}
    assert condition(status, "Succeeded") == {}
    assert "completionTime" not in status
