"""1,000 hosted FineTuneJobs at the emulator: what the endpoint, the operator and the cluster bear.

The service's clock stands until all are submitted, then runs at its true pace for a while, then
fast until all have succeeded. Writes docs/benchmarks/operator.md (its hosted part) and hosted.json.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from bench import operator_load as load
from bench import operator_report as report
from bench.operator import create_and_wait, until_quiet
from bench.operator_process import OperatorProcess
from bench.operator_site import NAMESPACE, accepted, finetune_job, plane_with_pods
from bench.operator_usage import hosted_requests, refused, requests, usage
from cluster.progress import Progress, Stage
from finetune_api.reasons import Phase
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import FINETUNEJOBS
from support.emulator import API_KEY, Emulator
from support.kube import Kube

_ROUNDS = 1
_JOBS = 1000
_WINDOW_S = 150.0
"""Three polls at the default interval."""
_STEP_S, _QUEUE_S = 60, 30
_FAST = 600.0
_STILL = 0.0
_ROWS = Path(__file__).parents[2] / "examples" / "data" / "gsm8k-sft" / "train.jsonl"

Figures = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Run and write the figures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.hosted", description=__doc__)
    parser.add_argument("--jobs", type=int, default=_JOBS, help="FineTuneJobs a round")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--no-files", action="store_true", help="print the figures only")
    chosen = parser.parse_args(arguments)
    rounds = []
    with Progress() as progress, tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.rounds):
            with progress.stage(f"{chosen.jobs} hosted jobs") as stage:
                rounds.append(_round(Path(folder) / str(number), chosen.jobs, stage))
            progress.say(report.line(rounds[-1]))
    print(report.hosted(rounds, chosen.jobs, write=not chosen.no_files))
    return 0


def _round(folder: Path, count: int, stage: Stage) -> Figures:
    pace = [
        f"--queue-seconds={_QUEUE_S}",
        f"--step-seconds={_STEP_S}",
        "--silent-seconds=0",
        "--pending-polls=0",
    ]
    with Emulator(folder, speed=_STILL, options=pace) as emulator:
        file = _upload(emulator)
        with plane_with_pods(folder / "plane", accepted(file)) as kube:
            kube.secret(NAMESPACE, "azure", {"api-key": API_KEY})
            return _run(kube, emulator, folder, count, stage)


def _upload(emulator: Emulator) -> str:
    """The id of the training file, which every prepare pod reports."""
    http = urllib3.PoolManager(ca_certs=str(emulator.ca), retries=False)
    fields: dict[str, str | bytes | tuple[str, str | bytes]] = {
        "purpose": "fine-tune",
        "file": ("train.jsonl", _ROWS.read_bytes()),
    }
    answer = http.request(
        "POST", f"{emulator.base_url}files", fields=fields, headers={"api-key": API_KEY}
    )
    assert answer.status < 300, answer.data
    return str(answer.json()["id"])


def _run(kube: Kube, emulator: Emulator, folder: Path, count: int, stage: Stage) -> Figures:
    settings = {
        "azure_allowed_endpoints": emulator.url,
        "azure_ca_file": emulator.ca,
    }
    azure = {
        "endpoint": emulator.url,
        "auth": {"apiKeySecretRef": {"name": "azure", "key": "api-key"}},
    }
    manifests = [
        finetune_job(
            f"job-{number:05}",
            model={"name": "gpt-4.1-mini-2025-04-14"},
            hyperparameters={"epochs": 2, "batchSize": 16},
            azureOpenAI=azure,
            kubernetes=None,
        )
        for number in range(count)
    ]
    with OperatorProcess(folder, kube.plane.kubeconfig, settings) as operator:
        operator.wait_until_leading()
        before, asked = usage(operator.pid), requests(operator)

        async def drive() -> Figures:
            async with load.client(kube.plane.kubeconfig) as api:
                timeline = load.Timeline(Phase.QUEUED)
                await create_and_wait(api, manifests, timeline, stage)
                window = await asyncio.to_thread(_all_running, operator, emulator, stage)
                emulator.run_at(_FAST)
                done = load.Timeline(Phase.SUCCEEDED, sent=timeline.sent)
                await _until_all(api, done, count, stage)
                return window | {"submitted": timeline.wall, "wall": done.wall}

        figures = asyncio.run(drive())
        until_quiet(operator)
        after, hosted = usage(operator.pid), hosted_requests(operator)
        asked = requests(operator) - asked
        remote = emulator.jobs()
        assert len(remote) == count, f"{len(remote)} hosted jobs for {count} FineTuneJobs"
        return figures | {
            "cpu_ms": (after.cpu - before.cpu) * 1000 / count,
            "peak_rss": after.peak_rss,
            "requests": {name: n / count for name, n in sorted(asked.items())},
            "refused": dict(refused(operator)),
            "hosted_requests": {name: n / count for name, n in sorted(hosted.items())},
            "remote_jobs": len(remote),
            "load": os.getloadavg()[0],
        }


def _all_running(operator: OperatorProcess, emulator: Emulator, stage: Stage) -> Figures:
    """What is asked of the endpoint while every job trains."""
    emulator.advance(_QUEUE_S + 1)
    emulator.run_at(1)
    stage.note = "all train; the poll that finds it out"
    until_quiet(operator)
    time.sleep(_WINDOW_S / 3)
    stage.note = f"all train, for {_WINDOW_S:.0f} s"
    before, asked, began = usage(operator.pid), hosted_requests(operator), time.monotonic()
    time.sleep(_WINDOW_S)
    minutes = (time.monotonic() - began) / 60
    used = usage(operator.pid).cpu - before.cpu
    asked = hosted_requests(operator) - asked
    return {
        "idle_percent": used / (minutes * 60) * 100,
        "per_minute": {name: n / minutes for name, n in sorted(asked.items())},
        "per_minute_total": asked.total() / minutes,
        "rss_while_all_run": before.rss,
    }


async def _until_all(api: Api, done: load.Timeline, count: int, stage: Stage) -> None:
    version = 0
    async for page in api.pages(FINETUNEJOBS, NAMESPACE):
        version = page.version
        for obj in page.items:
            done.note(obj)
    following = asyncio.create_task(load.follow(api, done, version))

    def tell(text: str) -> None:
        stage.note = text
        if following.done():
            following.result()

    await load.until_reached(done, count, tell)
    following.cancel()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
