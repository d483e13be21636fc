"""Objects as the API server serves them, valid and small; a test names only what it is about."""

from typing import Any

from finetune_api.constants import (
    API_VERSION,
    KIND,
    LABEL_JOB_NAME,
    LABEL_JOB_UID,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)

Json = dict[str, Any]


def metadata(name: str, *, version: int, uid: str, namespace: str = "team-a") -> Json:
    return {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": str(version),
        "generation": 1,
    }


def a_job(
    name: str = "tune", *, version: int = 10, uid: str = "uid-1", namespace: str = "team-a"
) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata(name, version=version, uid=uid, namespace=namespace),
        "spec": {},
    }


def a_child(
    name: str = "tune-1",
    *,
    version: int = 20,
    uid: str = "child-1",
    of: str = "uid-1",
    namespace: str = "team-a",
) -> Json:
    """A child Job; pods are alike as far as the store goes."""
    meta = metadata(name, version=version, uid=uid, namespace=namespace)
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_JOB_UID: of, LABEL_JOB_NAME: "tune"}
    owner = {"kind": KIND, "name": "tune", "uid": of, "controller": True}
    meta = {**meta, "labels": labels, "ownerReferences": [owner]}
    return {"metadata": meta, "spec": {"suspend": False}}


def a_pod(
    name: str = "tune-1-abc",
    *,
    version: int = 30,
    uid: str = "pod-1",
    child: str = "child-1",
    of: str = "uid-1",
    namespace: str = "team-a",
) -> Json:
    pod = a_child(name, version=version, uid=uid, of=of, namespace=namespace)
    owner = {"kind": "Job", "name": "tune-1", "uid": child, "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    return pod
