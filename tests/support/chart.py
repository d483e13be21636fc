"""The chart as the real Helm renders it."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "finetune-operator"
NAMESPACE = "finetune-system"
HELM = Path(sys.executable).with_name("helm")

Manifest = dict[str, Any]


class HelmRefused(Exception):
    """Helm did not take the chart or the values; its own words."""


@cache
def helm(*arguments: str) -> str:
    """Run Helm; what it prints.

    Raises:
        HelmRefused: it failed.
    """
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmRefused(done.stderr + done.stdout)
    return done.stdout


def shapes(chart: Path = CHART) -> list[Path]:
    """The values files of the shapes that are supported."""
    return sorted((chart / "ci").glob("*-values.yaml"))


def render(*options: str, chart: Path = CHART, release: str = "ft") -> list[Manifest]:
    """The manifests of a release with these further options of `helm template`."""
    text = helm("template", release, str(chart), "--namespace", NAMESPACE, *options)
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def environment(manifests: list[Manifest]) -> dict[str, str]:
    """The plain environment variables of the operator's container, as the kubelet reads them."""
    (deployment,) = of_kind(manifests, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    plain = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    return {name: value.replace("$$", "$") for name, value in plain.items()}
