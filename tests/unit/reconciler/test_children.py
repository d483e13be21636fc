"""What a job makes in the cluster: names that are taken, last words, accounts, TTLs, requests."""

from finetune_api.reasons import Phase, Reason
from finetune_operator.adapters.resources import (
    CONFIG_MAPS,
    FINETUNEJOBS,
    JOBS,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from finetune_operator.core import conditions
from finetune_operator.core.conditions import timestamp
from support.builders_api import pod_job
from support.rounds import reason_of, status_of, stored, until, work
from support.world import NAMESPACE, World


async def test_a_name_that_somebody_else_has_is_waited_for(world: World) -> None:
    foreign = {"kind": "ConfigMap", "metadata": {"name": "tune-result"}}
    world.api.add(CONFIG_MAPS, NAMESPACE, foreign)
    world.create_job(pod_job("tune"))
    await until(world, lambda: reason_of(world, "tune") == Reason.NAME_CONFLICT)
    assert "tune-result" in (status_of(world, "tune").message or "")
    world.api.remove(CONFIG_MAPS, world.api.current(CONFIG_MAPS, world.api.all(CONFIG_MAPS)[0]))
    world.time = world.after(999)
    await until(world, lambda: status_of(world, "tune").phase == Phase.SUCCEEDED)


async def test_a_child_that_lost_its_labels_is_not_doubled(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    (child,) = [c for c in world.api.all(JOBS) if c["metadata"]["name"].endswith("-a1")]
    world.api.change(JOBS, child, {"metadata": {"labels": None}})
    relabelled = {"metadata": {"labels": child["metadata"]["labels"]}}
    world.store.end_child(JOBS, world.api.current(JOBS, child))  # as its watch reports it
    await world.reconcile_due()
    assert reason_of(world, "tune") == Reason.NAME_CONFLICT
    world.api.change(JOBS, world.api.current(JOBS, child), relabelled)
    await work(world)
    assert reason_of(world, "tune") == Reason.RUNNING


async def test_the_last_words_of_a_deleted_pod_are_heard(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: status_of(world, "tune").phase == Phase.RUNNING)
    (pod,) = [p for p in world.api.all(PODS) if p["status"]["phase"] == "Running"]
    words = '{"code": 75, "reason": "Preempted", "message": "x", "checkpoint": {"step": 3}}'
    ended = {"exitCode": 75, "message": words, "finishedAt": timestamp(world.time)}
    told = {"name": "trainer", "state": {"terminated": ended}}
    dying = {
        "metadata": {"deletionTimestamp": timestamp(world.time), "finalizers": ["gone-soon"]},
        "status": {"phase": "Failed", "containerStatuses": [told]},
    }
    world.api.remove(PODS, world.api.change(PODS, pod, dying))
    await work(world)
    told = status_of(world, "tune").kubernetes
    assert told is not None
    assert told.checkpoint is not None
    assert told.checkpoint.step == 3
    uid = stored(world, "tune")["metadata"]["uid"]
    assert world.store.departed_pod(uid) is None, "it was read"


async def test_the_account_of_pods_is_created_anew(world: World) -> None:
    world.create_job(pod_job("first"))
    await work(world)
    world.api.remove(SERVICE_ACCOUNTS, world.api.all(SERVICE_ACCOUNTS)[0])
    (child,) = world.api.all(JOBS)
    world.api.add(
        Resource("", "v1", "events"),
        NAMESPACE,
        {
            "metadata": {"name": "e"},
            "reason": "FailedCreate",
            "message": 'Error creating: pods "x" is forbidden: error looking up service account'
            ' team-a/finetune-trainer: serviceaccount "finetune-trainer" not found',
            "involvedObject": {"kind": "Job", "uid": child["metadata"]["uid"]},
        },
    )
    world.time = world.after(10)
    await work(world)
    assert len(world.api.all(SERVICE_ACCOUNTS)) == 1


async def test_many_children_get_their_ttl_in_one_round(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    (last,) = [c for c in world.api.all(JOBS) if c["metadata"]["name"].endswith("-a1")]
    for number in range(20):
        meta = {**last["metadata"], "name": f"tune-old-{number}"}
        world.api.add(JOBS, NAMESPACE, {**last, "metadata": meta})
    world.api.change(FINETUNEJOBS, stored(world, "tune"), {"spec": {"ttlSecondsAfterFinished": 60}})
    await work(world)
    assert all(c["spec"]["ttlSecondsAfterFinished"] == 60 for c in world.api.all(JOBS))


async def test_a_job_costs_few_requests(world: World) -> None:
    world.create_job(pod_job("tune"))
    await until(world, lambda: conditions.is_finished(status_of(world, "tune")))
    writes = [request for request in world.api.requests if request[0] in ("create", "patch")]
    assert len(writes) <= 15, writes  # one of them a rehearsal
    assert not world.api.all(PODS)[0]["metadata"].get("deletionTimestamp")
