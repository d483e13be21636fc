"""`make demo`: set-up, two FineTuneJobs to Succeeded, and what came of them.

Prints each stage with its time. The manifests are the ones in examples/.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster.progress import Progress
from cluster.settings import ClusterError
from demo.ask import ask
from demo.plot import text_plot
from deploy import install
from deploy.tools import environment, kubectl
from finetune_api.constants import FORCE_NEW_ANNOTATION

_EXAMPLES = Path(__file__).parents[2] / "examples"
_NAMES = ("sft-smollm2-gsm8k", "sft-azure-gsm8k")
_DEADLINE_S = 1500.0
_AFTERWARDS = f"""
32 rows teach the style of the data, not arithmetic: the validation loss says more than one answer.

To look around:  eval "$(PYTHONPATH=hack .venv/bin/python -m cluster env)"
                 kubectl -n {install.DEMO} describe ftj {_NAMES[0]}
To clean up:     make undeploy; make cluster-down"""


def main() -> int:
    """Run; return the exit status."""
    try:
        with Progress() as progress:
            images = install.bring_up(progress)
            install.deploy(progress, images)
            with progress.stage("apply the examples"):
                _apply()
        began = time.monotonic()
        _follow()
        print(f"\nBoth jobs Succeeded, {time.monotonic() - began:.0f} s after `kubectl apply`.")
        _show()
        print("\nOne held-out question, before and after (greedy):\n")
        print(ask(install.DEMO, images["trainer"], _output_claim(), f"{_NAMES[0]}/result"))
        print(_AFTERWARDS)
    except ClusterError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _in_demo(*arguments: str) -> str:
    return kubectl("-n", install.DEMO, *arguments)


def _apply() -> None:
    """Both examples, anew: a finished job would not run again."""
    _in_demo("delete", "finetunejobs", *_NAMES, "--ignore-not-found")
    for name in _NAMES:
        _in_demo("delete", "persistentvolumeclaims", "-l", f"finetune.dev/job-name={name}")
    data = _EXAMPLES / "data" / "gsm8k-configmap.yaml"
    _in_demo("apply", "--server-side", "-f", str(data))
    for name in _NAMES:
        _in_demo("apply", "-f", str(_EXAMPLES / f"{name}.yaml"))
    # The emulated account keeps the model of an earlier demo, which would be asked about first.
    _in_demo("annotate", "finetunejobs", *_NAMES, f"{FORCE_NEW_ANNOTATION}=true")


def _follow() -> None:
    """Shows `kubectl get ftj -w` until both have succeeded.

    Raises:
        ClusterError: one failed, or it took too long.
    """
    print("\n$ kubectl get ftj -w", flush=True)
    watch = subprocess.Popen(
        ["kubectl", "-n", install.DEMO, "get", "finetunejobs", "-w"], env=environment()
    )
    try:
        deadline = time.monotonic() + _DEADLINE_S
        while not _all_succeeded():
            if time.monotonic() > deadline:
                raise ClusterError(f"not done after {_DEADLINE_S:.0f} s: kubectl describe ftj")
            time.sleep(2)
    finally:
        watch.terminate()
        watch.wait()


def _all_succeeded() -> bool:
    jobs = json.loads(_in_demo("get", "finetunejobs", *_NAMES, "-o", "json"))["items"]
    statuses = [job.get("status", {}) for job in jobs]
    for status in statuses:
        if status.get("phase") == "Failed":
            raise ClusterError(f"a job failed: {status['message']}")
    return all(status.get("phase") == "Succeeded" for status in statuses)


def _status(name: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(_in_demo("get", "ftj", name, "-o", "json"))["status"]
    return status


def _show() -> None:
    print("\n$ kubectl get ftj -o wide\n" + _in_demo("get", "ftj", "-o", "wide"))
    for name in _NAMES:
        status = _status(name)
        shown = ("data", "resolved", "progress", "metrics", "result")
        chosen = {key: status[key] for key in shown if key in status}
        held = [each["type"] for each in status["conditions"] if each["status"] == "True"]
        print(f"{name} {status['phase']} ({', '.join(held)}): {status['message']}")
        print(json.dumps(chosen, indent=2, ensure_ascii=False))
    print("\n" + text_plot(_losses("step"), f"training loss of {_NAMES[0]}"))
    scored = ", ".join(f"{loss:.4f} after step {step}" for step, loss in _losses("validation"))
    print(f"validation loss: {scored}")


def _losses(event: str) -> list[tuple[int, float]]:
    """(step, loss) of these events in the training pod's log."""
    log = _in_demo(
        "logs",
        "-l",
        f"finetune.dev/job-name={_NAMES[0]},app.kubernetes.io/component=trainer",
        "--tail=-1",
    )
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [(line["step"], line["loss"]) for line in lines if line["event"] == event]


def _output_claim() -> str:
    selector = f"finetune.dev/job-name={_NAMES[0]}"
    return _in_demo("get", "pvc", "-l", selector, "-o", "jsonpath={.items[0].metadata.name}")


sys.exit(main())
