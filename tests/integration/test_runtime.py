"""The runtime on a real API server: what it sees, what it leaves alone, how it ends."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.controlplane import ControlPlane
from support.kube import JOBS, Kube
from support.runtime_world import LONG_LEASE, ROLE_BINDINGS, ROLES, World, serving_plane

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with serving_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest.fixture
def world(plane: ControlPlane, tmp_path: Path) -> World:
    return World(plane, Kube(plane), tmp_path)


def test_every_job_is_seen_and_none_is_touched(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(world.job, [f"before-{n}" for n in range(100)]))
        with world.replica() as one:
            one.until(lambda: len(one.seen()) == 100)
            after = list(pool.map(world.job, [f"after-{n}" for n in range(100)]))
            one.until(lambda: len(one.seen()) == 200)
            assert one.get("/metrics")[1].count("finetune_jobs{") == 1

    want = {job["metadata"]["name"]: job["metadata"] for job in before + after}
    kept = {
        job["metadata"]["name"]: job["metadata"] for job in world.kube.list(JOBS, world.namespace)
    }
    assert kept == want, "no finalizer, no annotation, no write of any kind"


def test_changes_and_deletions_of_a_job_and_its_children_wake_it(world: World) -> None:
    job = world.job("tune")
    with world.replica() as one:
        one.until(lambda: one.seen())

        world.child(job, "tune-1")
        one.until(lambda: last(one)["children"] == ["tune-1"])
        world.delete_child("tune-1")
        one.until(lambda: last(one)["children"] == [])
        world.kube.delete(JOBS, world.namespace, "tune")
        one.until(lambda: not last(one)["known"])


def test_what_vanished_while_nobody_watched_is_noticed(world: World) -> None:
    job = world.job("tune")
    world.child(job, "tune-1")
    with world.replica(**LONG_LEASE) as one:
        one.until(lambda: one.seen() and last(one)["children"] == ["tune-1"])

        one.send(signal.SIGSTOP)
        world.delete_child("tune-1")
        with world.plane.outage():
            pass
        one.send(signal.SIGCONT)

        one.until(lambda: last(one)["children"] == [], seconds=60)
        world.job("late")
        one.until(lambda: world.key("late") in one.seen(), seconds=60)


def test_an_outage_fails_no_liveness_probe(world: World) -> None:
    with world.replica(**LONG_LEASE) as one:
        one.until(lambda: "Serving" in one.log())
        world.job("early")
        one.until(lambda: one.seen())

        with world.plane.outage():
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert one.get("/livez") == (200, "ok\n")
                time.sleep(0.2)
        world.job("late")

        one.until(lambda: world.key("late") in one.seen(), seconds=60)


def test_a_terminated_leader_finishes_its_work_and_gives_the_lease_back(world: World) -> None:
    world.job("tune")
    with world.replica(hold=2) as one:
        one.until(lambda: one.seen())
        began = time.monotonic()
        one.send(signal.SIGTERM)

        assert one.wait() == 0
        assert time.monotonic() - began < 10
        assert one.facts("finished") == [{"finished": world.key("tune")}]
        assert world.lease()["holderIdentity"] == ""


def test_work_that_does_not_end_is_not_waited_for(world: World) -> None:
    world.job("tune")
    with world.replica(hold=600) as one:
        one.until(lambda: one.seen())
        began = time.monotonic()
        one.send(signal.SIGTERM)

        assert one.wait() == 0
        assert 5 <= time.monotonic() - began < 10
        assert world.lease()["holderIdentity"] == ""


def test_another_namespaces_jobs_are_left_alone_in_namespaced_mode(
    world: World, plane: ControlPlane, tmp_path: Path
) -> None:
    """With rights in its own namespace alone: neither kopf nor we need any others."""
    other = World(plane, world.kube, tmp_path)
    user = plane.kubeconfig_for("narrow", plane.authority.issue("narrow", "narrow"))
    grant(world, "narrow")
    other.job("theirs")
    world.job("ours")

    with world.replica(kubeconfig=user) as one:
        one.until(lambda: one.seen())
        world.job("later")
        one.until(lambda: world.key("later") in one.seen())

        assert one.seen() == {world.key("ours"), world.key("later")}


def test_all_namespaces_are_served_in_cluster_mode(
    world: World, plane: ControlPlane, tmp_path: Path
) -> None:
    other = World(plane, world.kube, tmp_path)
    with world.replica(namespaces="") as one:
        world.job("ours")
        other.job("theirs")

        want = {world.key("ours"), other.key("theirs")}
        one.until(lambda: want <= one.seen())


def grant(world: World, user: str) -> None:
    """What the chart grants in a served namespace, as far as the runtime needs it."""
    watch = ["get", "list", "watch"]
    rules = [
        {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": watch},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": watch},
        {"apiGroups": [""], "resources": ["pods"], "verbs": watch},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "create", "patch"],
        },
    ]
    create: Callable[..., Any] = world.kube.create
    create(ROLES, world.namespace, {"metadata": {"name": user}, "rules": rules})
    binding = {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    create(ROLE_BINDINGS, world.namespace, binding)


def last(replica: Any) -> dict[str, Any]:
    """What the stub found when it last looked."""
    seen: dict[str, Any] = replica.facts("seen")[-1]
    return seen
