import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.queue import WorkQueue, back_off, work
from finetune_operator.core.errors import Ambiguous, Conflict, Terminal, Transient


@asynccontextmanager
async def workers(
    queue: WorkQueue[str], reconcile: Callable[[str], Awaitable[float | None]], number: int = 4
) -> Any:
    results: list[str] = []
    tasks = [
        asyncio.create_task(
            work(queue, reconcile, named=lambda _: nullcontext(), finished=results.append)
        )
        for _ in range(number)
    ]
    yield results
    queue.close()
    await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_key_is_taken_once_however_often_it_is_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    looks: list[str] = []

    async def reconcile(key: str) -> None:
        looks.append(key)

    for _ in range(5):
        queue.add("a")
    queue.add("b")
    async with workers(queue, reconcile):
        await until(lambda: len(looks) == 2)

    assert sorted(looks) == ["a", "b"]


async def test_a_newcomer_passes_those_that_wait_in_the_order_of_their_coming() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("old", "older"):
        queue.add(key)
    for key in ("new", "newer"):
        queue.add(key, ahead=True)
    queue.add("old", ahead=True)  # waits already: neither twice nor earlier

    waiting = len(queue)
    taken = [await queue.take() for _ in range(waiting)]

    assert taken == ["new", "newer", "old", "older"]
    assert len(queue) == 0


async def test_one_key_is_never_worked_on_twice_at_once_and_a_change_meanwhile_is_seen() -> None:
    queue: WorkQueue[str] = WorkQueue()
    running, most, looks = 0, 0, 0
    first = asyncio.Event()

    async def reconcile(_: str) -> None:
        nonlocal running, most, looks
        running, looks = running + 1, looks + 1
        most = max(most, running)
        if looks == 1:
            await first.wait()
        running -= 1

    async with workers(queue, reconcile):
        queue.add("a")
        await until(lambda: looks == 1)
        for _ in range(3):
            queue.add("a")
        first.set()
        await until(lambda: looks == 2)

    assert most == 1
    assert looks == 2


async def test_different_keys_are_worked_on_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    barrier = asyncio.Barrier(4)

    async def reconcile(_: str) -> None:
        await barrier.wait()

    for key in "abcd":
        queue.add(key)
    async with asyncio.timeout(5), workers(queue, reconcile) as results:
        await until(lambda: len(results) == 4)


@pytest.mark.parametrize(
    ("asked", "want_due"),
    [
        pytest.param([60.0, 30.0], 30.0, id="an earlier time replaces a later one"),
        pytest.param([30.0, 60.0], 30.0, id="a later time does not delay"),
    ],
)
async def test_the_earliest_time_wins(asked: list[float], want_due: float) -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    now = loop.time()

    for seconds in asked:
        queue.add_after("a", seconds)

    (timer,) = queue._timers.values()
    assert timer.when() - now == pytest.approx(want_due, abs=1)
    timer.cancel()


async def test_looking_now_supersedes_looking_later() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3600)

    queue.add("a")

    assert len(queue) == 1
    assert queue._timers == {}


async def test_a_key_comes_back_after_the_time_its_reconcile_asked_for() -> None:
    queue: WorkQueue[str] = WorkQueue()
    looks = 0

    async def reconcile(_: str) -> float | None:
        nonlocal looks
        looks += 1
        return 0.01 if looks < 3 else None

    queue.add("a")
    async with workers(queue, reconcile):
        await until(lambda: looks == 3)

    assert queue._timers == {}, "a finished job costs nothing"


@pytest.mark.parametrize(
    ("failures", "jitter", "want"),
    [
        pytest.param(1, 0.0, 1.0, id="first"),
        pytest.param(2, 0.0, 2.0, id="doubles"),
        pytest.param(5, 0.0, 16.0, id="doubles again"),
        pytest.param(5, 1.0, 24.0, id="jitter adds up to a half"),
        pytest.param(1000, 0.0, 300.0, id="never longer than five minutes"),
    ],
)
def test_back_off(failures: int, jitter: float, want: float) -> None:
    assert back_off(failures, jitter=jitter) == want


@pytest.mark.parametrize(
    ("error", "want_result", "want_least", "want_most"),
    [
        pytest.param(Conflict("changed"), "conflict", 0.1, 0.15, id="conflict: at once"),
        pytest.param(
            Transient(Reason.API_ERROR, "busy", retry_after=7),
            "transient",
            7.0,
            7.0,
            id="transient: when the server said",
        ),
        pytest.param(
            Terminal(Reason.INVALID_SPEC, "bad"), "error", 1.0, 1.5, id="terminal: backs off"
        ),
        pytest.param(
            Ambiguous(Reason.API_ERROR, "maybe"), "error", 1.0, 1.5, id="ambiguous: backs off"
        ),
        pytest.param(KeyError("x"), "bug", 1.0, 1.5, id="a bug does not end the worker"),
    ],
)
async def test_after_an_error(
    error: Exception, want_result: str, want_least: float, want_most: float
) -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def reconcile(_: str) -> None:
        raise error

    queue.add("a")
    async with workers(queue, reconcile) as results:
        await until(lambda: bool(results))

    (timer,) = queue._timers.values()
    left = timer.when() - asyncio.get_running_loop().time()
    timer.cancel()
    assert results == [want_result]
    assert want_least - 0.1 <= left <= want_most


async def test_success_starts_the_back_off_anew() -> None:
    queue: WorkQueue[str] = WorkQueue()
    delays = [queue.failed("a") for _ in range(4)]
    queue.succeeded("a")

    anew = queue.failed("a")
    queue.add("a")

    assert delays[3] >= 8
    assert anew <= 1.5


async def test_close_lets_running_work_finish_and_gives_out_nothing_new() -> None:
    queue: WorkQueue[str] = WorkQueue()
    go_on, finished = asyncio.Event(), []

    async def reconcile(key: str) -> None:
        await go_on.wait()
        finished.append(key)

    for key in "abc":
        queue.add(key)
    task = asyncio.create_task(
        work(queue, reconcile, named=lambda _: nullcontext(), finished=lambda _: None)
    )
    idle = asyncio.create_task(
        work(WorkQueue(), reconcile, named=lambda _: nullcontext(), finished=lambda _: None)
    )
    await until(lambda: len(queue) == 2)
    queue.close()
    go_on.set()
    await asyncio.wait_for(task, 5)
    idle.cancel()

    assert finished == ["a"]
