"""Why a child Job has no running pod yet: pod states and Events in, one reason and sentence out.

Pure. The sentences say what to do; what the cluster itself said follows them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetune_api.reasons import Reason
from finetune_operator.core.observed import ChildPod, ObjectEvent

_QUOTE_LIMIT = 400
_NOT_MOUNTED = ("FailedMount", "FailedAttachVolume")
_MOUNT_TRIED_EVERY = timedelta(minutes=5)
"""More than the kubelet's longest pause (2 minutes and 2 seconds) and its Event's delay."""


_SCHEDULED_WITHIN = timedelta(seconds=30)
"""A scheduler that sees a pod says so at once, also where no node fits."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """An explained wait: somebody has to mend something, or it lasts for ever."""

    reason: Reason
    message: str
    repeated: bool = False
    """Said between two tries of the kubelet: whatever was said of the last try tells more."""


def _wait(reason: Reason, advice: str, detail: str, *, repeated: bool = False) -> Wait:
    message = f"{advice} ({detail[:_QUOTE_LIMIT]})" if detail else advice
    return Wait(reason=reason, message=message, repeated=repeated)


_CONTAINER: dict[str, tuple[Reason, str]] = {
    "ErrImagePull": (Reason.IMAGE_PULL_FAILED, "The image cannot be pulled: check its name, and imagePullSecrets"),
    "ImagePullBackOff": (Reason.IMAGE_PULL_FAILED, "The image cannot be pulled: check its name, and imagePullSecrets"),
    "RegistryUnavailable": (Reason.IMAGE_PULL_FAILED, "The image's registry cannot be reached: check the image's name and the network"),
    "SignatureValidationFailed": (Reason.IMAGE_PULL_FAILED, "The image's signature is not accepted: use a signed image"),
    "InvalidImageName": (Reason.IMAGE_PULL_FAILED, "The image's name is not valid: correct it"),
    "ErrImageNeverPull": (Reason.IMAGE_PULL_FAILED, "The image is not on the node and may not be pulled: change the pull policy"),
    "CreateContainerConfigError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be configured: create what it refers to"),
    "CreateContainerError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be created: check image and settings"),
    "RunContainerError": (Reason.CONTAINER_CONFIG_ERROR, "The container cannot be started: check image and settings"),
}  # fmt: skip

_CREATE = "is missing: create it in the job's namespace"
_ADD = "add it, or correct the key in the manifest"
_MISSING: list[tuple[re.Pattern[str], Reason, str]] = [
    (re.compile(r'configmap[s]? "(?P<name>[^"]+)" not found'), Reason.CONFIG_MAP_NOT_FOUND, f"ConfigMap {{name}} {_CREATE}"),
    (re.compile(r'volume "(?P<volume>[^"]+)" : .*references non-existent config key: (?P<key>\S+)'), Reason.CONFIG_MAP_NOT_FOUND, f"ConfigMap {{name}} has no key {{key}}: {_ADD}"),
    (re.compile(r"couldn't find key (?P<key>\S+) in ConfigMap [^/\s]+/(?P<name>\S+)"), Reason.CONFIG_MAP_NOT_FOUND, f"ConfigMap {{name}} has no key {{key}}: {_ADD}"),
    (re.compile(r'secret[s]? "(?P<name>[^"]+)" not found'), Reason.SECRET_NOT_FOUND, f"Secret {{name}} {_CREATE}"),
    (re.compile(r'volume "(?P<volume>[^"]+)" : .*references non-existent secret key: (?P<key>\S+)'), Reason.SECRET_NOT_FOUND, f"Secret {{name}} has no key {{key}}: {_ADD}"),
    (re.compile(r"couldn't find key (?P<key>\S+) in Secret [^/\s]+/(?P<name>\S+)"), Reason.SECRET_NOT_FOUND, f"Secret {{name}} has no key {{key}}: {_ADD}"),
    (re.compile(r'persistentvolumeclaims? "(?P<name>[^"]+)" not found'), Reason.VOLUME_NOT_FOUND, f"PersistentVolumeClaim {{name}} {_CREATE}"),
    (re.compile(r'serviceaccount "(?P<name>[^"]+)" not found'), Reason.SERVICE_ACCOUNT_NOT_FOUND, f"ServiceAccount {{name}} {_CREATE}"),
]  # fmt: skip


_TRY = re.compile(r'^Error creating: (pods "[^"]*" is forbidden: )?')
"""Names a pod that never was, another one with each try."""


_TWICE = re.compile(r"not found\.( not found\.?)?$")
"""How the scheduler ends what it says of a claim that is not there."""


def _missing(text: str, mounted: Mapping[str, str]) -> Wait | None:
    """The kubelet names the volume that lacks a key; `mounted` says what it shows."""
    for pattern, reason, advice in _MISSING:
        if found := pattern.search(text):
            said = found.groupdict()
            volume = said.get("volume", "")
            name = said.get("name") or mounted.get(volume, f"of volume {volume}")
            return _wait(reason, advice.format(name=name, key=said.get("key")), text)
    return None


def _refused(message: str) -> Wait:
    """A pod that the API server did not admit: no pod exists, the Job's Events say why."""
    message = _TRY.sub("", message)
    if missing := _missing(message, {}):
        return missing
    if "exceeded quota" in message:
        advice = "The namespace's ResourceQuota is used up: free some, raise it, or lower resources"
        return _wait(Reason.QUOTA_EXCEEDED, advice, message)
    if "failed quota" in message:
        advice = (
            "The namespace's ResourceQuota demands requests or limits that the pod lacks: set what"
            " it names in spec.kubernetes.resources, or add a LimitRange"
        )
        return _wait(Reason.QUOTA_EXCEEDED, advice, message)
    if "violates PodSecurity" in message:
        advice = (
            "The namespace's Pod Security level refuses the pod: change podTemplate or the level"
        )
        return _wait(Reason.POD_SECURITY_REFUSED, advice, message)
    advice = "The cluster refuses to create the pod: correct what it names"
    return _wait(Reason.POD_CREATION_FAILED, advice, message)


def _unscheduled(message: str) -> Wait:
    message = message.partition(" preemption:")[0]
    if missing := _missing(_TWICE.sub("not found", message), {}):
        return missing
    if "unbound immediate PersistentVolumeClaims" in message:
        advice = "A PersistentVolumeClaim is not bound: check its StorageClass and size"
        return _wait(Reason.VOLUME_PENDING, advice, message)
    advice = "No node fits: check resources, nodeSelector, tolerations, and the cluster's capacity"
    return _wait(Reason.UNSCHEDULABLE, advice, message)


def _newest(events: tuple[ObjectEvent, ...], *reasons: str) -> ObjectEvent | None:
    matching = [event for event in events if event.reason in reasons]
    return max(matching, key=lambda event: event.at, default=None)


def _explain_pod(
    pod: ChildPod, events: tuple[ObjectEvent, ...], now: datetime, mounted: Mapping[str, str]
) -> Wait | None:
    if pod.waiting_reason in _CONTAINER:
        reason, advice = _CONTAINER[pod.waiting_reason]
        again = pod.waiting_reason == "ImagePullBackOff"
        said = pod.waiting_message
        return _missing(said, mounted) or _wait(reason, advice, said, repeated=again)
    if pod.unschedulable:
        return _unscheduled(pod.unschedulable)
    if pod.node is None and now - pod.created > _SCHEDULED_WITHIN:
        advice = "No scheduler has taken the pod: check podTemplate.schedulerName, and that it runs"
        return _wait(Reason.UNSCHEDULABLE, advice, "")
    return _unmounted(events, now, mounted)


def _unmounted(
    events: tuple[ObjectEvent, ...], now: datetime, mounted: Mapping[str, str]
) -> Wait | None:
    """A mount that fails still: the kubelet would have tried again, or gone on to the image."""
    done = _newest(events, "Pulling", "Pulled", "Created")
    since = max(now - _MOUNT_TRIED_EVERY, done.at) if done else now - _MOUNT_TRIED_EVERY
    failures = [event for event in events if event.reason in _NOT_MOUNTED and event.at > since]
    for event in failures:  # one says what is missing, another only that time ran out
        if missing := _missing(event.message, mounted):
            return missing
    newest = _newest(tuple(failures), *_NOT_MOUNTED)
    advice = "A volume cannot be mounted: create or correct what it refers to"
    return _wait(Reason.MOUNT_FAILED, advice, newest.message) if newest else None


def explain(
    pod: ChildPod | None,
    events: tuple[ObjectEvent, ...],
    now: datetime,
    mounted: Mapping[str, str],
) -> Wait | None:
    """Why a child that nobody holds back is not running; None: nothing is known to be wrong.

    `mounted` names the ConfigMap or Secret of each volume that shows one key of it.
    """
    if pod is not None:
        return _explain_pod(pod, events, now, mounted) if pod.phase == "Pending" else None
    refusal = _newest(events, "FailedCreate")
    return _refused(refusal.message) if refusal else None
