"""Who may import whom: what each program loads before it does anything, and the borders between."""

import operator
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}
CLUSTER = {"kopf", "kubernetes"}
SERVICE = {"openai", "azure"}
PROGRAMS = {"finetune_operator", "finetune_trainer"}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        pytest.param(
            "finetune_api.job", HEAVY | CLUSTER | SERVICE | PROGRAMS | {"aiohttp"}, id="contract"
        ),
        pytest.param("finetune_api.pods", HEAVY | CLUSTER | SERVICE | PROGRAMS, id="pods"),
        pytest.param("finetune_data", HEAVY | CLUSTER | SERVICE | PROGRAMS, id="rows"),
        pytest.param("finetune_operator.handlers", HEAVY | {"finetune_trainer"}, id="operator"),
        pytest.param(
            "finetune_operator.__main__",
            HEAVY | SERVICE | {"finetune_trainer"},
            id="its entry, before a hosted job appears",
        ),
        pytest.param(
            "finetune_trainer.__main__",
            HEAVY | CLUSTER | SERVICE | {"finetune_operator"},
            id="trainer, before it has read its config",
        ),
    ],
)
def test_an_import_is_light(module: str, forbidden: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({forbidden!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["-c", "import collections"], id="-c"),
        pytest.param(["-m", "json.tool", "--help"], id="-m"),
    ],
)
def test_python_starts_in_the_root_of_the_repository(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True)


def test_operator_is_the_standard_librarys() -> None:
    assert Path(str(operator.__file__)).parent == Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("source_root", ["operator", "trainer"])
def test_a_source_root_holds_packages_only(source_root: str) -> None:
    loose = [path.name for path in (ROOT / source_root).iterdir() if path.is_file()]
    assert loose == []


def test_tests_are_no_package() -> None:
    packages = [
        path for path in (ROOT / "tests").rglob("__init__.py") if "emulators" not in path.parts
    ]
    assert packages == []


def test_the_borders_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    command = [str(lint), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
