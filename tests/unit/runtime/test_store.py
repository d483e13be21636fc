import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_api.pods import TrainerStatus
from finetune_operator.adapters.resources import JOBS, PODS
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core.observed import ReportedProgress
from support.builders_cluster import a_child, a_job, a_pod

TUNE = Key("team-a", "tune")
CHILD = Key("team-a", "tune-1")


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def store(woken: list[Key]) -> Store:
    return Store(woken.append)


def a_report() -> ReportedProgress:
    return ReportedProgress(
        job_uid="child-1",
        status=TrainerStatus(progress_percentage=20),
        received_at=datetime(2026, 11, 22, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("known", "arriving", "want_version", "want_woken"),
    [
        pytest.param(None, 10, "10", 1, id="first sight: kept"),
        pytest.param(10, 11, "11", 2, id="newer: replaces"),
        pytest.param(11, 11, "11", 1, id="the watch repeats an own write: nobody is woken"),
        pytest.param(12, 11, "12", 1, id="a late watch event does not undo an own write"),
        pytest.param(9, 10, "10", 2, id="versions are numbers, not strings"),
    ],
)
def test_newest_version_wins(
    store: Store,
    woken: list[Key],
    known: int | None,
    arriving: int,
    want_version: str,
    want_woken: int,
) -> None:
    if known is not None:
        store.put_job(a_job(version=known))

    store.put_job(a_job(version=arriving))

    kept = store.job(TUNE)
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == want_version
    assert woken == [TUNE] * want_woken


def test_a_job_is_welcomed_once_whatever_becomes_of_it() -> None:
    woken: list[Key] = []
    welcomed: list[Key] = []
    store = Store(woken.append, welcomed.append)

    store.put_job(a_job(version=10))
    store.put_job(a_job(version=11))
    store.drop_job(TUNE)

    assert welcomed == [TUNE]
    assert woken == [TUNE, TUNE]


def test_own_write_is_kept_without_waking(store: Store, woken: list[Key]) -> None:
    store.put_job(a_job(version=12), wake=False)

    assert store.job(TUNE) is not None
    assert woken == []


def test_a_late_answer_does_not_bring_a_deleted_job_back(store: Store) -> None:
    store.put_job(a_job(version=10))
    store.drop_job(TUNE, "uid-1")

    taken = store.put_job(a_job(version=12))

    assert not taken
    assert store.job(TUNE) is None


def test_a_late_deletion_spares_the_namesake(store: Store) -> None:
    store.put_job(a_job(version=10, uid="old"))
    store.put_job(a_job(version=15, uid="new"))

    store.drop_job(TUNE, "old")

    kept = store.job(TUNE)
    assert kept is not None
    assert kept["metadata"]["uid"] == "new"


def test_memory_is_not_spent_on_what_nobody_reads(store: Store) -> None:
    job = a_job()
    job["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    job["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "finetune.dev/retry-requested-at": "now",
    }

    store.put_job(job)

    kept = store.job(TUNE)
    assert kept is not None
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"finetune.dev/retry-requested-at": "now"}
    assert "managedFields" in job["metadata"], "the caller's object stays as it was"


def test_what_objects_have_in_common_is_held_once(store: Store) -> None:
    texts = []
    for number in range(2):
        name = f"tune-{number}"
        obj = json.loads(json.dumps(a_job(name, uid=f"uid-{number}") | {"status": {"phase": "R"}}))
        store.put_job(obj)
        kept = store.job(Key("team-a", name))
        assert kept is not None
        texts.append([*kept, *kept["metadata"], kept["kind"], kept["metadata"]["namespace"]])

    assert all(one is other for one, other in zip(*texts, strict=True))


def test_of_a_child_only_what_is_read_of_its_spec_is_kept(store: Store) -> None:
    child = a_child()
    read = {"suspend": True, "ttlSecondsAfterFinished": 60}
    child["spec"] = {**read, "template": {"spec": {"containers": [{"name": "train"}]}}}
    store.put_child(JOBS, child)

    [kept] = store.child_jobs("uid-1")

    assert kept["spec"] == read
    assert "template" in child["spec"], "the caller's object stays as it was"


def test_children_are_found_by_their_owners_uid(store: Store, woken: list[Key]) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child())
    store.put_child(JOBS, a_child("other-1", uid="child-2", of="uid-2"))
    store.put_child(PODS, a_pod())

    assert [c["metadata"]["name"] for c in store.child_jobs("uid-1")] == ["tune-1"]
    assert [c["metadata"]["name"] for c in store.child_pods("uid-1")] == ["tune-1-abc"]
    assert woken == [TUNE] * 3, "the job, its child and its pod; not the stranger's child"


def test_a_child_whose_label_is_moved_changes_hands(store: Store, woken: list[Key]) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child())
    woken.clear()

    store.put_child(JOBS, a_child(of="uid-2", version=900))

    assert store.child_jobs("uid-1") == []
    assert [c["metadata"]["name"] for c in store.child_jobs("uid-2")] == ["tune-1"]
    assert woken == [TUNE], "whoever lost it has to look"
    store.drop_child(JOBS, Key("team-a", "tune-1"))
    assert store.child_jobs("uid-1") == store.child_jobs("uid-2") == []


def test_deleted_child_wakes_its_owner(store: Store, woken: list[Key]) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child())
    woken.clear()

    store.drop_child(JOBS, Key("team-a", "tune-1"))

    assert woken == [TUNE]
    assert store.child_jobs("uid-1") == []


def test_late_news_of_a_deletion_does_not_drop_the_next_child_of_that_name(store: Store) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child(version=40, uid="child-2"))

    store.drop_child(JOBS, Key("team-a", "tune-1"), "child-1")

    assert [child["metadata"]["uid"] for child in store.child_jobs("uid-1")] == ["child-2"]


@pytest.mark.parametrize(
    ("namespace", "seen", "list_version", "want"),
    [
        pytest.param(None, set(), 50, [], id="the list lacks it: gone"),
        pytest.param(None, {Key("team-a", "tune-1")}, 50, ["tune-1"], id="listed: stays"),
        pytest.param(None, set(), 15, ["tune-1"], id="created after the list: stays"),
        pytest.param("team-b", set(), 50, ["tune-1"], id="another namespace's list: stays"),
        pytest.param("team-a", set(), 50, [], id="its own namespace's list lacks it: gone"),
    ],
)
def test_a_full_list_replaces(
    store: Store, namespace: str | None, seen: set[Key], list_version: int, want: list[str]
) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child(version=20))

    store.keep_children(JOBS, namespace, seen, list_version)

    assert [child["metadata"]["name"] for child in store.child_jobs("uid-1")] == want


def test_progress_ends_with_its_job(store: Store) -> None:
    store.put_job(a_job())
    store.put_progress("uid-1", a_report())
    assert store.progress("uid-1") is not None

    store.drop_job(TUNE)
    store.put_progress("uid-1", a_report())

    assert store.progress("uid-1") is None


# What went


def test_a_child_whose_label_comes_back_is_seen_again(store: Store, woken: list[Key]) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child(version=20))
    store.end_child(JOBS, a_child(version=25))  # as a watch by label tells of its removal
    woken.clear()

    assert store.put_child(JOBS, a_child(version=26))

    assert [child["metadata"]["name"] for child in store.child_jobs("uid-1")] == ["tune-1"]
    assert woken == [TUNE]


@pytest.mark.parametrize(
    ("gone", "late", "want"),
    [
        pytest.param(lambda s: s.end_child(JOBS, a_child(version=25)), 24, [], id="older news"),
        pytest.param(
            lambda s: s.drop_child(JOBS, CHILD), 99, [], id="asked for by name: gone for good"
        ),
        pytest.param(
            lambda s: s.keep_children(JOBS, None, set(), 30), 30, [], id="as old as the list"
        ),
        pytest.param(
            lambda s: s.keep_children(JOBS, None, set(), 30), 31, ["tune-1"], id="after the list"
        ),
    ],
)
def test_what_brings_a_child_back(
    store: Store, gone: Callable[[Store], None], late: int, want: list[str]
) -> None:
    store.put_job(a_job())
    store.put_child(JOBS, a_child(version=20))
    gone(store)

    store.put_child(JOBS, a_child(version=late))

    assert [child["metadata"]["name"] for child in store.child_jobs("uid-1")] == want


def a_dying_pod(uid: str = "pod-1", version: int = 40) -> dict[str, Any]:
    pod = a_pod(uid=uid, version=version)
    pod["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    pod["status"] = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {}}}]}
    return pod


def test_a_pod_that_went_is_kept_as_it_was_at_its_end_until_it_was_read(
    store: Store, woken: list[Key]
) -> None:
    store.put_job(a_job())
    store.put_child(PODS, a_pod())
    woken.clear()

    store.end_child(PODS, a_dying_pod())

    assert woken == [TUNE]
    assert store.child_pods("uid-1") == []
    departed = store.departed_pod("uid-1")
    assert departed is not None
    assert departed["status"]["phase"] == "Failed"
    store.read_departed("uid-1", "another pod")
    assert store.departed_pod("uid-1") is not None
    store.read_departed("uid-1", "pod-1")
    assert store.departed_pod("uid-1") is None


def test_of_the_pods_that_went_only_the_last_is_kept_and_ends_with_its_job(store: Store) -> None:
    store.put_job(a_job())
    store.end_child(PODS, a_dying_pod("pod-1", 40))
    store.end_child(PODS, a_dying_pod("pod-2", 41))
    departed = store.departed_pod("uid-1")
    assert departed is not None
    assert departed["metadata"]["uid"] == "pod-2"

    store.drop_job(TUNE)
    store.end_child(PODS, a_dying_pod("pod-3", 42))

    assert store.departed_pod("uid-1") is None


def test_a_pod_that_only_lost_its_label_has_not_ended(store: Store) -> None:
    store.put_job(a_job())

    store.end_child(PODS, a_pod())

    assert store.departed_pod("uid-1") is None


def stacked(version: int = 10, on: str | None = "sft", **more: Any) -> dict[str, Any]:
    """The job that starts from another one's result."""
    job = a_job("dpo", version=version, uid="uid-dpo", **more)
    job["spec"] = {"model": {"jobRef": {"name": on}} if on else {}}
    return job


@pytest.mark.parametrize(
    ("change", "want"),
    [
        pytest.param(
            lambda store: store.put_job(a_job("sft", version=30, uid="uid-sft"), wake=False),
            True,
            id="by a status of the parent that we wrote ourselves",
        ),
        pytest.param(lambda store: store.drop_job(Key("team-a", "sft")), True, id="when it goes"),
        pytest.param(
            lambda store: store.put_job(a_job("other", uid="uid-o")), False, id="not by another job"
        ),
    ],
)
def test_a_stacked_job_is_woken(
    store: Store, woken: list[Key], change: Callable[[Store], Any], want: bool
) -> None:
    store.put_job(stacked())
    store.put_job(a_job("sft", version=20, uid="uid-sft"))
    woken.clear()

    change(store)

    assert (Key("team-a", "dpo") in woken) is want


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda store: store.drop_job(Key("team-a", "dpo")), id="it went"),
        pytest.param(lambda store: store.put_job(stacked(12, on=None)), id="it names a model now"),
    ],
)
def test_a_job_that_is_stacked_no_more_is_left_alone(
    store: Store, woken: list[Key], change: Callable[[Store], Any]
) -> None:
    store.put_job(stacked())
    change(store)
    woken.clear()

    store.put_job(a_job("sft", version=20, uid="uid-sft"))

    assert woken == [Key("team-a", "sft")]
