"""Builds images that are not up to date, the dependencies of all first, side by side."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.buildah import exists
from cluster.progress import Progress
from cluster.settings import ClusterError
from images import base, machine
from images.recipes import RECIPES, REPOSITORY, SMOLLM2, Recipe

_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP (\d+/\d+)")


def build(tags: Mapping[str, str], progress: Progress) -> None:
    """Build those images that are not there.

    Args:
        tags: names of recipes, each with the tag to build. Read beforehand, once: the
            files may change meanwhile.
        progress: told about it.

    Raises:
        ClusterError: when a build fails.
    """
    todo = [name for name, tag in tags.items() if not exists(tag)]
    for name in tags:
        if name not in todo:
            progress.say(f"image {name}: up to date")
    if not todo:
        return
    recipes = [RECIPES[name] for name in todo]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        models = pool.submit(_models, progress) if any(r.models for r in recipes) else None
        builder = _Builder(Path(folder), base.ensure(progress), progress)
        # Alone first: made side by side there would be two of it, and what stands on the one
        # that is not found again would be built twice.
        builder.stage("base")
        list(pool.map(builder.stage, sorted({r.dependencies.stage for r in recipes})))
        if models:
            models.result()
        list(pool.map(builder.image, recipes, [tags[name] for name in todo]))


def _models(progress: Progress) -> None:
    with progress.stage("model for the hub"):
        command = [sys.executable, str(REPOSITORY / "hack/smollm2.py"), str(SMOLLM2)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"converting the model failed: {done.stderr.strip()[-400:]}")


class _Builder:
    """Runs `buildah build` with what all builds have in common."""

    def __init__(self, folder: Path, base_image: str, progress: Progress) -> None:
        pip = folder / "pip.conf"
        pip.write_text(machine.pip_configuration())
        self._progress = progress
        self._command = (
            "buildah",
            "build",
            "--isolation=chroot",
            "--layers",
            f"--build-arg=BASE={base_image}",
            f"--secret=id=pip,src={pip}",
            f"--secret=id=certificates,src={machine.certificates()}",
        )

    def stage(self, stage: str) -> None:
        """Build a stage that several images stand on, before any of them asks for it."""
        self._run(stage, f"localhost/finetune-{stage}")

    def image(self, recipe: Recipe, tag: str) -> None:
        """Build one image."""
        context = [f"--build-context=smollm2={SMOLLM2}"] if recipe.models else []
        self._run(recipe.target, tag, *context)

    def _run(self, target: str, tag: str, *more: str) -> None:
        command = [*self._command, *more, f"--target={target}", f"--tag={tag}", str(REPOSITORY)]
        with self._progress.stage(f"image {target}") as stage:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert process.stdout is not None
            lines: list[str] = []
            with process:
                for line in process.stdout:
                    lines.append(line)
                    if step := _STEP.match(line):
                        stage.note = f"step {step[1]}"
            if process.returncode:
                raise ClusterError(f"building {target} failed: {''.join(lines[-8:]).strip()}")
