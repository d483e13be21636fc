"""The API server in memory, as far as the reconciler and its cluster backend use it.

Optimistic locking, generations, finalizers, preconditions and the status subresource as in the
real one. `hook` runs around each request: there a test loses answers, crashes, or lets time pass.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from finetune_api.reasons import Reason
from finetune_operator.adapters.refusals import AlreadyExists
from finetune_operator.adapters.resources import FINETUNEJOBS, Resource
from finetune_operator.core.conditions import timestamp
from finetune_operator.core.errors import Conflict

Json = dict[str, Any]
Place = tuple[str, str, str]
Hook = Callable[[str, Resource, str], None]
"""Takes `before` or `after`, the resource and the verb."""


def merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    base = old if isinstance(old, dict) else {}
    result = {k: v for k, v in base.items() if not (k in patch and patch[k] is None)}
    for key, value in patch.items():
        if value is not None:
            result[key] = merged(base.get(key), value)
    return result


class FakeApi:
    """Objects by kind and place; every change is told to `changed`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.version = 100
        self._count = 0
        self.objects: dict[Place, Json] = {}
        self.requests: list[tuple[str, str]] = []
        self.hook: Hook = lambda when, resource, verb: None
        self.changed: Callable[[Resource, str, Json], None] = lambda resource, kind, obj: None

    def all(self, resource: Resource) -> list[Json]:
        """Every object of a kind."""
        return [obj for (plural, _, _), obj in self.objects.items() if plural == resource.plural]

    def current(self, resource: Resource, obj: Json) -> Json:
        """The object as it is stored by now."""
        return self.objects[_place(resource, obj)]

    def writes(self) -> int:
        """How many requests so far were not reads."""
        return sum(verb not in ("get", "list") for verb, _ in self.requests)

    # What clients use

    async def get(
        self, resource: Resource, namespace: str, name: str, *, denied: Reason | None = None
    ) -> Json | None:
        return self._request(
            "get", resource, lambda: _copy(self.objects.get((resource.plural, namespace, name)))
        )

    async def list_all(
        self, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        def found() -> list[Json]:
            return [
                _copy(obj)
                for obj in self.all(resource)
                if obj["metadata"]["namespace"] == namespace and _labelled(obj, labels)
            ]

        return self._request("list", resource, found)

    async def create(
        self,
        resource: Resource,
        namespace: str,
        body: Json,
        *,
        dry_run: bool = False,
        strict: bool = False,
    ) -> Json:
        if dry_run:
            return self._request("create", resource, lambda: body)
        return self._request("create", resource, lambda: self.add(resource, namespace, body))

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        version: str | None = None,
    ) -> Json | None:
        def patch() -> Json | None:
            obj = self.objects.get((resource.plural, namespace, name))
            if obj is None:
                return None
            if version is not None and obj["metadata"]["resourceVersion"] != version:
                raise Conflict("the object has been modified")
            part = {"status": body["status"]} if subresource else {**body, "status": {}}
            return self.change(resource, obj, part)

        return self._request("patch", resource, patch)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> bool:
        def remove() -> bool:
            obj = self.objects.get((resource.plural, namespace, name))
            if obj is None or (uid is not None and obj["metadata"]["uid"] != uid):
                return False
            self.start_deletion(resource, obj, foreground=propagation == "Foreground")
            return True

        return self._request("delete", resource, remove)

    def _request(self, verb: str, resource: Resource, act: Callable[[], Any]) -> Any:
        self.requests.append((verb, resource.plural))
        self.hook("before", resource, verb)
        answer = act()
        self.hook("after", resource, verb)
        return answer

    # What the world does, and what requests come to

    def add(self, resource: Resource, namespace: str, body: Json) -> Json:
        place = (resource.plural, namespace, body["metadata"]["name"])
        if place in self.objects:
            raise AlreadyExists(f"{place} already exists")
        self._count += 1
        obj = json.loads(json.dumps(body))
        obj["metadata"] |= {
            "namespace": namespace,
            "uid": f"uid-{self._count}",
            "generation": 1,
            "creationTimestamp": timestamp(self._now()),
        }
        obj.setdefault("kind", resource.plural)
        self.objects[place] = obj
        return self._stored(resource, "ADDED", obj)

    def change(self, resource: Resource, obj: Json, patch: Json) -> Json:
        """Apply a merge patch to a stored object."""
        place = _place(resource, obj)
        patch = {k: v for k, v in patch.items() if k != "status" or v}
        new = merged(obj, patch)
        new["metadata"]["resourceVersion"] = obj["metadata"]["resourceVersion"]
        if new == obj:
            return _copy(obj)
        if new.get("spec") != obj.get("spec"):
            new["metadata"]["generation"] = obj["metadata"]["generation"] + 1
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            return self.remove(resource, new)
        self.objects[place] = new
        return self._stored(resource, "MODIFIED", new)

    def start_deletion(self, resource: Resource, obj: Json, *, foreground: bool = False) -> None:
        meta = obj["metadata"]
        if "deletionTimestamp" in meta:
            return
        finalizers = [*meta.get("finalizers", []), *(["foregroundDeletion"] if foreground else [])]
        stamp = {"deletionTimestamp": timestamp(self._now()), "finalizers": finalizers}
        self.change(resource, obj, {"metadata": stamp})

    def remove(self, resource: Resource, obj: Json) -> Json:
        """The object is gone, and with it what it owned, if it was a FineTuneJob."""
        del self.objects[_place(resource, obj)]
        gone = self._stored(resource, "DELETED", obj)
        if resource == FINETUNEJOBS:
            self._collect(obj["metadata"]["uid"])
        return gone

    def _collect(self, uid: str) -> None:
        kinds = {str(place[0]) for place in self.objects}
        for plural in kinds:
            for place, obj in list(self.objects.items()):
                owners = obj["metadata"].get("ownerReferences", ())
                if place[0] == plural and any(owner["uid"] == uid for owner in owners):
                    self.start_deletion(Resource("", "", plural), obj, foreground=plural == "jobs")

    def _stored(self, resource: Resource, kind: str, obj: Json) -> Json:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.changed(resource, kind, _copy(obj))
        return _copy(obj)


def _copy(obj: Any) -> Any:
    # What a request would do, and a third of deepcopy's time.
    return json.loads(json.dumps(obj))


def _place(resource: Resource, obj: Json) -> Place:
    return (resource.plural, obj["metadata"]["namespace"], obj["metadata"]["name"])


def _labelled(obj: Json, labels: str) -> bool:
    if not labels:
        return True
    name, _, value = labels.partition("=")
    return bool(obj["metadata"].get("labels", {}).get(name) == value)
