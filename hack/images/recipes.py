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
class Recipe:
    """An image.

    Attributes:
        target: its stage in the Dockerfile.
        dependencies: the stage below it, which holds what comes from package registries.
        requirements: that stage's pinned packages.
        code: the folders and files whose content the image holds or is made by.
        models: whether the converted model is part of it.
    """

    target: str
    dependencies: str
    requirements: str
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
        for name in ("Dockerfile", "hack/images/base.py", self.requirements, *self.code):
            path = REPOSITORY / name
            yield from _files(path) if path.is_dir() else [path]


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


_OPERATOR = {"dependencies": "operator-dependencies", "requirements": "requirements/operator.txt"}
_CONTRACT = ("operator/finetune_api", "operator/finetune_data")

RECIPES = {
    recipe.target: recipe
    for recipe in (
        Recipe(target="operator", code=("operator",), **_OPERATOR),
        Recipe(
            target="trainer",
            dependencies="trainer-dependencies",
            requirements="requirements/trainer.txt",
            code=(*_CONTRACT, "trainer"),
        ),
        Recipe(
            target="azure-openai-emulator",
            code=("operator", "tests/emulators/azure_openai"),
            **_OPERATOR,
        ),
        Recipe(
            target="hub",
            code=("tests/emulators/hub", _SMOLLM2_RECIPE),
            models=True,
            **_OPERATOR,
        ),
    )
}
