"""One round at a time: what a test says to a quiet world, and reads of it."""

from collections.abc import Callable
from typing import Any

from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.adapters.resources import Resource
from finetune_operator.adapters.store import Key
from finetune_operator.core import conditions
from finetune_operator.core.errors import Transient
from finetune_operator.memory import JobMemory
from support.builders_api import changed, hosted_job
from support.fake_api import Json
from support.world import NAMESPACE, World

WRONG_KEY = Transient(
    Reason.AUTHENTICATION_FAILED, "The key was refused", retry_after=60, waits_for_user=True
)


def key(name: str) -> Key:
    """The key of the job of that name."""
    return Key(NAMESPACE, name)


def stored(world: World, name: str) -> Json:
    """The object as the API server has it."""
    return world.api.objects["finetunejobs", NAMESPACE, name]


def status_of(world: World, name: str) -> FineTuneJobStatus:
    """Its status."""
    return FineTuneJobStatus.model_validate(stored(world, name).get("status", {}))


def reason_of(world: World, name: str) -> str:
    """The reason of its Ready."""
    ready = conditions.get(status_of(world, name), ConditionType.READY)
    assert ready is not None
    return ready.reason


def memory_of(world: World) -> dict[Key, JobMemory]:
    """All that the process remembers of jobs: it has to shrink again."""
    return world.reconciler._memory


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
    """A hosted job named tune that has been submitted and runs."""
    world.create_job(changed(hosted_job("tune"), {f"spec.{k}": v for k, v in spec.items()}))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)


def fail(world: World, resource: Resource, verb: str, error: Exception) -> None:
    """Every such request fails from now on."""

    def hook(when: str, asked: Resource, asked_verb: str) -> None:
        if when == "before" and (asked.plural, asked_verb) == (resource.plural, verb):
            raise error

    world.api.hook = hook
