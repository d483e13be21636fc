"""One round at a time: what is written when things go wrong, and what is forgotten."""

from collections.abc import Callable
from typing import Any

import pytest

from finetune_api.constants import COMPONENT_TRAINER, FINALIZER, LABEL_COMPONENT
from finetune_api.job import FineTuneJob
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.adapters.resources import (
    CONFIG_MAPS,
    FINETUNEJOBS,
    JOBS,
    PODS,
    PVCS,
    SERVICE_ACCOUNTS,
    Resource,
)
from finetune_operator.adapters.store import Key, key_of
from finetune_operator.core import conditions
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.errors import (
    Ambiguous,
    Conflict,
    Declined,
    OperatorError,
    Terminal,
    Transient,
)
from finetune_operator.memory import JobMemory
from support.builders_api import changed, hosted_job, pod_job
from support.fake_api import Json
from support.world import NAMESPACE, World

WRONG_KEY = Transient(
    Reason.AUTHENTICATION_FAILED, "The key was refused", retry_after=60, waits_for_user=True
)


@pytest.fixture
def world() -> World:
    """A world in which nothing happens by itself."""
    quiet = World(0, trouble=0)
    quiet.wild = False
    return quiet


def key(name: str) -> Key:
    return Key(NAMESPACE, name)


def status_of(world: World, name: str) -> FineTuneJobStatus:
    return FineTuneJobStatus.model_validate(stored(world, name).get("status", {}))


def memory_of(world: World) -> dict[Key, JobMemory]:
    """All that the process remembers of jobs: it has to shrink again."""
    return world.reconciler._memory


def stored(world: World, name: str) -> Json:
    return world.api.objects["finetunejobs", NAMESPACE, name]


def reason_of(world: World, name: str) -> str:
    ready = conditions.get(status_of(world, name), ConditionType.READY)
    assert ready is not None
    return ready.reason


async def work(world: World) -> None:
    """Let the operator do all that can be done now."""
    world.deliver_all()
    while await world.reconcile_due():
        world.deliver_all()


async def until(world: World, met: Callable[[], object]) -> None:
    """Let the world go on until something is so."""
    for _ in range(300):
        await work(world)
        if met():
            return
        world.move()
        world.hosted.poll()
        world.time = world.after(1)
    raise AssertionError(f"it never came to that: {world.phases()}")


async def running_hosted(world: World, **spec: Any) -> None:
    world.create_job(changed(hosted_job("tune"), {f"spec.{k}": v for k, v in spec.items()}))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)


def trains(child: Json) -> bool:
    return bool(child["metadata"]["labels"][LABEL_COMPONENT] == COMPONENT_TRAINER)


def fail(world: World, resource: Resource, verb: str, error: Exception) -> None:
    """Every such request fails from now on."""

    def hook(when: str, asked: Resource, asked_verb: str) -> None:
        if when == "before" and (asked.plural, asked_verb) == (resource.plural, verb):
            raise error

    world.api.hook = hook


# What is forgotten


@pytest.mark.parametrize("heard", [True, False], ids=["the watch says so", "a write finds nothing"])
async def test_a_job_that_is_gone_leaves_nothing_behind(world: World, heard: bool) -> None:
    world.create_job(pod_job("tune"))
    await work(world)
    world.api.remove(FINETUNEJOBS, stored(world, "tune"))
    if heard:
        world.deliver_all()
    else:
        world.move()
        world.time = world.after(400)
        for child in world.api.all(JOBS):  # its end makes the next round write
            world.store.drop_child(JOBS, key_of(child))
    await work(world)
    assert world.store.job(key("tune")) is None
    assert memory_of(world) == {}


async def test_a_namesake_starts_with_nothing(world: World) -> None:
    await running_hosted(world)
    known = memory_of(world)[key("tune")]
    old = stored(world, "tune")
    world.api.change(FINETUNEJOBS, old, {"metadata": {"finalizers": []}})
    world.api.remove(FINETUNEJOBS, stored(world, "tune"))
    world.create_job(hosted_job("tune"))
    await until(world, lambda: len(world.service.jobs) == 2)
    assert memory_of(world)[key("tune")] is not known
    first, second = world.service.jobs
    assert first.suffix != second.suffix


async def test_a_namesake_is_never_written_to(world: World) -> None:
    world.create_job(pod_job("tune"))
    world.deliver_all()
    world.api.remove(FINETUNEJOBS, stored(world, "tune"))
    world.create_job(pod_job("tune"))
    with pytest.raises(Conflict):  # what is cached is the old one still
        await world.reconciler.reconcile(key("tune"))
    assert "status" not in stored(world, "tune")


# Edits that cross a round


async def test_an_edit_between_read_and_start_is_never_overrun(world: World) -> None:
    world.create_job(hosted_job("tune"))
    edits = iter([{"spec": {"hyperparameters": {"epochs": 9}}}])

    def edit(when: str, asked: Resource, verb: str) -> None:
        held = FINALIZER in stored(world, "tune")["metadata"].get("finalizers", [])
        if when == "before" and verb == "patch" and held and (change := next(edits, None)):
            world.api.change(FINETUNEJOBS, stored(world, "tune"), change)

    world.api.hook = edit
    await until(world, lambda: world.service.jobs)
    status = status_of(world, "tune")
    assert status.started_generation == stored(world, "tune")["metadata"]["generation"] == 2


async def test_an_id_is_written_down_whatever_else_changed(world: World) -> None:
    world.create_job(hosted_job("tune"))

    def label(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create"):
            patch = {"metadata": {"labels": {"touched": "yes"}}}
            world.api.change(FINETUNEJOBS, stored(world, "tune"), patch)

    world.hosted.hook = label
    await until(world, lambda: world.service.jobs)
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    assert part.job_id == "ftjob-1"


# The job's own claim


@pytest.mark.parametrize("finished", [False, True], ids=["while it runs", "once it is done"])
async def test_the_claim_follows_the_deletion_policy(world: World, finished: bool) -> None:
    def owners() -> list[str]:
        (claim,) = world.api.all(PVCS)
        return [owner["uid"] for owner in claim["metadata"].get("ownerReferences", [])]

    def edit(model: str) -> None:
        change = {"spec": {"deletionPolicy": {"model": model}}}
        world.api.change(FINETUNEJOBS, stored(world, "tune"), change)

    world.create_job(changed(pod_job("tune"), {"spec.deletionPolicy": {"model": "Delete"}}))
    phase = Phase.SUCCEEDED if finished else Phase.RUNNING
    await until(world, lambda: status_of(world, "tune").phase == phase)
    assert owners() == [stored(world, "tune")["metadata"]["uid"]]
    edit("Keep")
    await work(world)
    assert owners() == []
    edit("Delete")
    await work(world)
    assert owners() == [stored(world, "tune")["metadata"]["uid"]]


async def test_a_refused_training_job_leaves_no_claim_behind(world: World) -> None:
    """The claim outlives the job: where training never begins, there must be none."""

    def refuse(when: str, resource: Resource, verb: str) -> None:
        if (when, resource, verb) == ("before", JOBS, "create") and world.api.all(JOBS):
            raise Terminal(Reason.REQUEST_REFUSED, "spec.template.spec.affinity is invalid")

    world.api.hook = refuse
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.FAILED)
    assert len(world.api.all(JOBS)) == 1, "the prepare Job"
    assert not world.api.all(PVCS)


async def _paused(world: World, **spec: Any) -> Json:
    """At rest, with a checkpoint in its claim, which is handed back."""
    world.create_job(changed(pod_job("tune"), {f"spec.{k}": v for k, v in spec.items()}))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": True}})
    await until(world, lambda: reason_of(world, "tune") == Reason.SUSPENDED)
    (claim,) = world.api.all(PVCS)
    kubernetes = status_of(world, "tune").kubernetes
    assert kubernetes is not None
    assert kubernetes.checkpoint is not None
    return claim


def _resume(world: World) -> None:
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": False}})


async def test_a_claim_that_was_deleted_is_made_anew_and_what_it_held_is_forgotten(
    world: World,
) -> None:
    old = await _paused(world, deletionPolicy={"model": "Delete"})
    world.api.remove(PVCS, old)
    _resume(world)
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    status = status_of(world, "tune")
    assert status.attempts is not None
    assert "checkpoint of step 3: training starts" in (status.attempts[0].message or "")
    assert status.kubernetes is not None
    assert status.kubernetes.checkpoint is None
    (new,) = world.api.all(PVCS)
    owners = [owner["uid"] for owner in new["metadata"]["ownerReferences"]]
    assert owners == [stored(world, "tune")["metadata"]["uid"]], "as the policy says"


async def test_a_claim_that_is_going_is_waited_for(world: World) -> None:
    old = await _paused(world)
    in_use = {"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}}
    held = world.api.change(PVCS, old, in_use)
    world.api.start_deletion(PVCS, held)
    _resume(world)
    await until(world, lambda: reason_of(world, "tune") == Reason.VOLUME_PENDING)
    assert "is being deleted" in (status_of(world, "tune").message or "")
    world.api.remove(PVCS, world.api.current(PVCS, held))
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    status = status_of(world, "tune")
    assert status.attempt == 2
    assert status.attempts is not None
    assert "with it the checkpoint of step 3" in (status.attempts[0].message or "")


# Submissions


@pytest.mark.parametrize("policy", ["Cancel", "Keep"])
async def test_a_first_submission_is_not_kept_waiting(world: World, policy: str) -> None:
    manifest = changed(hosted_job("tune"), {"spec.deletionPolicy": {"job": policy}})
    world.create_job(manifest)
    began = world.time
    await until(world, lambda: world.service.jobs)
    assert (world.time - began).total_seconds() < 30
    held = FINALIZER in stored(world, "tune")["metadata"].get("finalizers", [])
    assert held == (policy == "Cancel")


async def test_without_a_key_nothing_is_begun(world: World) -> None:
    """Neither marker nor finalizer: the spec can be edited, and the job goes at once."""
    world.create_job(hosted_job("tune"))

    def deny(when: str, operation: str) -> None:
        if operation == "authenticate":
            raise Transient(Reason.SECRET_ACCESS_DENIED, "May not read it", waits_for_user=True)

    world.hosted.hook = deny
    await until(world, lambda: reason_of(world, "tune") == Reason.SECRET_ACCESS_DENIED)
    status = status_of(world, "tune")
    assert (status.azure_open_ai, status.attempt, status.started_generation) == (None, None, None)
    assert not stored(world, "tune")["metadata"].get("finalizers")
    world.hosted.hook = lambda when, operation: None
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    assert len(world.service.jobs) == 1


async def test_a_job_whose_status_was_lost_is_found_and_not_paid_for_twice(world: World) -> None:
    await running_hosted(world)
    lost = dict.fromkeys(stored(world, "tune")["status"])
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"status": lost})
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    (only,) = world.service.jobs
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    assert part.job_id == only.id


async def test_a_result_name_that_is_taken_is_told_before_anything_is_paid_for(
    world: World,
) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "tune-result"}}
    world.api.add(CONFIG_MAPS, NAMESPACE, foreign)
    world.create_job(hosted_job("tune"))
    await until(world, lambda: reason_of(world, "tune") == Reason.NAME_CONFLICT)
    assert world.service.jobs == []
    assert world.api.all(JOBS) == []


async def test_of_two_jobs_with_one_marker_the_oldest_stays(world: World) -> None:
    world.create_job(hosted_job("tune"))
    lost = iter([True])

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create") and next(lost, False):
            world.service.create(world.hosted.sending)  # a zombie's
            for job in world.service.jobs:
                job.shown_from = world.time
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    adopted = part.job_id
    others = [job.status for job in world.service.jobs if job.id != adopted]
    assert others == ["cancelled"]


async def created_twice(world: World, **spec: Any) -> None:
    """Running, beside a second job of its submission that cannot be cancelled."""
    world.create_job(changed(hosted_job("tune"), {f"spec.{k}": v for k, v in spec.items()}))

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("after", "create"):
            world.service.create(world.hosted.sending)
            for job in world.service.jobs:
                job.shown_from = world.time
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")
        if (when, operation) == ("before", "cancel ftjob-2"):
            raise Transient(Reason.SERVICE_UNAVAILABLE, "not now")

    world.hosted.hook = lose
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)


async def test_a_duplicate_that_cannot_be_cancelled_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await created_twice(world)
    part = status_of(world, "tune").azure_open_ai
    assert part is not None
    assert part.job_id == "ftjob-1", "it does not prevent the adoption"
    tried = memory_of(world)[key("tune")].cancelled["ftjob-2"]
    world.time = world.after(301)
    await work(world)
    assert memory_of(world)[key("tune")].cancelled["ftjob-2"] > tried
    told = [r for r in caplog.records if "ftjob-2 was submitted twice" in r.getMessage()]
    assert len(told) == 1
    world.hosted.hook = lambda when, operation: None
    world.time = world.after(301)
    await work(world)
    assert world.service.get("ftjob-2").status == "cancelled"
    assert not world.service.get("ftjob-1").over


@pytest.mark.parametrize(
    ("edit", "want"),
    [
        pytest.param({"cancel": True}, Phase.CANCELLED, id="cancel"),
        pytest.param({"activeDeadlineSeconds": 1}, Phase.FAILED, id="deadline"),
    ],
)
async def test_a_duplicate_that_cannot_be_cancelled_holds_up_no_end(
    world: World, edit: dict[str, Any], want: Phase
) -> None:
    await created_twice(world)
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": edit})
    await until(world, lambda: status_of(world, "tune").phase == want)
    assert world.service.get("ftjob-1").status == "cancelled"


async def test_a_duplicate_that_cannot_be_cancelled_holds_up_no_deletion(world: World) -> None:
    await created_twice(world)
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await until(world, lambda: ("finetunejobs", NAMESPACE, "tune") not in world.api.objects)
    assert world.service.get("ftjob-1").status == "cancelled"
    assert world.orphaned == 0


async def test_a_refused_pause_is_asked_for_slowly(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await running_hosted(world)
    asked = []

    def refuse(when: str, operation: str) -> None:
        if (when, operation) == ("before", "pause"):
            asked.append(world.time)
            raise Declined(Reason.REQUEST_REFUSED, "It does not pause ftjob-1: not this model.")

    world.hosted.hook = refuse
    world.service.jobs[0].status, world.service.jobs[0].step = "running", 1
    world.hosted.poll()
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": True}})
    for _ in range(10):
        await work(world)
        world.time = world.after(30)
        world.wake(key("tune"))
    assert len(asked) == 1
    assert "not this model" in (status_of(world, "tune").message or "")
    world.time = world.after(601)
    await work(world)
    assert len(asked) == 2
    assert len([r for r in caplog.records if "not this model" in r.getMessage()]) == 1
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": False}})
    await work(world)
    assert status_of(world, "tune").phase == Phase.RUNNING
    assert reason_of(world, "tune") == Reason.RUNNING


async def test_a_service_that_always_fails_is_quoted_and_stalls_until_it_is_well(
    world: World,
) -> None:
    world.create_job(hosted_job("tune"))
    tries = []

    def lose(when: str, operation: str) -> None:
        if (when, operation) == ("before", "create"):
            tries.append(world.time)
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "HTTP 500: out of order")

    world.hosted.hook = lose
    await until(world, lambda: len(tries) == 2)
    await until(world, lambda: conditions.is_true(status_of(world, "tune"), ConditionType.STALLED))
    assert status_of(world, "tune").message == "HTTP 500: out of order"
    world.hosted.hook = lambda when, operation: None
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    assert not conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)
    assert len(world.service.jobs) == 1


# Errors


async def test_what_cannot_be_created_ends_the_job(world: World) -> None:
    fail(world, JOBS, "create", Terminal(Reason.REQUEST_REFUSED, "spec.template is invalid"))
    world.create_job(pod_job("tune"))
    await work(world)
    assert status_of(world, "tune").phase == Phase.FAILED
    assert reason_of(world, "tune") == Reason.REQUEST_REFUSED


async def test_a_refused_status_does_not_end_the_job(world: World) -> None:
    world.create_job(pod_job("tune"))
    world.deliver_all()
    fail(world, FINETUNEJOBS, "patch", Terminal(Reason.REQUEST_REFUSED, "status is invalid"))
    with pytest.raises(Transient, match="Status was refused"):
        await world.reconciler.reconcile(key("tune"))
    world.api.hook = lambda when, resource, verb: None
    assert not conditions.is_finished(status_of(world, "tune"))


@pytest.mark.parametrize("deleting", [False, True], ids=["after the end", "while it is deleted"])
async def test_a_refusal_that_ends_nothing_is_no_endless_loop(world: World, deleting: bool) -> None:
    if deleting:
        await running_hosted(world)
        world.service.jobs[0].status = "cancelled"
        world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
        world.hosted.poll()
        refused: tuple[Resource, str] = (FINETUNEJOBS, "patch")
    else:
        world.create_job(pod_job("tune"))
        await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
        world.api.change(
            FINETUNEJOBS, stored(world, "tune"), {"spec": {"ttlSecondsAfterFinished": 5}}
        )
        refused = (JOBS, "patch")
    world.deliver_all()
    fail(world, *refused, Terminal(Reason.REQUEST_REFUSED, "no"))
    first = world.reconciler.reconcile(key("tune"))
    if not deleting:
        with pytest.raises(Terminal):  # the queue waits longer and longer
            await first
    else:
        again = await _seconds_or_error(first)
        assert again is None or again > 0


async def _seconds_or_error(round_: Any) -> float | None:
    try:
        seconds: float | None = await round_
    except OperatorError:
        return None
    return seconds


async def test_a_missing_right_is_told_and_clears_itself(world: World) -> None:
    denied = Transient(Reason.PERMISSION_DENIED, "May not create Jobs", waits_for_user=True)
    fail(world, JOBS, "create", denied)
    world.create_job(pod_job("tune"))
    await work(world)
    assert (reason_of(world, "tune"), status_of(world, "tune").phase) == (
        Reason.PERMISSION_DENIED,
        Phase.PENDING,
    )
    for _ in range(12):
        world.time = world.after(60)
        await work(world)
    assert conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)
    world.api.hook = lambda when, resource, verb: None
    world.time = world.after(999)
    await work(world)
    assert status_of(world, "tune").phase == Phase.PREPARING
    assert not conditions.is_true(status_of(world, "tune"), ConditionType.STALLED)


@pytest.mark.parametrize(
    ("trouble", "want_stalled"),
    [
        pytest.param(WRONG_KEY, True, id="401: somebody has to act"),
        pytest.param(Transient(Reason.RATE_LIMITED, "Slower"), False, id="429: passes by itself"),
        pytest.param(Transient(Reason.ENDPOINT_UNREACHABLE, "Gone"), False, id="an outage"),
    ],
)
async def test_a_poll_that_fails_is_told_and_clears_itself(
    world: World, trouble: Transient, want_stalled: bool
) -> None:
    await running_hosted(world)
    world.hosted.set_trouble(trouble)
    await work(world)
    assert reason_of(world, "tune") == trouble.reason
    assert status_of(world, "tune").phase == Phase.RUNNING
    for _ in range(25):
        world.time = world.after(15)
        await work(world)
    assert conditions.is_true(status_of(world, "tune"), ConditionType.STALLED) == want_stalled
    before = world.api.writes()
    world.time = world.after(15)
    await work(world)
    assert world.api.writes() == before, "the same trouble is told once"
    world.hosted.set_trouble(None)
    await work(world)
    assert reason_of(world, "tune") == Reason.RUNNING


async def test_a_name_that_somebody_else_has_is_waited_for(world: World) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "tune-result"}}
    world.api.add(CONFIG_MAPS, NAMESPACE, foreign)
    world.create_job(pod_job("tune"))
    await until(world, lambda: reason_of(world, "tune") == Reason.NAME_CONFLICT)
    assert "tune-result" in (status_of(world, "tune").message or "")
    world.api.remove(CONFIG_MAPS, world.api.current(CONFIG_MAPS, world.api.all(CONFIG_MAPS)[0]))
    world.time = world.after(999)
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)


async def test_a_child_that_lost_its_labels_is_not_doubled(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    (child,) = [c for c in world.api.all(JOBS) if c["metadata"]["name"].endswith("-a1")]
    world.api.change(JOBS, child, {"metadata": {"labels": None}})
    relabelled = {"metadata": {"labels": child["metadata"]["labels"]}}
    world.store.end_child(JOBS, world.api.current(JOBS, child))  # as its watch reports it
    await world.reconcile_due()
    assert reason_of(world, "tune") == Reason.NAME_CONFLICT
    world.api.change(JOBS, world.api.current(JOBS, child), relabelled)
    await work(world)
    assert reason_of(world, "tune") == Reason.RUNNING


async def test_the_last_words_of_a_deleted_pod_are_heard(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    (pod,) = [p for p in world.api.all(PODS) if p["status"]["phase"] == "Running"]
    words = '{"code": 75, "reason": "Preempted", "message": "x", "checkpoint": {"step": 3}}'
    ended = {"exitCode": 75, "message": words, "finishedAt": timestamp(world.time)}
    dying = {
        "metadata": {"deletionTimestamp": timestamp(world.time), "finalizers": ["gone-soon"]},
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]},
    }
    world.api.remove(PODS, world.api.change(PODS, pod, dying))
    await work(world)
    told = status_of(world, "tune").kubernetes
    assert told is not None
    assert told.checkpoint is not None
    assert told.checkpoint.step == 3
    uid = stored(world, "tune")["metadata"]["uid"]
    assert world.store.departed_pod(uid) is None, "it was read"


# What the person on call reads


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our own modules logged at INFO."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "INFO" and record.name.startswith("finetune_operator")
    ]


async def test_the_log_tells_of_an_attempt_and_its_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune_operator")
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)
    (child,) = [c["metadata"]["name"] for c in world.api.all(JOBS) if trains(c)]
    assert lines(caplog) == [
        f"Attempt begun: attempt=1 child={child}",
        "Ended: phase=Succeeded reason=Succeeded",
    ]


async def test_the_log_tells_of_a_pause(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    caplog.set_level("INFO", "finetune_operator")
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"suspend": True}})
    await until(world, lambda: reason_of(world, "tune") == Reason.SUSPENDED)
    assert lines(caplog) == ["Suspended"]


async def test_the_log_tells_of_a_submission_and_its_cancellation(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune_operator")
    await running_hosted(world)
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"cancel": True}})
    await until(world, lambda: status_of(world, "tune").phase == Phase.CANCELLED)
    (remote,) = [job.id for job in world.service.jobs]
    assert lines(caplog) == [
        f"Submitted: remote={remote} endpoint=my-account.openai.azure.com",
        f"The service accepted to cancel: remote={remote}",
        "Ended: phase=Cancelled reason=Cancelled",
    ]


async def test_the_account_of_pods_is_created_anew(world: World) -> None:
    world.create_job(pod_job("first"))
    await work(world)
    world.api.remove(SERVICE_ACCOUNTS, world.api.all(SERVICE_ACCOUNTS)[0])
    (child,) = world.api.all(JOBS)
    world.api.add(
        Resource("", "v1", "events"),
        NAMESPACE,
        {
            "metadata": {"name": "e"},
            "reason": "FailedCreate",
            "message": 'Error creating: pods "x" is forbidden: error looking up service account'
            ' team-a/finetune-trainer: serviceaccount "finetune-trainer" not found',
            "involvedObject": {"kind": "Job", "uid": child["metadata"]["uid"]},
        },
    )
    world.time = world.after(10)
    await work(world)
    assert len(world.api.all(SERVICE_ACCOUNTS)) == 1


# Deletion


async def test_with_credentials_gone_the_object_goes_in_time(world: World) -> None:
    await running_hosted(world)

    def refuse(when: str, operation: str) -> None:
        raise WRONG_KEY

    world.hosted.hook = refuse
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    world.deliver_all()
    began, looks = world.time, 0
    while ("finetunejobs", NAMESPACE, "tune") in world.api.objects:
        again = await world.reconciler.reconcile(key("tune"))
        world.deliver_all()
        looks += 1
        world.time = world.after(again or 0)
    assert (world.time - began).total_seconds() == pytest.approx(120, abs=1)
    assert looks < 6
    assert world.orphaned == 1
    assert memory_of(world) == {}


async def test_a_leader_that_comes_late_still_tries_to_cancel(world: World) -> None:
    await running_hosted(world)
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    world.time = world.after(86_400)
    world.start_process()
    await until(world, lambda: ("finetunejobs", NAMESPACE, "tune") not in world.api.objects)
    assert world.service.jobs[0].status == "cancelled"
    assert world.orphaned == 0


async def test_a_job_that_others_hold_is_not_polled_any_more(world: World) -> None:
    await running_hosted(world)
    meta = {"metadata": {"finalizers": [FINALIZER, "example.com/other"]}}
    world.api.change(FINETUNEJOBS, stored(world, "tune"), meta)
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await work(world)
    assert stored(world, "tune")["metadata"]["finalizers"] == ["example.com/other"]
    assert world.hosted.watched == {}


# Objects that cannot be read


def _spoil(world: World, name: str, patch: Json) -> None:
    obj = {**stored(world, name), **patch}
    world.api.objects["finetunejobs", NAMESPACE, name] = obj
    world.api.change(FINETUNEJOBS, obj, {"metadata": {"labels": {"touched": "yes"}}})


async def test_a_spec_that_cannot_be_read_is_told(world: World) -> None:
    world.create_job(pod_job("tune"))
    _spoil(world, "tune", {"spec": {"model": {}}})
    await work(world)
    assert reason_of(world, "tune") == Reason.INVALID_SPEC
    assert "spec.data" in (status_of(world, "tune").message or "")
    before = world.api.writes()
    world.wake(key("tune"))
    await work(world)
    assert world.api.writes() == before


async def test_an_end_is_not_overwritten_because_the_spec_cannot_be_read(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    _spoil(world, "tune", {"spec": {"model": {}}})
    await work(world)
    assert status_of(world, "tune").phase == Phase.SUCCEEDED


async def test_a_status_that_cannot_be_read_is_left_alone(world: World) -> None:
    world.create_job(pod_job("tune"))
    _spoil(world, "tune", {"status": {"phase": "Evaluating"}})
    await work(world)
    assert stored(world, "tune")["status"] == {"phase": "Evaluating"}


async def test_what_cannot_be_read_can_be_deleted(world: World) -> None:
    await running_hosted(world)
    _spoil(world, "tune", {"spec": {"model": {}}})
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await work(world)
    assert ("finetunejobs", NAMESPACE, "tune") not in world.api.objects
    assert world.orphaned == 1


# Housekeeping


async def test_many_children_get_their_ttl_in_one_round(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    (last,) = [c for c in world.api.all(JOBS) if c["metadata"]["name"].endswith("-a1")]
    for number in range(20):
        meta = {**last["metadata"], "name": f"tune-old-{number}"}
        world.api.add(JOBS, NAMESPACE, {**last, "metadata": meta})
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"ttlSecondsAfterFinished": 60}})
    await work(world)
    assert all(c["spec"]["ttlSecondsAfterFinished"] == 60 for c in world.api.all(JOBS))


async def test_a_job_costs_few_requests(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    writes = [request for request in world.api.requests if request[0] in ("create", "patch")]
    assert len(writes) <= 15, writes  # one of them a rehearsal
    assert not world.api.all(PODS)[0]["metadata"].get("deletionTimestamp")


def test_the_fake_objects_are_valid() -> None:
    world = World(0)
    obj = world.create_job(hosted_job("tune"))
    assert FineTuneJob.model_validate(obj).metadata.uid == "uid-1"
