"""Several replicas on a real API server: who leads, who waits, and who must end."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.controlplane import ControlPlane
from finetune_api.constants import LABEL_LEADER
from support.kube import Kube
from support.runtime_world import PODS, SHORT_LEASE, World, serving_plane
from support.stub_process import StubProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with serving_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def world(plane: ControlPlane, tmp_path: Path) -> World:
    return World(plane, Kube(plane), tmp_path)


def test_a_standby_takes_over_within_20_seconds_of_a_kill(world: World) -> None:
    world.job("tune")
    with world.replica("one") as one, world.replica("two") as two:
        leader, standby = in_order(one, two)
        leader.until(lambda: leader.seen())
        assert standby.seen() == set()

        leader.kill()
        took = standby.until(standby.leads)

        assert took < 20
        standby.until(lambda: standby.seen() == {world.key("tune")})


def test_a_standby_takes_over_at_once_from_a_leader_that_stops(world: World) -> None:
    with world.replica("one") as one, world.replica("two") as two:
        leader, standby = in_order(one, two)

        leader.send(signal.SIGTERM)

        assert leader.wait() == 0
        assert standby.until(standby.leads) < 5


def test_a_standby_that_is_told_to_stop_stops(world: World) -> None:
    with world.replica("one") as one, world.replica("two") as two:
        leader, standby = in_order(one, two)

        standby.send(signal.SIGTERM)

        assert standby.wait() == 0
        assert leader.leads()


def test_a_frozen_leader_does_nothing_more_when_it_wakes(world: World) -> None:
    job = world.job("tune")
    with (
        world.replica("one", **SHORT_LEASE) as one,
        world.replica("two", **SHORT_LEASE) as two,
    ):
        leader, standby = in_order(one, two)
        leader.until(lambda: leader.seen())
        looks = len(leader.facts("seen"))

        leader.send(signal.SIGSTOP)
        standby.until(standby.leads)
        world.child(job, "tune-1")  # an event that waits for the frozen one
        leader.send(signal.SIGCONT)

        assert leader.wait() == 1
        assert len(leader.facts("seen")) == looks
        assert standby.leads()


def test_after_an_outage_the_leader_ends_once_and_its_successor_waits(world: World) -> None:
    with world.replica("one", **SHORT_LEASE) as one:
        one.until(one.leads)
        with world.plane.outage():
            assert one.wait() == 1
            with world.replica("two", **SHORT_LEASE) as two:
                two.until(two.stands_by)
                until = time.monotonic() + 5
                while time.monotonic() < until:
                    assert two.running(), two.log()
                    assert two.get("/livez") == (200, "ok\n")
                    time.sleep(0.2)
                world.plane.start_api()
                two.until(two.leads)


def test_the_label_follows_the_leader(world: World) -> None:
    for name in ("one", "two"):
        world.own_pod(name)
    settings = {"progress_service": "localhost", "progress_host": "127.0.0.1", "progress_port": 0}
    with (
        world.replica("one", pod_name="one", **settings) as one,
        world.replica("two", pod_name="two", **settings) as two,
    ):
        leader, standby = in_order(one, two)
        names = {one.pid: "one", two.pid: "two"}
        leader.until(lambda: labelled(world) == [names[leader.pid]])

        leader.send(signal.SIGTERM)

        standby.until(lambda: labelled(world) == [names[standby.pid]])


def test_a_killed_leaders_label_goes_when_its_container_starts_again(world: World) -> None:
    world.own_pod("one")
    world.kube.patch(PODS, world.namespace, "one", {"metadata": {"labels": {LABEL_LEADER: "true"}}})
    with world.replica("other") as other:
        other.until(other.leads)

        with world.replica("one", pod_name="one") as one:
            one.until(lambda: labelled(world) == [])
            assert one.stands_by()


def in_order(one: StubProcess, two: StubProcess) -> tuple[StubProcess, StubProcess]:
    """Leader and standby, once one of them leads and the other waits."""
    one.until(lambda: one.leads() or two.leads())
    leader, standby = (one, two) if one.leads() else (two, one)
    standby.until(standby.stands_by)
    return leader, standby


def labelled(world: World) -> list[str]:
    pods = world.kube.list(PODS, world.namespace)
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"].get("labels", {}).get(LABEL_LEADER) == "true"
    ]
