"""The load: objects created flat out, moments seen by a watch, children completed by hand.

It knows the API server and no operator. Moments are of time.monotonic(), in seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.operator_site import NAMESPACE
from finetune_api.pods import BadRow, PrepareReport
from finetune_api.reasons import ExitCode, Phase, Reason
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.connection import find_connection
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, PODS, Resource

CONNECTIONS = 16

_WATCH_S = 1800

Json = dict[str, Any]


@dataclass
class Timeline:
    """When each object was sent, first had a status, and had the phase waited for."""

    wanted: Phase
    sent: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    reached: dict[str, float] = field(default_factory=dict)

    def note(self, obj: Json) -> None:
        """Take over what a watch event says."""
        name, status, now = obj["metadata"]["name"], obj.get("status", {}), time.monotonic()
        if "observedGeneration" in status:
            self.first.setdefault(name, now)
        if status.get("phase") == self.wanted:
            self.reached.setdefault(name, now)

    @property
    def wall(self) -> float:
        """From the first creation sent to the last phase reached."""
        return max(self.reached.values()) - min(self.sent.values())

    def delays(self, until: dict[str, float]) -> list[float]:
        """Seconds from each creation sent until then, in order of size."""
        return sorted(until[name] - sent for name, sent in self.sent.items())


@asynccontextmanager
async def client(kubeconfig: Path) -> AsyncIterator[Api]:
    """The API server with as many connections as the load has, and a few for watches."""
    connection = find_connection({"KUBECONFIG": str(kubeconfig)})
    api = Api(connection, Metrics(), max_connections=CONNECTIONS + 4)
    try:
        yield api
    finally:
        await api.close()


async def flat_out(work: Iterable[Callable[[], Awaitable[object]]]) -> float:
    """Do all of it, 16 at a time; objects a second."""
    waiting = list(work)
    total, began = len(waiting), time.monotonic()
    waiting.reverse()

    async def worker() -> None:
        while waiting:
            await waiting.pop()()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(worker())
    return total / (time.monotonic() - began)


async def create_jobs(api: Api, manifests: Iterable[Json], timeline: Timeline) -> float:
    """Create FineTuneJobs flat out; how many a second."""

    def creation(manifest: Json) -> Callable[[], Awaitable[object]]:
        async def create() -> None:
            timeline.sent[manifest["metadata"]["name"]] = time.monotonic()
            await api.create(FINETUNEJOBS, NAMESPACE, manifest)

        return create

    return await flat_out([creation(manifest) for manifest in manifests])


async def events(api: Api, resource: Resource, version: int) -> AsyncIterator[Json]:
    """The objects that are added or changed from now on, for ever.

    The API server ends a watch whose reader is slow: it goes on from where it ended.
    """
    while True:
        watch = api.watch(
            resource, NAMESPACE, labels="", version=version, seconds=_WATCH_S, silence=_WATCH_S
        )
        async for event in watch:
            version = int(event["object"]["metadata"]["resourceVersion"])
            if event["type"] in ("ADDED", "MODIFIED"):
                yield event["object"]


async def version(api: Api, resource: Resource) -> int:
    """From where to watch."""
    last = 0
    async for page in api.pages(resource, NAMESPACE):
        last = page.version
    return last


async def follow(api: Api, timeline: Timeline, since: int) -> None:
    """Fill in the timeline, for ever."""
    async for obj in events(api, FINETUNEJOBS, since):
        timeline.note(obj)


async def until_reached(timeline: Timeline, count: int, tell: Callable[[str], None]) -> None:
    """Wait until so many objects have the phase."""
    while len(timeline.reached) < count:
        tell(f"{len(timeline.first)} seen, {len(timeline.reached)} {timeline.wanted} of {count}")
        await asyncio.sleep(0.1)


async def refuse_data(api: Api, since: int) -> None:
    """Play Job controller and kubelet for ever: each child Job ends at once, its data is bad."""
    async with asyncio.TaskGroup() as group:
        slots = asyncio.Semaphore(CONNECTIONS)
        done: set[str] = set()
        async for job in events(api, JOBS, since):
            if job["metadata"]["uid"] not in done:
                done.add(job["metadata"]["uid"])
                group.create_task(_fail(api, job, slots))


async def _fail(api: Api, job: Json, slots: asyncio.Semaphore) -> None:
    async with slots:
        name, now = job["metadata"]["name"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        pod = f"{name}-0"
        await api.create(PODS, NAMESPACE, _pod_of(job, pod))
        await api.merge_patch(PODS, NAMESPACE, pod, {"status": _ended(job, now)},
                              subresource="status")  # fmt: skip
        kinds = ("FailureTarget", "Failed")
        conditions = [
            {"type": kind, "status": "True", "reason": "BackoffLimitExceeded",
             "message": "Job has reached the specified backoff limit", "lastTransitionTime": now}
            for kind in kinds
        ]  # fmt: skip
        status = {"startTime": now, "failed": 1, "conditions": conditions}
        await api.merge_patch(JOBS, NAMESPACE, name, {"status": status}, subresource="status")


def _pod_of(job: Json, name: str) -> Json:
    template, meta = job["spec"]["template"], job["metadata"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": template["spec"],
    }


def _ended(job: Json, now: str) -> Json:
    report = PrepareReport(
        ok=False,
        reason=Reason.DATA_INVALID,
        message="1 of 449 rows cannot be used",
        bad_rows=[BadRow(line=37, problem="the last message must be of role assistant")],
    )
    terminated = {
        "exitCode": ExitCode.BAD_DATA.value,
        "reason": "Error",
        "message": report.model_dump_json(exclude_none=True),
        "startedAt": now,
        "finishedAt": now,
    }
    container = job["spec"]["template"]["spec"]["containers"][0]
    return {
        "phase": "Failed",
        "startTime": now,
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }
