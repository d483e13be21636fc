"""The image builder: what changes a tag, and what a build may know of this machine."""

import subprocess
from pathlib import Path

import pytest

from images import machine, recipes

HACK = Path(__file__).parents[2] / "hack"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one file in each place that a recipe names."""
    monkeypatch.setattr(recipes, "REPOSITORY", tmp_path)
    for recipe in recipes.RECIPES.values():
        named = ("Dockerfile", "hack/images/base.py", recipe.dependencies.requirements)
        for name in (*named, *recipe.code):
            path = tmp_path / name
            file = path if path.suffix or name == "Dockerfile" else path / "module.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("before")
    return tmp_path


def tags() -> dict[str, str]:
    return {name: recipe.tag() for name, recipe in recipes.RECIPES.items()}


@pytest.mark.parametrize(
    ("changed", "want"),
    [
        pytest.param(
            "operator/finetune_operator/new.py",
            {"operator", "azure-openai-emulator"},
            id="the operator's code: the trainer is not built again",
        ),
        pytest.param(
            "operator/finetune_api/new.py",
            {"operator", "trainer", "azure-openai-emulator"},
            id="the contract: all that speak it",
        ),
        pytest.param("trainer/new.py", {"trainer"}, id="the trainer's code: the trainer alone"),
        pytest.param("requirements/trainer.txt", {"trainer"}, id="the trainer's packages"),
        pytest.param("hack/smollm2.py", {"hub"}, id="how the model is converted: the hub"),
        pytest.param("Dockerfile", set(recipes.RECIPES), id="the Dockerfile: everything"),
        pytest.param("operator/__pycache__/x.pyc", set(), id="compiled code: nothing"),
        pytest.param("README.md", set(), id="what no image holds: nothing"),
    ],
)
def test_a_change_gives_new_tags_to_the_images_that_hold_it(
    repository: Path, changed: str, want: set[str]
) -> None:
    before = tags()
    (repository / changed).parent.mkdir(parents=True, exist_ok=True)
    (repository / changed).write_text("after")
    assert {name for name, tag in tags().items() if tag != before[name]} == want


def test_the_build_installs_from_the_registry_of_this_machines_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "pip.conf"
    configured.write_text(
        "[global]\nindex-url = https://in-file\ncert = /my/ca.pem\ncache-dir = /mine\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configured))
    monkeypatch.delenv("PIP_CERT", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "https://in-environment")
    lines = machine.pip_configuration().splitlines()
    assert "index-url = https://in-environment" in lines
    assert "cert = /run/certificates.pem" in lines
    assert not [line for line in lines if "cache-dir" in line]
    assert machine.certificates() == Path("/my/ca.pem")


@pytest.mark.parametrize(
    ("environment", "want"),
    [
        pytest.param({}, ["UV_DEFAULT_INDEX=https://in-file/a b"], id="pip's file"),
        pytest.param(
            {"PIP_INDEX_URL": "https://pip", "PIP_FIND_LINKS": "/wheels"},
            ["UV_DEFAULT_INDEX=https://pip", "UV_FIND_LINKS=/wheels"],
            id="pip's environment goes first",
        ),
        pytest.param(
            {"UV_DEFAULT_INDEX": "https://uv"}, ["UV_DEFAULT_INDEX=https://uv"], id="uv's own"
        ),
    ],
)
def test_uv_installs_from_where_pip_does(
    tmp_path: Path, environment: dict[str, str], want: list[str]
) -> None:
    """As in the Makefile: by a Python that has nothing but its standard library."""
    configured = tmp_path / "pip.conf"
    configured.write_text("[global]\nindex-url = https://in-file/a b\n")
    done = subprocess.run(
        ["sh", "-c", 'eval "$(python3 -IS -c "$CODE")" && env'],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CODE": f"import sys; sys.path.append({str(HACK)!r}); import runpy;"
            " runpy.run_module('images.machine', run_name='__main__')",
            "PIP_CONFIG_FILE": str(configured),
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("UV_")) == want


@pytest.mark.parametrize(
    ("apt", "want"),
    [
        pytest.param(
            "echo https://mirror/debian/; echo https://other/",
            ["https://mirror/debian/"],
            id="apt's first",
        ),
        pytest.param("exit 100", [], id="apt knows none: debootstrap's own"),
    ],
)
def test_the_base_image_comes_from_apts_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apt: str, want: list[str]
) -> None:
    program = tmp_path / "apt-get"
    program.write_text(f"#!/bin/sh\n{apt}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.apt_mirror("bookworm") == want
