"""The claim of a job in the cluster: made, kept or deleted with it, and gone when it is needed."""

from typing import Any

import pytest

from finetune_api.reasons import Phase, Reason
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, PVCS, Resource
from finetune_operator.core.errors import Terminal
from support.builders_api import changed, pod_job
from support.fake_api import Json
from support.rounds import reason_of, status_of, stored, until, work
from support.world import World


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
