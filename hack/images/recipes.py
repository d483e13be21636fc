"""What each image is made of, and the tag that follows from it.

A recipe lists the files that its Dockerfile target copies. The tag is a digest of them all,
so that an image never has to be rebuilt, pushed or pulled again under a tag that exists.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.settings import cache_folder

REPOSITORY = Path(__file__).parents[2]
SMOLLM2 = cache_folder() / "smollm2"
_SMOLLM2_RECIPE = "hack/smollm2.py"


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """A stage of the Dockerfile that holds what comes from package registries.

    Attributes:
        stage: its name.
        requirements: the file of its pinned packages.
    """

    stage: str
    requirements: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An image.

    Attributes:
        target: its stage in the Dockerfile.
        dependencies: what it stands on.
        code: the folders and files whose content the image holds or is made by.
        models: whether the converted model is part of it.
    """

    target: str
    dependencies: Dependencies
    code: tuple[str, ...]
    models: bool = False

    def tag(self) -> str:
        """The image's full local name; changes with anything that goes into it."""
        digest = hashlib.sha256()
        for path in self._inputs():
            name = str(path.relative_to(REPOSITORY))
            digest.update(f"{name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
        return f"localhost/finetune-{self.target}:{digest.hexdigest()[:12]}"

    def _inputs(self) -> Iterator[Path]:
        for name in (
            "Dockerfile",
            "hack/images/base.py",
            self.dependencies.requirements,
            *self.code,
        ):
            path = REPOSITORY / name
            yield from _files(path) if path.is_dir() else [path]


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


_OPERATOR = Dependencies(stage="operator-dependencies", requirements="requirements/operator.txt")
_TRAINER = Dependencies(stage="trainer-dependencies", requirements="requirements/trainer.txt")
_CONTRACT = ("operator/finetune_api", "operator/finetune_data")

RECIPES = {
    recipe.target: recipe
    for recipe in (
        Recipe(target="operator", dependencies=_OPERATOR, code=("operator",)),
        Recipe(
            target="trainer",
            dependencies=_TRAINER,
            code=(*_CONTRACT, "trainer"),
        ),
        Recipe(
            target="azure-openai-emulator",
            dependencies=_OPERATOR,
            code=("operator", "tests/emulators/azure_openai"),
        ),
        Recipe(
            target="hub",
            dependencies=_OPERATOR,
            code=("tests/emulators/hub", "examples/data/gsm8k-sft", _SMOLLM2_RECIPE),
            models=True,
        ),
    )
}
