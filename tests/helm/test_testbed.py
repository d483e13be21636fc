"""The testbed's chart: valid objects, and arguments that its servers know."""

import os
import subprocess
import sys

import kubernetes_validate
import pytest

from support.chart import ROOT, HelmRefused, Manifest, of_kind, render

CHART = ROOT / "hack" / "testbed" / "chart"
FULL = ("--values", str(CHART / "ci" / "full-values.yaml"))


def objects() -> list[Manifest]:
    return render(*FULL, chart=CHART)


def test_every_object_is_valid() -> None:
    for manifest in objects():
        kubernetes_validate.validate(manifest, "1.34", strict=True)


@pytest.mark.parametrize(("name", "program"), [("emulator", "azure_openai"), ("hub", "hub")])
def test_the_program_knows_its_arguments(name: str, program: str) -> None:
    (deployment,) = [d for d in of_kind(objects(), "Deployment") if d["metadata"]["name"] == name]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    flags = {argument.partition("=")[0] for each in containers for argument in each["args"]}
    usage = subprocess.run(
        [sys.executable, "-m", program, "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests" / "emulators")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {flag for flag in flags if f"{flag} " not in usage} == set()


def test_each_service_finds_its_pods() -> None:
    labels = {
        deployment["metadata"]["name"]: deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in of_kind(objects(), "Deployment")
    }
    selectors = {
        s["metadata"]["name"]: s["spec"]["selector"] for s in of_kind(objects(), "Service")
    }
    assert selectors == labels


def test_an_image_that_is_not_named_is_said() -> None:
    with pytest.raises(HelmRefused, match="must name the hub's image"):
        render(*FULL, "--set", "images.hub=", chart=CHART)


def test_another_certificate_restarts_both() -> None:
    def annotations(certificate: str) -> list[object]:
        found = render(*FULL, "--set", f"tls.certificate={certificate}", chart=CHART)
        return [
            each["spec"]["template"]["metadata"]["annotations"]
            for each in of_kind(found, "Deployment")
        ]

    assert all(one != other for one, other in zip(annotations("a"), annotations("b"), strict=True))
