import asyncio
import time as real_time
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.lease import Leadership, LeadershipLost, LeaseTimes
from finetune_operator.adapters.refusals import AlreadyExists
from finetune_operator.adapters.resources import Resource
from finetune_operator.core.errors import Conflict, Transient

Json = dict[str, Any]

TIMES = LeaseTimes(duration=10, renew_deadline=7, retry=2)


class FakeLeases:
    """One Lease with optimistic locking, as the API server keeps it; `down` answers nothing."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.down = False
        self.hangs = False
        self.loses_answers = False
        self.requests = 0

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        await self._asked()
        return self.lease

    async def create(self, resource: Resource, namespace: str, body: Json) -> Json:
        await self._asked()
        if self.lease is not None:
            raise AlreadyExists("exists")
        self._store(body["spec"], version=1)
        return self._answer()

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, body: Json, *, version: str
    ) -> Json | None:
        await self._asked()
        if self.lease is None:
            return None
        if self.lease["metadata"]["resourceVersion"] != version:
            raise Conflict("changed")
        self._store(self.lease["spec"] | body["spec"], version=int(version) + 1)
        return self._answer()

    def touch(self) -> None:
        """Somebody writes a label: another version of the same claim."""
        assert self.lease is not None
        self._store(self.lease["spec"], version=int(self.lease["metadata"]["resourceVersion"]) + 1)

    @property
    def holder(self) -> str:
        assert self.lease is not None
        holder: str = self.lease["spec"]["holderIdentity"]
        return holder

    async def _asked(self) -> None:
        self.requests += 1
        if self.hangs:
            await asyncio.sleep(3600)
        if self.down:
            raise Transient(Reason.API_ERROR, "no API server")

    def _answer(self) -> Json:
        if self.loses_answers:
            raise Transient(Reason.API_ERROR, "the answer was lost")
        assert self.lease is not None
        return self.lease

    def _store(self, spec: Json, *, version: int) -> None:
        self.lease = {"metadata": {"resourceVersion": str(version)}, "spec": dict(spec)}


class Stopped(Exception):
    pass


class FakeTime:
    """Sleeping moves the clock; `script` says what happens at which second, or stops the loop."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.script: dict[float, Any] = {}
        self.ends_at = float("inf")

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in sorted(self.script):
            if at <= self.now:
                self.script.pop(at)()
        if self.now >= self.ends_at:
            raise Stopped


def a_replica(api: FakeLeases, time: FakeTime, name: str = "one") -> Leadership:
    return Leadership(
        api,
        namespace="ops",
        name="lease",
        identity=name,
        times=TIMES,
        clock=time.clock,
        sleep=time.sleep,
    )


async def test_the_first_takes_it_at_once_and_has_the_whole_lease() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    assert leader.time_left() <= 0

    await leader.acquire()

    assert api.holder == "one"
    assert time.now == 1000
    assert leader.time_left() == 10


async def test_a_standby_waits_until_the_lease_was_silent_before_its_own_eyes() -> None:
    api, time = FakeLeases(), FakeTime()
    await a_replica(api, time).acquire()
    time.now += 3600  # the standby starts much later: old news is no proof of silence
    began = time.now

    await a_replica(api, time, "two").acquire()

    assert api.holder == "two"
    assert 10 < time.now - began <= 10 + 2 * TIMES.retry


async def test_a_standby_never_takes_a_lease_that_is_renewed() -> None:
    api, time = FakeLeases(), FakeTime()
    leader, standby = a_replica(api, time), a_replica(api, time, "two")
    await leader.acquire()
    time.script = {1000.0 + 3 * n: api.touch for n in range(1, 100)}
    time.ends_at = 1290

    with pytest.raises(Stopped):
        await standby.acquire()

    assert api.holder == "one"


async def test_a_lease_given_back_is_taken_at_once() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()

    await leader.release()
    assert leader.time_left() <= 0
    await a_replica(api, time, "two").acquire()

    assert api.holder == "two"
    assert time.now == 1000


async def test_of_two_that_see_it_free_one_wins() -> None:
    api, time = FakeLeases(), FakeTime()
    first, second = a_replica(api, time), a_replica(api, time, "two")
    await first.acquire()
    await first.release()
    time.ends_at = 1004

    await second.acquire()
    with pytest.raises(Stopped):
        await first.acquire()

    assert api.holder == "two"


async def test_a_claim_whose_answer_was_lost_is_ours_at_the_next_look() -> None:
    api, time = FakeLeases(), FakeTime()
    api.loses_answers = True
    time.script = {1002.0: lambda: setattr(api, "loses_answers", False)}

    leader = a_replica(api, time)
    await leader.acquire()

    assert time.now == 1002
    assert leader.time_left() == 10


async def test_renewing_keeps_it() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()
    time.ends_at = 1100

    with pytest.raises(Stopped):
        await leader.hold()

    assert leader.time_left() == 10 - TIMES.retry
    assert api.holder == "one"


async def test_without_an_api_server_the_leader_gives_up_before_the_lease_ends() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()
    api.down = True

    with pytest.raises(LeadershipLost):
        await leader.hold()

    assert 7 <= time.now - 1000 < 10
    assert leader.time_left() > 0, "it stopped while nobody else could lead"


async def test_an_api_server_that_hangs_is_no_different_from_none() -> None:
    api = FakeLeases()
    times = LeaseTimes(duration=2.0, renew_deadline=0.3, retry=0.02)
    leader = Leadership(api, namespace="ops", name="lease", identity="one", times=times)
    await leader.acquire()
    api.hangs, began = True, real_time.monotonic()

    with pytest.raises(LeadershipLost):
        await leader.hold()

    assert 0.25 < real_time.monotonic() - began < 2.0


async def test_a_standby_whose_request_hangs_asks_again() -> None:
    api = FakeLeases()
    times = LeaseTimes(duration=0.1, renew_deadline=0.05, retry=0.01)
    standby = Leadership(api, namespace="ops", name="lease", identity="two", times=times)
    api.hangs = True
    waiting = asyncio.create_task(standby.acquire())
    await asyncio.sleep(0.02)
    api.hangs = False

    await asyncio.wait_for(waiting, 2)

    assert api.holder == "two"


async def test_a_leader_that_was_frozen_finds_nothing_left() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()

    time.now += 30

    assert leader.time_left() == -20
    before = api.requests
    with pytest.raises(LeadershipLost):
        await leader.hold()
    assert api.requests == before, "a zombie writes nothing"


async def test_another_holder_means_lost_at_once() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()
    assert api.lease is not None
    api.lease["spec"]["holderIdentity"] = "two"
    api.touch()

    with pytest.raises(LeadershipLost):
        await leader.hold()

    assert time.now == 1002


async def test_a_label_on_the_lease_is_no_loss() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()
    time.script = {1001.0: api.touch}
    time.ends_at = 1010

    with pytest.raises(Stopped):
        await leader.hold()

    assert leader.time_left() >= 10 - 2 * TIMES.retry


async def test_an_outage_before_leading_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    api, time = FakeLeases(), FakeTime()
    api.down = True
    time.script = {1600.0: lambda: setattr(api, "down", False)}

    await a_replica(api, time).acquire()

    assert api.holder == "one"
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


async def test_giving_back_never_fails() -> None:
    api, time = FakeLeases(), FakeTime()
    leader = a_replica(api, time)
    await leader.acquire()
    api.down = True

    await leader.release()

    assert leader.time_left() <= 0
