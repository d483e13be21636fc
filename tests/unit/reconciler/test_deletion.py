"""A deletion of a hosted job: cancelled in time, or let go."""

import pytest

from finetune_api.constants import FINALIZER
from finetune_operator.adapters.resources import FINETUNEJOBS
from support.rounds import WRONG_KEY, memory_of, running_hosted, stored, until, work
from support.world import NAMESPACE, World


async def test_with_credentials_gone_the_object_goes_in_time(world: World) -> None:
    await running_hosted(world)

    def refuse(when: str, operation: str) -> None:
        raise WRONG_KEY

    world.hosted.hook = refuse
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    world.deliver_all()
    began, rounds = world.time, world.rounds
    while ("finetunejobs", NAMESPACE, "tune") in world.api.objects:
        world.time = world.after(1)
        await work(world)
    assert (world.time - began).total_seconds() == pytest.approx(120, abs=1)
    assert world.rounds - rounds < 8
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
