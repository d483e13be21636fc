"""The operator is killed at each of its writes to the API server: one hosted job, Succeeded.

All rows share a kill: each row's job stands at a write of its own when the operator dies.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import pytest

from support.api_gate import ApiGate, Barrier, Moment
from support.hosted_site import Sites, condition
from support.kube import Json
from support.waiting import wait_for

pytestmark = pytest.mark.integration


@dataclass(frozen=True, kw_only=True)
class Write:
    """A request of the operator; {} is the job's name."""

    method: str = "PATCH"
    path: str = "/finetunejobs/{}/status$"
    body: str


WRITES = {
    "seen": Write(body='"observedGeneration"'),
    "prepare": Write(method="POST", path="/jobs$", body='"name":"{}-'),
    "finalizer": Write(path="/finetunejobs/{}$", body=r'"finalizers":\["'),
    "marker": Write(body='"marker"'),
    "id": Write(body='"jobID"'),
    "queued": Write(body='"phase":"Queued"'),
    "running": Write(body='"phase":"Running"'),
    "export": Write(method="POST", path="/configmaps$", body='"name":"{}-result"'),
    "success": Write(body='"phase":"Succeeded"'),
    "letting-go": Write(path="/finetunejobs/{}$", body=r'"finalizers":\[\]'),
}
"""In the order in which a job comes to them."""


class Arrival(StrEnum):
    """When a write that the dead operator sent reaches the API server."""

    IN_TIME = "in time, but its answer is lost"
    LATE = "late, when the successor begins"
    LAST = "late, when the successor is done"


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What was found after the operator was killed and its successor was done, by job."""

    answers: dict[str, int]
    """What the API server said to the first operator's writes."""
    statuses: dict[str, Json]
    remotes: dict[str, list[Json]]
    results: dict[str, dict[str, str] | None]


@pytest.fixture(scope="module")
def aftermaths(sites: Sites) -> Iterator[dict[Arrival, Future[Aftermath]]]:
    """Every way to arrive, side by side."""
    with ThreadPoolExecutor(len(Arrival)) as pool:
        yield {arrival: pool.submit(_killed, sites, arrival) for arrival in Arrival}


def _killed(sites: Sites, arrival: Arrival) -> Aftermath:
    with sites.new() as site, ApiGate(site.kube.plane, site.folder) as gate:
        moment: Moment = "after" if arrival is Arrival.IN_TIME else "before"
        barriers = {name: _barrier(gate, name, write, moment) for name, write in WRITES.items()}
        first = site.operator(kubeconfig=gate.kubeconfig).wait_until_leading()
        for name in WRITES:
            site.submit(name)
        for name, barrier in barriers.items():
            wait_for(barrier.held.is_set, f"{name} is held", told=partial(site.told, name))
        first.kill()
        with site.operator("operator-2").wait_until_leading():
            if arrival is Arrival.LATE:
                _release(gate, barriers)
            for name in WRITES:
                site.wait_for_phase(name, "Succeeded")
                site.wait_until_let_go(name)
            _release(gate, barriers)
            answers = {name: barrier.status.result(10) for name, barrier in barriers.items()}
        return Aftermath(
            answers=answers,
            statuses={name: site.status(name) for name in WRITES},
            remotes={name: site.remote(name) for name in WRITES},
            results={name: site.result(name) for name in WRITES},
        )


def _barrier(gate: ApiGate, name: str, write: Write, moment: Moment) -> Barrier:
    path, body = write.path.replace("{}", name), write.body.replace("{}", name)
    return gate.hold(write.method, path, body=body, moment=moment)


def _release(gate: ApiGate, barriers: dict[str, Barrier]) -> None:
    for barrier in barriers.values():
        gate.release(barrier)


@pytest.mark.parametrize("arrival", [pytest.param(way, id=way.value) for way in Arrival])
@pytest.mark.parametrize("name", WRITES)
def test_killed_at_a_write_one_job_is_paid_for(
    name: str, arrival: Arrival, aftermaths: dict[Arrival, Future[Aftermath]]
) -> None:
    aftermath = aftermaths[arrival].result()
    status, result = aftermath.statuses[name], aftermath.results[name]
    [remote] = aftermath.remotes[name]
    if arrival is Arrival.LAST:
        assert aftermath.answers[name] == 409, "a late write took effect"
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1)
    assert status["azureOpenAI"]["jobID"] == remote["id"]
    assert status["result"]["model"] == remote["fine_tuned_model"]
    assert condition(status, "DataValid")["status"] == "True"
    assert result is not None
    assert result["jobID"] == remote["id"]
