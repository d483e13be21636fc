"""What the API server last said, by key: FineTuneJobs, their child Jobs and pods, their progress.

The newest resourceVersion wins, whoever brings it: a watch, a list or the answer to an own write.
It must not know who feeds it (kopf or an informer), nor what anybody does with the objects.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from finetune_api.constants import LABEL_JOB_UID
from finetune_operator.adapters.resources import JOBS, PODS, Resource
from finetune_operator.core.observed import ReportedProgress

Json = dict[str, Any]

_REMEMBERED_DELETIONS = 10_000
_FOR_EVER = 1 << 64
"""Later than any resourceVersion."""
_READ_OF_CHILDREN = frozenset({"suspend", "ttlSecondsAfterFinished", "nodeName"})
_SHORT = 40
"""Names, uids, types, times; a longer text is a sentence of its own."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Key(NamedTuple):
    """A FineTuneJob's place in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(obj: Json) -> Key:
    """The place of any namespaced object."""
    return Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def version_of(obj: Json) -> int:
    """The resourceVersion as a number: the API server's storage counts upwards."""
    return int(obj["metadata"]["resourceVersion"])


def _shared(value: Any) -> Any:
    """The same value, its names and short texts held once for all objects.

    Each JSON document brings its own, which came to a quarter of what an object takes.
    """
    match value:
        case dict():
            return {sys.intern(name): _shared(each) for name, each in value.items()}
        case list():
            return [_shared(each) for each in value]
        case str() if len(value) <= _SHORT:
            return sys.intern(value)
    return value


def trimmed(obj: Json) -> Json:
    """The object without what nobody here reads, and which is half of its memory."""
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    if _LAST_APPLIED in metadata.get("annotations", ()):
        metadata["annotations"] = {
            k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED
        }
    kept: Json = _shared({**obj, "metadata": metadata})
    return kept


def trimmed_child(obj: Json) -> Json:
    """A Job or pod without its template, containers and volumes: most of it, and never read."""
    spec = {name: value for name, value in obj["spec"].items() if name in _READ_OF_CHILDREN}
    return trimmed({**obj, "spec": spec})


class Store:
    """Everything known of the cluster, in memory; `wake` is called with each key that changed.

    `welcome`, if given, is called instead with the key of a FineTuneJob that was not known.
    """

    def __init__(
        self, wake: Callable[[Key], None], welcome: Callable[[Key], None] | None = None
    ) -> None:
        self._wake, self._welcome = wake, welcome or wake
        self._jobs: dict[Key, Json] = {}
        self._keys: dict[str, Key] = {}  # by uid of the FineTuneJob
        self._stacked: dict[Key, set[Key]] = {}  # on a FineTuneJob: those that start from it
        self._children: dict[Resource, dict[Key, Json]] = {JOBS: {}, PODS: {}}
        self._owned: dict[Resource, dict[str, set[Key]]] = {JOBS: {}, PODS: {}}
        self._progress: dict[str, ReportedProgress] = {}
        self._departed: dict[str, Json] = {}  # the last words of a pod, by uid of the FineTuneJob
        self._buried: OrderedDict[str, int] = OrderedDict()  # uid: true until this version

    # FineTuneJobs

    def job(self, key: Key) -> Json | None:
        """The newest known state of a FineTuneJob."""
        return self._jobs.get(key)

    def jobs(self) -> Iterable[Json]:
        """All FineTuneJobs."""
        return self._jobs.values()

    def hosted_parts(self, *, but: str) -> Iterator[tuple[Key, Json]]:
        """What each FineTuneJob `but` that of this uid says of its job at a hosted service."""
        for key, obj in self._jobs.items():
            part = obj.get("status", {}).get("azureOpenAI")
            if part and obj["metadata"]["uid"] != but:
                yield key, part

    def all_keys(self) -> list[Key]:
        """All keys, as a list that survives changes."""
        return list(self._jobs)

    def put_job(self, obj: Json, *, wake: bool = True) -> bool:
        """Take over a newer state; False: what is known is as new. Own writes need no waking."""
        key, uid = key_of(obj), obj["metadata"]["uid"]
        known = self._jobs.get(key)
        if self._is_buried(obj) or (known is not None and version_of(known) >= version_of(obj)):
            return False
        if known is not None and known["metadata"]["uid"] != uid:
            self._bury(known)
        self._unstack(known)
        self._jobs[key] = trimmed(obj)
        self._keys[uid] = key
        if (parent := _parent_of(obj)) is not None:
            self._stacked.setdefault(parent, set()).add(key)
        if wake:
            (self._welcome if known is None else self._wake)(key)
        self._wake_stacked(key)
        return True

    def drop_job(self, key: Key, uid: str | None = None) -> None:
        """Forget a FineTuneJob that is gone; with `uid` only if it is still that one."""
        known = self._jobs.get(key)
        if known is None or (uid is not None and known["metadata"]["uid"] != uid):
            return
        del self._jobs[key]
        self._unstack(known)
        self._bury(known)
        self._wake(key)
        self._wake_stacked(key)

    def _unstack(self, obj: Json | None) -> None:
        parent = None if obj is None else _parent_of(obj)
        if obj is None or parent is None:
            return
        stacked = self._stacked[parent]
        stacked.discard(key_of(obj))
        if not stacked:
            del self._stacked[parent]

    def _wake_stacked(self, key: Key) -> None:
        for stacked in self._stacked.get(key, ()):
            self._wake(stacked)

    def _bury(self, obj: Json, version: int = _FOR_EVER) -> None:
        """Remember the uid, so that nothing older than `version` brings the object back."""
        uid = obj["metadata"]["uid"]
        self._keys.pop(uid, None)
        self._progress.pop(uid, None)
        self._departed.pop(uid, None)
        self._buried[uid] = version
        self._buried.move_to_end(uid)
        if len(self._buried) > _REMEMBERED_DELETIONS:
            self._buried.popitem(last=False)

    def _is_buried(self, obj: Json) -> bool:
        return version_of(obj) <= self._buried.get(obj["metadata"]["uid"], -1)

    # Children

    def child_jobs(self, uid: str) -> list[Json]:
        """The batch/v1 Jobs of the FineTuneJob with this uid."""
        return self._children_of(JOBS, uid)

    def child_pods(self, uid: str) -> list[Json]:
        """The pods of the FineTuneJob with this uid."""
        return self._children_of(PODS, uid)

    def child(self, resource: Resource, key: Key) -> Json | None:
        """One child by its own place."""
        return self._children[resource].get(key)

    def _children_of(self, resource: Resource, uid: str) -> list[Json]:
        children = self._children[resource]
        return [children[key] for key in sorted(self._owned[resource].get(uid, ()))]

    def put_child(self, resource: Resource, obj: Json, *, wake: bool = True) -> bool:
        """Take over a newer state of a labelled Job or pod; False: nothing new."""
        key, uid = key_of(obj), obj["metadata"]["uid"]
        known = self._children[resource].get(key)
        if self._is_buried(obj) or (known is not None and version_of(known) >= version_of(obj)):
            return False
        if known is not None and known["metadata"]["uid"] != uid:
            self.drop_child(resource, key)
        owner = _owner_uid(obj)
        if known is not None and _owner_uid(known) != owner:  # somebody took the label away
            self._disown(resource, key, _owner_uid(known))
        self._children[resource][key] = trimmed_child(obj)
        self._owned[resource].setdefault(owner, set()).add(key)
        if wake:
            self._wake_owner(owner)
        return True

    def drop_child(
        self,
        resource: Resource,
        key: Key,
        uid: str | None = None,
        *,
        version: int = _FOR_EVER,
    ) -> None:
        """Forget a child that is gone; with `uid` only if it is still that one.

        With `version` it is only known that no labelled object was there at that time: it comes
        back if its label does.
        """
        known = self._children[resource].get(key)
        if known is None or (uid is not None and known["metadata"]["uid"] != uid):
            return
        del self._children[resource][key]
        self._bury(known, version)
        self._disown(resource, key, _owner_uid(known))

    def end_child(self, resource: Resource, obj: Json) -> None:
        """Forget a child of whose deletion, or loss of its label, a watch has told.

        What a pod said at its very end is only in this object: it is kept until it was read.
        """
        owner = _owner_uid(obj)
        if resource == PODS and owner in self._keys and "deletionTimestamp" in obj["metadata"]:
            self._departed[owner] = trimmed_child(obj)
        self.drop_child(resource, key_of(obj), obj["metadata"]["uid"], version=version_of(obj))

    def departed_pod(self, uid: str) -> Json | None:
        """The last pod that went, of the FineTuneJob with this uid, if that is news."""
        return self._departed.get(uid)

    def read_departed(self, uid: str, pod_uid: str) -> None:
        """What that pod said is in status by now."""
        departed = self._departed.get(uid)
        if departed is not None and departed["metadata"]["uid"] == pod_uid:
            del self._departed[uid]

    def _disown(self, resource: Resource, key: Key, owner: str) -> None:
        owned = self._owned[resource].get(owner, set())
        owned.discard(key)
        if not owned:
            self._owned[resource].pop(owner, None)
        self._wake_owner(owner)

    def keep_children(
        self, resource: Resource, namespace: str | None, seen: set[Key], version: int
    ) -> None:
        """Drop what a complete list of that version lacks; what is newer than it stays."""
        for key, known in list(self._children[resource].items()):
            within = namespace is None or key.namespace == namespace
            if within and key not in seen and version_of(known) <= version:
                self.drop_child(resource, key, version=version)

    def _wake_owner(self, uid: str) -> None:
        key = self._keys.get(uid)
        if key is not None:
            self._wake(key)

    # Progress

    def progress(self, uid: str) -> ReportedProgress | None:
        """The newest report of a pod of the FineTuneJob with this uid."""
        return self._progress.get(uid)

    def put_progress(self, uid: str, report: ReportedProgress) -> None:
        """Keep the newest report; whoever receives it decides when to wake the key."""
        if uid in self._keys:
            self._progress[uid] = report


def _parent_of(obj: Json) -> Key | None:
    """The FineTuneJob that this one starts from."""
    ref = obj["spec"].get("model", {}).get("jobRef")
    return None if ref is None else Key(obj["metadata"]["namespace"], ref["name"])


def _owner_uid(obj: Json) -> str:
    labels: dict[str, str] = obj["metadata"].get("labels", {})
    return labels.get(LABEL_JOB_UID, "")
