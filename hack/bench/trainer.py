"""Trainer benchmark: `trl sft` as it comes, TRL tuned by hand, and ours, on the same task.

    python -m bench trainer            # from the Makefile: make bench
    PYTHONPATH=hack:tests python -m bench.trainer [--rounds 3] [--gpu] [--dry-run]

Wall and CPU time from process start to saved result; every result is scored by one evaluator.
Writes docs/benchmarks/trainer.{md,json}. Must not know how any of the arms works inside.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import trainer_report
from bench.trainer_models import Profile, profile

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data" / "gsm8k-sft"
ARMS = ("trl", "tuned", "ours")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One benchmark: a profile with its files in a scratch folder."""

    profile: Profile
    scratch: Path
    model: Path

    def command(self, arm: str, output: Path) -> list[str]:
        """What an arm is started with."""
        if arm == "ours":
            return [sys.executable, "-m", "finetune_trainer.supervisor", str(self._config(output))]
        if arm == "trl":
            return [str(Path(sys.executable).parent / "trl"), "sft", *self._flags(output)]
        packed = str(self.profile.packed_rows)
        return [sys.executable, "-m", "bench.trainer_tuned", packed, *self._flags(output)]

    def _flags(self, output: Path) -> list[str]:
        """The task in TRL's words; all that is not the task is left at its defaults."""
        task = {
            "model_name_or_path": self.model,
            "dataset_name": self.scratch / "pairs",
            "output_dir": output,
            "max_steps": self.profile.steps,
            "per_device_train_batch_size": self.profile.batch,
            "learning_rate": 2e-4,
            "lora_r": 16,
            "lora_alpha": 32,
            "lora_dropout": 0.0,
            "lora_target_modules": "all-linear",
        }
        switches = ["--use_peft", *([] if self.profile.gpu else ["--use_cpu"])]
        return [*switches, *(f"--{key}={value}" for key, value in task.items())]

    def _config(self, output: Path) -> Path:
        rows = self.scratch / "rows.jsonl"
        task = {
            "job": "bench/ours",
            "attempt": 1,
            "model": {"kind": "file", "path": str(self.model)},
            "modelDisplay": "bench/model",
            "maxSteps": self.profile.steps,
            "batchSize": self.profile.batch,
            "training": {"source": {"kind": "file", "path": str(rows)}, "display": "rows.jsonl"},
            "outputDir": str(output),
        }
        file = self.scratch / "config.json"
        file.write_text(json.dumps(task))
        return file

    def result(self, arm: str, output: Path) -> Path:
        """Where an arm leaves its adapter."""
        return output / "result" if arm == "ours" else output


def environment() -> dict[str, str]:
    """The same for every arm: no hub, and what this machine needs to run bf16 at all."""
    from finetune_trainer import environment as trainer_environment
    from finetune_trainer import hardware

    trainer_environment.prepare()
    hardware.inspect()
    roots = os.pathsep.join(str(ROOT / name) for name in ("operator", "trainer", "hack"))
    return os.environ | {"PYTHONPATH": roots, "HF_HUB_OFFLINE": "1"}


def write_rows(bench: Bench) -> None:
    """The task's rows in both forms: chat rows, and TRL's prompt and completion."""
    lines = (DATA / "train.jsonl").read_text().splitlines()[: bench.profile.rows]
    (bench.scratch / "rows.jsonl").write_text("\n".join(lines) + "\n")
    held_out = (DATA / "validation.jsonl").read_text().splitlines()[: bench.profile.judged]
    (bench.scratch / "held-out.jsonl").write_text("\n".join(held_out) + "\n")
    (bench.scratch / "pairs").mkdir()
    with (bench.scratch / "pairs" / "train.jsonl").open("w") as file:
        for line in lines:
            messages = json.loads(line)["messages"]
            pair = {"prompt": messages[:-1], "completion": messages[-1:]}
            file.write(json.dumps(pair) + "\n")


def run_arm(bench: Bench, arm: str, output: Path, env: dict[str, str]) -> dict[str, float]:
    """Run an arm to its end; seconds of wall clock and of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = os.getloadavg()[0]
    started = time.monotonic()
    with (bench.scratch / f"{output.name}.log").open("w") as log:
        subprocess.run(
            bench.command(arm, output),
            env=env | {"TERMINATION_LOG": str(bench.scratch / "words")},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "load": load}


def judge(bench: Bench, result: Path, env: dict[str, str]) -> float:
    """The mean loss of a result on rows that no arm has seen."""
    arguments = ["--model", str(bench.model), "--data", str(bench.scratch / "held-out.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", "finetune_trainer.evaluate", "--result", str(result), *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1])["loss"])


def measure(bench: Bench, rounds: int, env: dict[str, str]) -> list[dict[str, Any]]:
    """Every arm once a round, in an order that rotates."""
    figures = []
    for number in range(rounds):
        for place in range(len(ARMS)):
            arm = ARMS[(number + place) % len(ARMS)]
            output = bench.scratch / f"{arm}-{number}"
            taken = run_arm(bench, arm, output, env)
            loss = judge(bench, bench.result(arm, output), env)
            figures.append({"round": number + 1, "arm": arm, **taken, "loss": loss})
            print(json.dumps(figures[-1]), flush=True)
            shutil.rmtree(output)
    return figures


def main(arguments: list[str]) -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu", action="store_true", help="a larger random model on a GPU")
    parser.add_argument("--dry-run", action="store_true", help="print figures, write no page")
    options = parser.parse_args(arguments)
    env = environment()
    chosen = profile(gpu=options.gpu)
    with tempfile.TemporaryDirectory(prefix="bench-trainer-") as scratch:
        bench = Bench(profile=chosen, scratch=Path(scratch), model=chosen.make_model())
        write_rows(bench)
        base = judge(bench, bench.model, env)
        figures = measure(bench, options.rounds, env)
    page = trainer_report.write(chosen, base, figures, save=not options.dry_run)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
