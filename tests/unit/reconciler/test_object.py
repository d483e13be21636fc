"""The object as it is stored: it is gone, a namesake comes, it is edited, it cannot be read."""

import pytest

from finetune_api.constants import FINALIZER
from finetune_api.reasons import Phase, Reason
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, Resource
from finetune_operator.adapters.store import key_of
from finetune_operator.core import conditions
from finetune_operator.core.errors import Conflict
from support.builders_api import hosted_job, pod_job
from support.fake_api import Json
from support.graders import a_check, a_multi, a_program
from support.rounds import key, memory_of, reason_of, running_hosted, status_of, stored, until, work
from support.world import NAMESPACE, World

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


async def test_a_rule_that_the_api_server_cannot_see_is_told_in_its_own_words(
    world: World,
) -> None:
    """Of a grader's `input`, which has no type in the schema, nothing is checked before."""
    grader = a_check(input=[{"role": "user", "content": "x"}])
    method = {"type": "Reinforcement", "reinforcement": {"grader": grader}}
    world.create_job(hosted_job("tune", method=method))
    await until(world, lambda: reason_of(world, "tune") == Reason.INVALID_SPEC)
    message = status_of(world, "tune").message or ""
    assert "`input` of a string_check grader must be a string: correct it" in message


async def test_an_end_is_not_overwritten_because_the_spec_cannot_be_read(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    _spoil(world, "tune", {"spec": {"model": {}}})
    await work(world)
    assert status_of(world, "tune").phase == Phase.SUCCEEDED


@pytest.mark.parametrize("spec", [{}, {"spec": {"model": {}}}], ids=["alone", "nor can the spec"])
async def test_a_status_that_cannot_be_read_is_left_alone(world: World, spec: Json) -> None:
    world.create_job(pod_job("tune"))
    _spoil(world, "tune", {"status": {"phase": "Evaluating"}, **spec})
    await work(world)
    assert stored(world, "tune")["status"] == {"phase": "Evaluating"}


async def test_what_cannot_be_read_can_be_deleted(world: World) -> None:
    await running_hosted(world)
    _spoil(world, "tune", {"spec": {"model": {}}})
    world.api.start_deletion(FINETUNEJOBS, stored(world, "tune"))
    await work(world)
    assert ("finetunejobs", NAMESPACE, "tune") not in world.api.objects
    assert world.orphaned == 1


async def test_a_grader_that_no_pod_can_be_given_is_refused_by_its_size(world: World) -> None:
    """Each program is short enough, but a pod's annotation carries all of them."""
    programs = {name: a_program(source="#" * 30_000) for name in ("a", "b")}
    method = {"type": "Reinforcement", "reinforcement": {"grader": a_multi("a + b", **programs)}}
    world.create_job(hosted_job("tune", method=method))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    status = status_of(world, "tune")
    assert (status.phase, reason_of(world, "tune")) == (Phase.FAILED, Reason.CONFIG_INVALID)
    assert "larger than 48 KiB in all" in (status.message or "")
