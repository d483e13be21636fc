"""What our own container of a pod says, whatever else runs beside it."""

from typing import Any

import pytest

from finetune_operator.backends.kubernetes.facts import child_pod
from finetune_operator.core.observed import ChildPod

Json = dict[str, Any]
ENDED = {"exitCode": 75, "message": "ours", "finishedAt": "2026-11-22T12:00:00Z"}
THEIRS = {"exitCode": 0, "message": "theirs", "finishedAt": "2026-11-22T12:00:01Z"}
WAITING = {"reason": "ImagePullBackOff", "message": "no such image"}


def pod(*statuses: Json, component: str = "trainer") -> ChildPod:
    return child_pod(
        {
            "metadata": {
                "name": "tune-a1-x",
                "uid": "pod-1",
                "creationTimestamp": "2026-11-22T11:00:00Z",
                "labels": {"app.kubernetes.io/component": component},
            },
            "spec": {},
            "status": {"phase": "Running", "containerStatuses": list(statuses)},
        }
    )


def ended(name: str, how: Json) -> Json:
    return {"name": name, "state": {"terminated": how}}


@pytest.mark.parametrize(
    ("found", "want"),
    [
        pytest.param(pod(ended("trainer", ENDED)), (75, "ours", ""), id="alone"),
        pytest.param(
            pod(ended("istio-proxy", THEIRS), ended("trainer", ENDED)), (75, "ours", ""),
            id="behind a sidecar",
        ),
        pytest.param(
            pod(ended("istio-proxy", THEIRS), {"name": "trainer", "state": {"running": {}}}),
            (None, "", ""),
            id="still running beside a sidecar that ended",
        ),
        pytest.param(
            pod(ended("istio-proxy", THEIRS), {"name": "trainer", "state": {"waiting": WAITING}}),
            (None, "", "ImagePullBackOff"),
            id="waiting for its image",
        ),
        pytest.param(
            pod(ended("trainer", THEIRS), ended("prepare", ENDED), component="prepare"),
            (75, "ours", ""),
            id="a prepare pod's is named prepare",
        ),
        pytest.param(pod(), (None, "", ""), id="nothing told yet"),
    ],
)  # fmt: skip
def test_our_own_container_speaks(found: ChildPod, want: tuple[int | None, str, str]) -> None:
    assert (found.exit_code, found.last_words, found.waiting_reason) == want
