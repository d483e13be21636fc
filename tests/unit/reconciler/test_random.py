"""Whatever happens in whatever order: one hosted job an attempt, ends that last, no endless rounds.

Each seed is another history of crashes, lost answers, lagging watches and changes of mind.
"""

from collections import Counter

import pytest

from finetune_api.constants import COMPONENT_TRAINER, FINALIZER, LABEL_COMPONENT
from finetune_api.job import FineTuneJob
from finetune_api.status import FineTuneJobStatus
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS
from finetune_operator.adapters.store import key_of
from finetune_operator.core import conditions
from support.builders_api import hosted_job, pod_job
from support.fake_api import Json
from support.world import World

MANIFESTS = (
    hosted_job("hosted"),
    hosted_job("kept", deletionPolicy={"job": "Keep", "model": "Keep"}),
    pod_job("pods"),
    pod_job("queued", kubernetes={"queueName": "team"}, ttlSecondsAfterFinished=60),
)


class Watcher:
    """Checks after every step what must hold at every moment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ends: dict[str, tuple[str | None, int]] = {}

    def check(self) -> None:
        for obj, status in self._world.statuses():
            self._check_end(obj, status)
            _check_conditions(status)
        self._check_hosted()
        self._check_children()

    def _check_end(self, obj: Json, status: FineTuneJobStatus) -> None:
        """What is over stays over, unless a new retry token was acknowledged."""
        uid = obj["metadata"]["uid"]
        if conditions.is_finished(status):
            self._ends[uid] = (status.last_handled_retry_at, status.attempt or 0)
        elif uid in self._ends:
            token, _ = self._ends.pop(uid)
            assert status.last_handled_retry_at != token

    def _check_hosted(self) -> None:
        """Money is spent once: no marker was ever used twice."""
        assert max(Counter(job.suffix for job in self._world.service.jobs).values(), default=0) <= 1

    def _check_children(self) -> None:
        """Two trainers never share a volume."""
        running = Counter(
            child["metadata"]["ownerReferences"][0]["uid"]
            for child in self._world.api.all(JOBS)
            if child["metadata"]["labels"][LABEL_COMPONENT] == COMPONENT_TRAINER
            and not child.get("status", {}).get("conditions")
        )
        assert max(running.values(), default=0) <= 1


def _check_conditions(status: FineTuneJobStatus) -> None:
    """One row of the table of states fits."""
    if not status.conditions:
        return
    is_true = {c.type for c in status.conditions if c.status is conditions.TRUE}
    reconciling, stalled = "Reconciling" in is_true, "Stalled" in is_true
    assert not (reconciling and stalled)
    if conditions.is_finished(status):
        assert ("Ready" in is_true) == ("Succeeded" in is_true) == (not stalled)
        assert not reconciling
    else:
        assert reconciling or stalled or "Suspended" in is_true
        assert "Ready" not in is_true


def _check_rest(world: World) -> None:
    """Nothing runs that nobody waits for, and nothing is held that is over."""
    for obj, status in world.statuses():
        spec = obj["spec"]
        assert status.observed_generation == obj["metadata"]["generation"]
        assert conditions.is_finished(status) or spec.get("suspend"), world.phases()
        if conditions.is_finished(status):
            assert FINALIZER not in obj["metadata"].get("finalizers", [])
            assert status.completion_time is not None
            assert all(attempt.end_time for attempt in status.attempts or ())
    owners = {obj["metadata"]["uid"] for obj in world.api.all(FINETUNEJOBS)}
    for child in world.api.all(JOBS):
        assert child.get("status", {}).get("conditions"), child
        assert child["metadata"]["ownerReferences"][0]["uid"] in owners


@pytest.mark.parametrize("seed", range(16))
async def test_every_history_ends_well(seed: int) -> None:
    world = World(seed)
    watcher = Watcher(world)
    for manifest in MANIFESTS:
        world.create_job(manifest)
    async for _ in world.live(150):
        watcher.check()
    await world.settle(3000, watcher.check)
    _check_rest(world)
    assert not _running_for_nobody(world)


def _running_for_nobody(world: World) -> list[str]:
    """Hosted jobs that go on although the FineTuneJob is over."""
    wanted = set()
    for _, status in world.statuses():
        part = status.azure_open_ai
        if part and part.job_id and not conditions.is_finished(status):
            wanted.add(part.job_id)
    running = {job.id for job in world.service.active()}
    deleted = len(MANIFESTS) - len(world.statuses())
    return sorted(running - wanted) if not deleted else []


async def test_a_settled_world_is_left_alone() -> None:
    world = World(1, trouble=0)
    world.wild = False
    for manifest in MANIFESTS:
        world.create_job(manifest)
    await world.settle(1000, lambda: None)
    got = {obj["metadata"]["name"]: status.phase for obj, status in world.statuses()}
    assert got == dict.fromkeys(("hosted", "kept", "pods", "queued"), "Succeeded")
    before = world.api.writes()
    for obj in world.api.all(FINETUNEJOBS):
        world.wake(key_of(obj))
    while await world.reconcile_due():
        pass
    assert world.api.writes() == before


def test_the_fake_objects_are_valid() -> None:
    world = World(0)
    obj = world.create_job(hosted_job("tune"))
    assert FineTuneJob.model_validate(obj).metadata.uid == "uid-1"
