"""The operator's in-cluster path under load, beside what the machine could do at that moment.

Each round: the API server's ceilings, the prototype's life cycle (first status, one child Job that
ends, final status) on a control plane without controllers, and the whole way to a queued training
Job with real controllers and kwok. Writes docs/benchmarks/operator.md and .json.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bench import operator_load as load
from bench import operator_report as report
from bench.operator_ceilings import LifeCycle, alone, in_series
from bench.operator_process import OperatorProcess
from bench.operator_site import (
    NAMESPACE,
    accepted,
    finetune_job,
    plane_with_pods,
    plane_without_controllers,
)
from bench.operator_usage import others, refused, requests, samples, usage
from cluster.progress import Progress, Stage
from finetune_api.constants import COMPONENT_TRAINER, LABEL_COMPONENT
from finetune_api.reasons import Phase
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS
from support.kube import Kube
from support.waiting import wait_for

_ROUNDS = 3
_JOBS = 1000
_IDLE_S = 15.0
_SETTLING_S = 3.0
_IN_TIME_S = 900.0

Json = dict[str, Any]
Figures = Json
Drive = Callable[[Api, load.Timeline, Stage], Awaitable[None]]


def main(arguments: Sequence[str]) -> int:
    """Run and write the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--jobs", type=int, default=_JOBS, help="FineTuneJobs a round")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--no-files", action="store_true", help="print the figures only")
    chosen = parser.parse_args(arguments)
    rounds: list[dict[str, Figures]] = []
    with Progress() as progress, tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            place = Path(folder) / str(number)
            progress.say(f"round {number + 1} of {chosen.rounds}, load {os.getloadavg()[0]:.1f}")
            rounds.append(figures := {})
            for shape, measure in _SHAPES.items():
                figures[shape] = measure(place / shape, chosen.jobs, progress)
                progress.say(f"{shape}: {report.line(figures[shape])}")
    print(report.operator(rounds, chosen.jobs, write=not chosen.no_files))
    return 0


def _prototype(folder: Path, count: int, progress: Progress) -> Figures:
    """First status, one child Job, the child's end written by the driver, final status."""

    async def drive(api: Api, timeline: load.Timeline, stage: Stage) -> None:
        since = await load.version(api, JOBS)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(load.refuse_data(api, since))
            await create_and_wait(api, _manifests(count), timeline, stage)
            playing.cancel()

    with (
        progress.stage(f"{count} jobs, the prototype's life cycle") as stage,
        plane_without_controllers(folder) as kube,
    ):
        figures = _measure(kube, folder, count, load.Timeline(Phase.FAILED), drive, stage)
        model = LifeCycle.of(kube, _name(0))
    series = in_series(folder / "series", model, count, progress)
    return figures | {"in_series": series, "share": figures["per_second"] / series}


def _queued(folder: Path, count: int, progress: Progress) -> Figures:
    """The whole way: prepared by a pod, then a training Job that waits in a queue."""

    async def drive(api: Api, timeline: load.Timeline, stage: Stage) -> None:
        await create_and_wait(api, _manifests(count), timeline, stage)

    with (
        progress.stage(f"{count} jobs to their queued training Job") as stage,
        plane_with_pods(folder, accepted()) as kube,
    ):
        figures = _measure(kube, folder, count, load.Timeline(Phase.QUEUED), drive, stage)
        selector = f"?labelSelector={LABEL_COMPONENT}%3D{COMPONENT_TRAINER}"
        children = kube.list("/apis/batch/v1/namespaces/{}/jobs" + selector, NAMESPACE)
        assert len(children) == count, f"{len(children)} training Jobs for {count} FineTuneJobs"
        return figures


async def create_and_wait(
    api: Api, manifests: list[Json], timeline: load.Timeline, stage: Stage
) -> None:
    """Create FineTuneJobs flat out and wait until all have the timeline's phase."""
    since = await load.version(api, FINETUNEJOBS)
    following = asyncio.create_task(load.follow(api, timeline, since))
    await load.create_jobs(api, manifests, timeline)

    def tell(text: str) -> None:
        stage.note = text
        if following.done():
            following.result()

    async with asyncio.timeout(_IN_TIME_S):
        await load.until_reached(timeline, len(manifests), tell)
    following.cancel()


def _manifests(count: int) -> list[Json]:
    return [finetune_job(_name(number)) for number in range(count)]


def _name(number: int) -> str:
    return f"job-{number:05}"


def _measure(
    kube: Kube,
    folder: Path,
    count: int,
    timeline: load.Timeline,
    drive: Drive,
    stage: Stage,
) -> Figures:
    async def run() -> None:
        async with load.client(kube.plane.kubeconfig) as api:
            await drive(api, timeline, stage)

    with OperatorProcess(folder, kube.plane.kubeconfig) as operator:
        operator.wait_until_leading()
        time.sleep(_SETTLING_S)
        before, asked, shared = usage(operator.pid), requests(operator), others(operator)
        asyncio.run(run())
        stage.note = "what comes after the last"
        until_quiet(operator)
        after = usage(operator.pid)
        asked, shared = requests(operator) - asked, others(operator) - shared
        figures = {
            "load": os.getloadavg()[0],
            "wall": timeline.wall,
            "per_second": count / timeline.wall,
            "first": report.percentiles(timeline.delays(timeline.first)),
            "reached": report.percentiles(timeline.delays(timeline.reached)),
            "cpu_ms": (after.cpu - before.cpu) * 1000 / count,
            "peak_rss": after.peak_rss,
            "cpu_ms_others": {name: ms / count for name, ms in sorted(shared.items())},
            "requests": {name: n / count for name, n in sorted(asked.items())},
            "refused": dict(refused(operator)),
            "events_dropped": samples(operator, "finetune_events_dropped").total() / count,
        }
        stage.note = "idle"
        figures |= _idle(operator)
    return figures | _restarted(kube, folder, count, stage)


def until_quiet(operator: OperatorProcess) -> None:
    """Events and cleaning up still follow: their cost belongs to the jobs."""
    last = requests(operator)
    while True:
        time.sleep(_SETTLING_S)
        now = requests(operator)
        if now == last:
            return
        last = now


def _idle(operator: OperatorProcess) -> Figures:
    before, began = usage(operator.pid), time.monotonic()
    time.sleep(_IDLE_S)
    after = usage(operator.pid)
    percent = (after.cpu - before.cpu) / (time.monotonic() - began) * 100
    return {"idle_percent": percent, "idle_rss": after.rss}


def _restarted(kube: Kube, folder: Path, count: int, stage: Stage) -> Figures:
    """From the start of a new process until every job is known, and has been looked at."""
    stage.note = "restart"
    began = time.monotonic()
    with OperatorProcess(folder, kube.plane.kubeconfig, name="restarted") as operator:
        operator.wait_until_leading()
        leading = time.monotonic() - began
        wait_for(
            lambda: samples(operator, "finetune_jobs").total() >= count, "all are known", within=60
        )
        known = time.monotonic() - began
        wait_for(
            lambda: samples(operator, "finetune_reconciles").total() >= count,
            "all have been looked at",
            within=120,
        )
        looked, used = time.monotonic() - began, usage(operator.pid)
        wrote = requests(operator)
    return {
        "restart_leading": leading,
        "restart_known": known,
        "restart_looked": looked,
        "restart_rss": used.rss,
        "restart_cpu": used.cpu,
        "restart_requests": dict(wrote),
    }


_SHAPES = {"ceilings": alone, "prototype": _prototype, "queued": _queued}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
