"""A training pod that is lost or stopped on request goes on from its checkpoint."""

import json
from collections.abc import Callable

import pytest

from finetune_api import constants as c
from support.builders_api import ABSENT
from support.e2e import TRAINED, Run, Space
from support.e2e_cluster import Cluster
from support.e2e_objects import TAINT, tiny
from support.e2e_status import assert_told, condition
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

STEPS = 80
"""Half a minute: a checkpoint stands in status long before the last."""


def delete(run: Run, pod: str) -> None:
    run.space.delete("Pod", pod)


def evict(run: Run, pod: str) -> None:
    run.space.site.cluster.evict(run.space.name, pod)


def taint(run: Run, pod: str) -> None:
    cluster = run.space.site.cluster
    node = (run.space.get("Pod", pod) or {})["spec"]["nodeName"]
    effect = {"key": TAINT, "value": "away", "effect": "NoExecute"}
    try:
        _set_taints(cluster, node, [effect])
        wait_for(lambda: pod not in _going_on(run), f"{pod} is driven away", within=60)
    finally:
        _set_taints(cluster, node, [])


def _set_taints(cluster: Cluster, node: str, wanted: list[dict[str, str]]) -> None:
    found = cluster.get("Node", "", node) or {}
    others = [each for each in found["spec"].get("taints", []) if each["key"] != TAINT]
    cluster.patch("Node", "", node, {"spec": {"taints": [*others, *wanted]}})


def _going_on(run: Run) -> list[str]:
    pods = [pod for pod in run.pods() if "deletionTimestamp" not in pod["metadata"]]
    return [pod["metadata"]["name"] for pod in pods]


def until_checkpoint(run: Run) -> int:
    """The step of a checkpoint that is known before training is over."""
    status = run.until(
        lambda s: s.get("kubernetes", {}).get("checkpoint", {}).get("step"),
        "a checkpoint",
        within=TRAINED,
    )
    assert status["phase"] == "Running", status["message"]
    step: int = status["kubernetes"]["checkpoint"]["step"]
    return step


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(delete, id="deleted"),
        pytest.param(evict, id="evicted"),
    ],
)
def test_a_lost_pod_is_replaced_and_resumes(
    space: Space, training: None, disturb: Callable[[Run, str], None]
) -> None:
    is_replaced_and_resumes(space, disturb)


def test_a_pod_that_a_taint_drives_away_is_replaced_and_resumes(
    lonely_space: Space, training: None
) -> None:
    """Alone: the taint drives away whatever runs without tolerations, as the examples do."""
    is_replaced_and_resumes(lonely_space, taint)


def is_replaced_and_resumes(space: Space, disturb: Callable[[Run, str], None]) -> None:
    run = space.run(tiny(steps=STEPS, **{"kubernetes.podTemplate": ABSENT}))
    saved = until_checkpoint(run)
    first = run.running_pod()
    disturb(run, first)
    status = run.until_phase("Succeeded", within=TRAINED)
    assert resumed_from(run) >= saved
    assert status["kubernetes"]["podName"] != first
    # A disruption is no failure: one Job, one attempt, no retry.
    assert len(run.children(c.COMPONENT_TRAINER)) == 1
    assert [(each["number"], each["step"]) for each in status["attempts"]] == [(1, STEPS)]
    assert "retries" not in status


def test_a_paused_job_is_edited_and_resumes(space: Space, training: None) -> None:
    run = space.run(tiny(steps=STEPS))
    saved = until_checkpoint(run)
    run.set(suspend=True)
    status = run.until_phase("Suspended", within=TRAINED)
    assert_told(status, "Suspended", "Suspended", "nothing runs")
    assert condition(status, "Suspended")["status"] == "True"
    assert condition(status, "Reconciling") == {}
    assert run.children(c.COMPONENT_TRAINER) == []
    # SIGTERM made it save where it was.
    paused_at = status["kubernetes"]["checkpoint"]["step"]
    assert saved <= paused_at < STEPS
    run.set(kubernetes={"resources": {"limits": {"memory": "2500Mi"}}})
    run.set(suspend=False)
    run.until_phase("Running", within=TRAINED)
    [child] = run.children(c.COMPONENT_TRAINER)
    container = child["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "2500Mi"
    status = run.until_phase("Succeeded", within=TRAINED)
    # A pod that is deleted may take its last words along: status then knows an older checkpoint.
    assert resumed_from(run) >= paused_at
    assert [each["reason"] for each in status["attempts"]] == ["Suspended", "Succeeded"]
    assert "retries" not in status


def resumed_from(run: Run) -> int:
    """The step that the last pod says it resumed from."""
    ended = [pod["status"]["containerStatuses"][0]["state"] for pod in run.pods()]
    words = [state["terminated"]["message"] for state in ended if "terminated" in state]
    assert words, "no pod is left that was done: it was over before it could be disturbed"
    return max(json.loads(each).get("resumedFrom") or 0 for each in words)
