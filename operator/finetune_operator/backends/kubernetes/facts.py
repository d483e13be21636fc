"""From the API server's JSON to the values that decisions read.

Translates and nothing else: no decision, no request.
"""

from datetime import datetime
from typing import Any

from finetune_api.constants import (
    LABEL_COMPONENT,
    LABEL_KUEUE_QUEUE,
)
from finetune_operator.core.child_jobs import SPEC_DIGEST_ANNOTATION
from finetune_operator.core.conditions import parse_time
from finetune_operator.core.observed import ChildJob, ChildPod, ChildState, ObjectEvent

Json = dict[str, Any]


def is_controlled_by(obj: Json, uid: str) -> bool:
    """Whether the controller's ownerReference names this uid."""
    owners = obj["metadata"].get("ownerReferences", ())
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def _condition(obj: Json, kind: str) -> Json | None:
    """The condition of this type, if it is True."""
    conditions = obj.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), None)


def child_job(obj: Json) -> ChildJob:
    """A batch/v1 Job of ours."""
    meta, failed = obj["metadata"], _condition(obj, "Failed")
    labels, annotations = meta.get("labels", {}), meta.get("annotations", {})
    started = obj.get("status", {}).get("startTime")
    state = ChildState.ACTIVE
    if failed is not None:
        state = ChildState.FAILED
    elif _condition(obj, "Complete") is not None:
        state = ChildState.COMPLETE
    return ChildJob(
        name=meta["name"],
        uid=meta["uid"],
        component=labels.get(LABEL_COMPONENT, ""),
        created=parse_time(meta["creationTimestamp"]),
        started=parse_time(started) if started else None,
        state=state,
        message=(failed or {}).get("message", ""),
        suspended=bool(obj["spec"].get("suspend")),
        deleting="deletionTimestamp" in meta,
        queue=labels.get(LABEL_KUEUE_QUEUE),
        spec_digest=annotations.get(SPEC_DIGEST_ANNOTATION, ""),
        has_ttl=obj["spec"].get("ttlSecondsAfterFinished") is not None,
    )


def _controller(obj: Json) -> str:
    owners = obj["metadata"].get("ownerReferences", ())
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def _unschedulable(obj: Json) -> str:
    conditions = obj.get("status", {}).get("conditions") or ()
    return next(
        (
            c.get("message", "")
            for c in conditions
            if c["type"] == "PodScheduled" and c["status"] == "False"
        ),
        "",
    )


def _moment(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _container_state(obj: Json) -> Json:
    """Of our container, which is named after its component: a cluster may inject others."""
    ours = obj["metadata"].get("labels", {}).get(LABEL_COMPONENT)
    statuses = obj.get("status", {}).get("containerStatuses") or ()
    return next((each.get("state", {}) for each in statuses if each["name"] == ours), {})


def child_pod(obj: Json) -> ChildPod:
    """A pod of one of our Jobs."""
    meta, status = obj["metadata"], obj.get("status", {})
    state = _container_state(obj)
    waiting, terminated = state.get("waiting", {}), state.get("terminated", {})
    return ChildPod(
        name=meta["name"],
        uid=meta["uid"],
        job_uid=_controller(obj),
        created=parse_time(meta["creationTimestamp"]),
        phase=status.get("phase", "Pending"),
        deleting="deletionTimestamp" in meta,
        due=_moment(meta.get("deletionTimestamp")),
        node=obj["spec"].get("nodeName"),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        unschedulable=_unschedulable(obj),
        disrupted=_condition(obj, "DisruptionTarget") is not None,
        exit_code=terminated.get("exitCode"),
        exit_reason=terminated.get("reason", ""),
        last_words=terminated.get("message", ""),
        finished=_moment(terminated.get("finishedAt")),
    )


def object_event(obj: Json) -> ObjectEvent:
    """An Event about a Job or a pod."""
    when = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"]["creationTimestamp"]
    return ObjectEvent(
        reason=obj.get("reason", ""),
        message=obj.get("message", ""),
        at=parse_time(when),
    )
