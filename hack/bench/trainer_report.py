"""The page of the trainer benchmark, docs/benchmarks/trainer.md, from its figures.

Knows figures only; every one of them stands beside the page as JSON.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.trainer_models import Profile

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"

NAMES = {
    "trl": "A: `trl sft`, its defaults",
    "tuned": "B: TRL tuned by hand",
    "ours": "C: this trainer",
}

PAGE = """# Trainer

Written by `make bench` (`hack/bench/trainer.py`). {profile}; {steps} steps of {batch} examples from
the first {rows} rows of gsm8k-sft; LoRA, rank 16, on every linear layer, learning rate 2e-4.
{machine}

Same for every arm: the model's bytes, the rows, the loss mask (answers only), the LoRA targets, the
examples per step, and the environment, GOMP_SPINCOUNT included, which only C would set by itself.
A is the command line as it comes: float32 weights, activation checkpointing, padding. B is one
process with a bf16 base, no activation checkpointing and packing: {packed} sequences of 1024 tokens
a step, as many examples on average, not the same ones. C runs through its supervisor with its own
choices, and also writes a resumable checkpoint.

Wall clock and CPU time run from process start to saved result. The order of the arms rotates.
Median (lowest to highest); rounds: {rounds}. The load average says what else the machine did: with
fewer than three rounds, or above the number of cores, trust the CPU time more than the wall clock.

| arm | wall s | CPU s | loss on {judged} held-out rows |
| --- | --- | --- | --- |
{table}

The untrained model's loss is {base:.4f}. The judge computes in float32 with eager attention, a row
at a time. C takes {wall_ratio:.2f} of B's wall clock and {cpu_ratio:.2f} of its CPU time.

Each run as measured, with the load average at its start:

| round | arm | wall s | CPU s | load | loss |
| --- | --- | --- | --- | --- | --- |
{runs}
"""


def write(profile: Profile, base: float, figures: Sequence[dict[str, Any]], *, save: bool) -> str:
    """The page; with `save` also on disk, with the figures beside it."""
    page = PAGE.format(
        profile=profile.name,
        steps=profile.steps,
        batch=profile.batch,
        rows=profile.rows,
        packed=profile.packed_rows,
        judged=profile.judged,
        machine=_machine(),
        rounds=max(run["round"] for run in figures),
        table="\n".join(_arm(arm, figures) for arm in NAMES),
        base=base,
        wall_ratio=_median("ours", "wall", figures) / _median("tuned", "wall", figures),
        cpu_ratio=_median("ours", "cpu", figures) / _median("tuned", "cpu", figures),
        runs="\n".join(_run(run) for run in figures),
    )
    if save:
        name = "trainer-gpu" if profile.gpu else "trainer"
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{name}.md").write_text(page)
        (FOLDER / f"{name}.json").write_text(
            json.dumps({"base": base, "runs": list(figures)}, indent=1) + "\n"
        )
    return page


def _machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown CPU",
    )
    instructions = os.environ.get("ONEDNN_MAX_CPU_ISA")
    limit = f", oneDNN limited to {instructions} in every arm" if instructions else ""
    return f"{len(os.sched_getaffinity(0))} cores of {cpu}{limit}."


def _values(arm: str, key: str, figures: Sequence[dict[str, Any]]) -> list[float]:
    return [run[key] for run in figures if run["arm"] == arm]


def _median(arm: str, key: str, figures: Sequence[dict[str, Any]]) -> float:
    return median(_values(arm, key, figures))


def _arm(arm: str, figures: Sequence[dict[str, Any]]) -> str:
    wall, cpu, loss = (_values(arm, key, figures) for key in ("wall", "cpu", "loss"))
    cells = [_spread(wall, ".1f"), _spread(cpu, ".1f"), _spread(loss, ".4f")]
    return f"| {NAMES[arm]} | {' | '.join(cells)} |"


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _run(run: dict[str, Any]) -> str:
    figures = f"{run['wall']:.1f} | {run['cpu']:.1f} | {run['load']:.1f} | {run['loss']:.4f}"
    return f"| {run['round']} | {NAMES[run['arm']][0]} | {figures} |"
