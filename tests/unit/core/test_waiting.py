"""Why a pod does not start, in the cluster's own words; and what becomes of a long wait."""
# ruff: noqa: E501 (the cluster's own words, uncut)

from typing import Any

import pytest

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_operator.core import conditions
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ObjectEvent
from finetune_operator.core.plan import EnsureAccount, Plan, ReadEvents
from finetune_operator.core.waiting import explain
from support.builders import (
    NOW,
    POLICY,
    a_child,
    a_job,
    a_pod,
    an_event,
    condition,
    seen,
    started,
    told,
)

JOB = started(a_job())
CHILD = a_child(JOB, created=-20)


def pending(**fields: Any) -> Any:
    return a_pod(CHILD, phase="Pending", created=-20, **fields)


def refused(said: str) -> tuple[ObjectEvent, ...]:
    name = "tune-5ab1c-a1-x7k2p"
    return (an_event("FailedCreate", f'Error creating: pods "{name}" is {said}'),)


UNPULLED = (
    'Back-off pulling image "registry.local/trainer:none": ErrImagePull: failed to pull and unpack'
    ' image "registry.local/trainer:none": not found'
)
ROWS = [
    pytest.param(
        pending(
            unschedulable="0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ),
        (),
        Reason.UNSCHEDULABLE,
        "(0/1 nodes are available: 1 Insufficient memory.)",
        id="unschedulable",
    ),
    pytest.param(
        a_pod(CHILD, phase="Pending", created=-31),
        (),
        Reason.UNSCHEDULABLE,
        "check podTemplate.schedulerName",
        id="a scheduler that nobody runs",
    ),
    pytest.param(
        pending(
            waiting_reason="ErrImagePull",
            waiting_message='failed to pull and unpack image "docker.example/trainer:none": not found',
        ),
        (),
        Reason.IMAGE_PULL_FAILED,
        "check its name, and imagePullSecrets (failed to pull",
        id="an image that is not there",
    ),
    pytest.param(
        pending(waiting_reason="ImagePullBackOff", waiting_message=UNPULLED),
        (),
        Reason.IMAGE_PULL_FAILED,
        "The image cannot be pulled",
        id="the same, between two tries",
    ),
    pytest.param(
        pending(
            waiting_reason="ErrImageNeverPull",
            waiting_message='Container image "x" is not present with pull policy of Never',
        ),
        (),
        Reason.IMAGE_PULL_FAILED,
        "change the pull policy",
        id="an image that may not be pulled",
    ),
    pytest.param(
        pending(
            waiting_reason="InvalidImageName",
            waiting_message='Failed to apply default image tag "X:": invalid reference',
        ),
        (),
        Reason.IMAGE_PULL_FAILED,
        "not valid: correct it",
        id="an image that cannot be",
    ),
    pytest.param(
        pending(
            waiting_reason="CreateContainerConfigError",
            waiting_message='secret "hub-token" not found',
        ),
        (),
        Reason.SECRET_NOT_FOUND,
        "Secret hub-token is missing: create it",
        id="CreateContainerConfigError: a Secret",
    ),
    pytest.param(
        pending(
            waiting_reason="CreateContainerConfigError",
            waiting_message="couldn't find key HF_TOKEN in Secret team-a/hub-token",
        ),
        (),
        Reason.SECRET_NOT_FOUND,
        "Secret hub-token has no key HF_TOKEN: add it",
        id="CreateContainerConfigError: a key of it",
    ),
    pytest.param(
        pending(
            waiting_reason="CreateContainerConfigError",
            waiting_message="container has runAsNonRoot and image will run as root",
        ),
        (),
        Reason.CONTAINER_CONFIG_ERROR,
        "runAsNonRoot",
        id="CreateContainerConfigError: anything else",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "data-training" : configmap "gsm8k" not found',
            ),
        ),
        Reason.CONFIG_MAP_NOT_FOUND,
        "ConfigMap gsm8k is missing: create it",
        id="FailedMount: a ConfigMap",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "data-training" : configmap references non-existent config key: train.jsonl',
            ),
        ),
        Reason.CONFIG_MAP_NOT_FOUND,
        "ConfigMap gsm8k has no key train.jsonl: add it",
        id="FailedMount: a key of it",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "api-key" : references non-existent secret key: api-key',
            ),
        ),
        Reason.SECRET_NOT_FOUND,
        "Secret azure-openai has no key api-key: add it",
        id="FailedMount: a key of a Secret",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "mesh" : references non-existent secret key: root',
            ),
        ),
        Reason.SECRET_NOT_FOUND,
        "Secret of volume mesh has no key root: add it",
        id="FailedMount: a key of a Secret that somebody's webhook mounts",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "api-key" : secret "azure" not found',
                ago=60,
            ),
            an_event(
                "FailedMount",
                "Unable to attach or mount volumes: timed out waiting for the condition",
                ago=5,
            ),
        ),
        Reason.SECRET_NOT_FOUND,
        "Secret azure is missing",
        id="FailedMount: of two, the one that says more",
    ),
    pytest.param(
        pending(),
        (
            an_event(
                "FailedMount",
                'MountVolume.SetUp failed for volume "claim-4" : mount failed: exit status 32',
            ),
        ),
        Reason.MOUNT_FAILED,
        "exit status 32",
        id="FailedMount: anything else",
    ),
    pytest.param(
        pending(
            unschedulable='0/1 nodes are available: persistentvolumeclaim "models" not found. preemption: not eligible'
        ),
        (),
        Reason.VOLUME_NOT_FOUND,
        'PersistentVolumeClaim models is missing: create it in the job\'s namespace (0/1 nodes are available: persistentvolumeclaim "models" not found)',
        id="a claim that is not there",
    ),
    pytest.param(
        pending(
            unschedulable='0/1 nodes are available: persistentvolumeclaim "models" not found. not found'
        ),
        (),
        Reason.VOLUME_NOT_FOUND,
        '(0/1 nodes are available: persistentvolumeclaim "models" not found)',
        id="a claim that is not there, said twice",
    ),
    pytest.param(
        pending(
            unschedulable="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        ),
        (),
        Reason.VOLUME_PENDING,
        "check its StorageClass",
        id="a claim that is pending",
    ),
    pytest.param(
        None,
        refused(
            "forbidden: exceeded quota: small, requested: limits.memory=8Gi, used: limits.memory=0, limited: limits.memory=4Gi"
        ),
        Reason.QUOTA_EXCEEDED,
        "(exceeded quota: small",
        id="a ResourceQuota",
    ),
    pytest.param(
        None,
        refused(
            "forbidden: failed quota: small: must specify limits.cpu for: trainer; limits.memory for: trainer"
        ),
        Reason.QUOTA_EXCEEDED,
        "set what it names in spec.kubernetes.resources, or add a LimitRange (failed quota: small",
        id="a ResourceQuota that demands limits",
    ),
    pytest.param(
        None,
        refused('forbidden: violates PodSecurity "restricted:latest": hostPath volumes'),
        Reason.POD_SECURITY_REFUSED,
        "hostPath volumes",
        id="Pod Security",
    ),
    pytest.param(
        None,
        refused(
            'forbidden: error looking up service account team-a/tuner: serviceaccount "tuner" not found'
        ),
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        "ServiceAccount tuner is missing",
        id="a ServiceAccount",
    ),
    pytest.param(
        None,
        refused('forbidden: admission webhook "policy.example.com" denied the request: no'),
        Reason.POD_CREATION_FAILED,
        "no",
        id="somebody's webhook",
    ),
]


@pytest.mark.parametrize(("pod", "events", "want_reason", "want_in_message"), ROWS)
def test_every_wait_is_explained(
    pod: Any, events: tuple[ObjectEvent, ...], want_reason: Reason, want_in_message: str
) -> None:
    wait = explain(pod, events, NOW, {"data-training": "gsm8k", "api-key": "azure-openai"})
    assert wait is not None
    assert wait.reason == want_reason
    assert want_in_message in wait.message
    assert "x7k2p" not in wait.message, "another name with each try would be another message"


@pytest.mark.parametrize(
    ("pod", "events"),
    [
        pytest.param(pending(), (), id="nothing is known"),
        pytest.param(a_pod(CHILD), (an_event("FailedMount", "x"),), id="it runs by now"),
        pytest.param(
            pending(),
            (an_event("FailedMount", "x", ago=30), an_event("Pulling", "y", ago=20)),
            id="the mount has come about since",
        ),
        pytest.param(pending(), (an_event("FailedMount", "x", ago=400),), id="an old story"),
        pytest.param(
            a_pod(CHILD, phase="Pending", created=-31, node="n1"), (), id="it has its node"
        ),
        pytest.param(pending(waiting_reason="ContainerCreating"), (), id="on its way"),
    ],
)
def test_nothing_is_invented(pod: Any, events: tuple[ObjectEvent, ...]) -> None:
    assert explain(pod, events, NOW, {}) is None


# In a decision

STUCK = {"unschedulable": "0/1 nodes are available: 1 Insufficient cpu."}


def _plan(age: float, *, pod: dict[str, Any] | None = None, **fields: Any) -> Plan:
    child = a_child(JOB, created=-age)
    pods = () if pod is None else (a_pod(child, phase="Pending", created=-age, **pod),)
    return decide(seen(fields.pop("job", JOB), child, pods=pods, **fields), POLICY)


def test_a_start_is_given_its_time() -> None:
    plan = _plan(1, pod=STUCK)
    assert (plan.status.message, plan.look_again_after) == ("Starting the training pod", 2)


def test_events_are_read_only_where_the_pod_does_not_say_it() -> None:
    assert _plan(10, pod=STUCK).action is None
    assert isinstance(_plan(10, pod={}).action, ReadEvents)
    action = _plan(10).action
    assert isinstance(action, ReadEvents)
    assert action.pod_uid is None


@pytest.mark.parametrize(
    ("age", "want"),
    [
        pytest.param(10, 5, id="often at first"),
        pytest.param(120, 30, id="then less"),
        pytest.param(3600, 60, id="once a minute"),
    ],
)
def test_a_wait_is_looked_at_again(age: float, want: float) -> None:
    assert _plan(age, pod=STUCK).look_again_after == want
    assert _plan(age, events=()).look_again_after == want


@pytest.mark.parametrize(
    ("age", "want_true"),
    [
        pytest.param(299, "Reconciling", id="for five minutes"),
        pytest.param(301, "Stalled", id="longer: somebody has to act"),
    ],
)
def test_a_wait_becomes_stalled(age: float, want_true: str) -> None:
    plan = _plan(age, pod=STUCK)
    got = {c.type for c in plan.status.conditions if c.status == "True"}
    assert got & {"Reconciling", "Stalled"} == {want_true}
    assert plan.status.phase == Phase.PENDING, "not terminal: it clears itself"


def test_it_clears_itself() -> None:
    stalled = conditions.waiting_for_user(Phase.PENDING, Reason.UNSCHEDULABLE, "No node fits")
    child = a_child(JOB)
    plan = decide(seen(told(JOB, stalled), child, pods=(a_pod(child),)), POLICY)
    assert plan.status.phase == Phase.RUNNING
    assert not conditions.is_true(plan.status, ConditionType.STALLED)


def test_waiting_counts_from_when_the_queue_let_go() -> None:
    child = a_child(JOB, created=-9999, started=NOW)
    assert decide(seen(JOB, child), POLICY).look_again_after == POLICY.explain_after


def test_what_the_last_try_said_is_kept_between_two_tries() -> None:
    said = conditions.working(Phase.PENDING, Reason.IMAGE_PULL_FAILED, "The exact story")
    plan = _plan(
        60,
        job=told(JOB, said),
        pod={"waiting_reason": "ImagePullBackOff", "waiting_message": UNPULLED},
    )
    assert plan.status.message == "The exact story"


def test_the_operators_own_account_is_not_the_users_to_mend() -> None:
    gone = (
        'forbidden: error looking up service account: serviceaccount "finetune-trainer" not found'
    )
    assert _plan(60, events=refused(gone)).action == EnsureAccount()
    plan = _plan(60, events=refused(gone), account_ensured=True)
    assert (plan.action, plan.status.message) == (None, "Starting the training pod")


@pytest.mark.parametrize("hosted", [False, True])
def test_prepare_pods_are_explained_too(hosted: bool) -> None:
    job = a_job(hosted=hosted)
    child = a_child(job, prepare=0, created=-20)
    message = 'MountVolume.SetUp failed for volume "data-training" : configmap "gsm8k" not found'
    pod = a_pod(child, phase="Pending", created=-20)
    events = (an_event("FailedMount", message),)
    plan = decide(seen(job, child, pods=(pod,), events=events), POLICY)
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    assert (plan.status.phase, ready.reason) == (Phase.PREPARING, Reason.CONFIG_MAP_NOT_FOUND)
