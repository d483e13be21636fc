"""Why a child Job has no running pod yet: pod states and Events in, one reason and sentence out.

Pure. The sentences say what to do; what the cluster itself said follows them.
"""

import re
from dataclasses import dataclass

from finetune_api.reasons import Reason
from finetune_operator.core.observed import ChildJob, ChildPod, ObjectEvent

_QUOTE_LIMIT = 400


@dataclass(frozen=True, kw_only=True)
class Wait:
    """An explained wait. `for_user`: somebody has to mend something, or it lasts for ever."""

    reason: Reason
    message: str
    for_user: bool


def _wait(reason: Reason, advice: str, detail: str, *, for_user: bool = True) -> Wait:
    return Wait(reason=reason, message=f"{advice} ({detail[:_QUOTE_LIMIT]})", for_user=for_user)


_CONTAINER: dict[str, tuple[Reason, str]] = {
    "ErrImagePull": (Reason.IMAGE_PULL_FAILED, "The image cannot be pulled: check its name, and imagePullSecrets"),
    "ImagePullBackOff": (Reason.IMAGE_PULL_FAILED, "The image cannot be pulled: check its name, and imagePullSecrets"),
    "InvalidImageName": (Reason.IMAGE_PULL_FAILED, "The image's name is not valid: correct it"),
    "ErrImageNeverPull": (Reason.IMAGE_PULL_FAILED, "The image is not on the node and may not be pulled: change the pull policy"),
    "CreateContainerConfigError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be configured: create what it refers to"),
    "CreateContainerError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be created: check image and settings"),
    "RunContainerError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be started: check image and settings"),
}  # fmt: skip

_MISSING: list[tuple[re.Pattern[str], Reason, str]] = [
    (re.compile(r'configmap[s]? "([^"]+)" not found'), Reason.CONFIG_MAP_NOT_FOUND, "ConfigMap {} is missing: create it in the job's namespace"),
    (re.compile(r"configmap references non-existent config key: (\S+)"), Reason.CONFIG_MAP_NOT_FOUND, "The ConfigMap has no key {}: add it, or correct the key in the manifest"),
    (re.compile(r'secret[s]? "([^"]+)" not found'), Reason.SECRET_NOT_FOUND, "Secret {} is missing: create it in the job's namespace"),
    (re.compile(r"references non-existent secret key: (\S+)"), Reason.SECRET_NOT_FOUND, "The Secret has no key {}: add it, or correct the key in the manifest"),
    (re.compile(r'persistentvolumeclaim "([^"]+)" not found'), Reason.VOLUME_NOT_FOUND, "PersistentVolumeClaim {} is missing: create it in the job's namespace"),
    (re.compile(r'serviceaccount "([^"]+)" not found'), Reason.SERVICE_ACCOUNT_NOT_FOUND, "ServiceAccount {} is missing: create it in the job's namespace"),
]  # fmt: skip


def _missing(text: str) -> Wait | None:
    for pattern, reason, advice in _MISSING:
        if found := pattern.search(text):
            return _wait(reason, advice.format(found.group(1)), text)
    return None


def _refused(message: str) -> Wait:
    """A pod that the API server did not admit: no pod exists, the Job's Events say why."""
    if missing := _missing(message):
        return missing
    if "exceeded quota" in message:
        advice = "The namespace's ResourceQuota is used up: free some, raise it, or lower resources"
        return _wait(Reason.QUOTA_EXCEEDED, advice, message)
    if "violates PodSecurity" in message:
        advice = (
            "The namespace's Pod Security level refuses the pod: change podTemplate or the level"
        )
        return _wait(Reason.POD_SECURITY_REFUSED, advice, message)
    return _wait(Reason.POD_CREATION_FAILED, "The cluster refuses to create the pod", message)


def _unscheduled(message: str) -> Wait:
    if missing := _missing(message):
        return missing
    if "unbound immediate PersistentVolumeClaims" in message:
        advice = "A PersistentVolumeClaim is not bound: check its StorageClass and size"
        return _wait(Reason.VOLUME_PENDING, advice, message)
    advice = "No node fits: check resources, nodeSelector, tolerations, and the cluster's capacity"
    return _wait(Reason.UNSCHEDULABLE, advice, message)


def _newest(events: tuple[ObjectEvent, ...], *reasons: str) -> ObjectEvent | None:
    matching = [event for event in events if event.reason in reasons]
    return max(matching, key=lambda event: event.at, default=None)


def _explain_pod(pod: ChildPod, events: tuple[ObjectEvent, ...]) -> Wait | None:
    if pod.waiting_reason in _CONTAINER:
        reason, advice = _CONTAINER[pod.waiting_reason]
        return _missing(pod.waiting_message) or _wait(reason, advice, pod.waiting_message)
    if pod.unschedulable:
        return _unscheduled(pod.unschedulable)
    if event := _newest(events, "FailedMount", "FailedAttachVolume"):
        advice = "A volume cannot be mounted: create or correct what it refers to"
        return _missing(event.message) or _wait(Reason.MOUNT_FAILED, advice, event.message)
    return None


def explain(job: ChildJob, pod: ChildPod | None, events: tuple[ObjectEvent, ...]) -> Wait | None:
    """Why this child is not running; None when nothing is known to be wrong."""
    if job.suspended:
        queue = f"queue {job.queue}" if job.queue else "its queue"
        return Wait(reason=Reason.QUEUED, message=f"Waiting in {queue} for quota", for_user=False)
    if pod is None:
        refusal = _newest(events, "FailedCreate")
        return _refused(refusal.message) if refusal else None
    return _explain_pod(pod, events) if pod.phase == "Pending" else None
