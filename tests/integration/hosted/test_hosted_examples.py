"""Every hosted example, by the commands that stand in its own head, becomes its models."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.emulator import API_KEY
from support.hosted_site import EXAMPLES, Site
from support.kube import CONFIG_MAPS, Json
from support.waiting import IN_TIME

pytestmark = pytest.mark.integration


def commands(example: Path) -> Iterator[list[str]]:
    """What the head of an example says to type, but for the example itself."""
    head = example.read_text().partition("\napiVersion:")[0]
    lines = [line.removeprefix("#").strip() for line in head.splitlines()]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.startswith("kubectl ") and example.name not in line:
            told = line.replace("examples/data", str(EXAMPLES / "data"))
            yield shlex.split(told.replace("YOUR-KEY", API_KEY))[1:]


def trained(site: Site, example: Path) -> list[Json]:
    """The FineTuneJobs of an example, once they have succeeded."""
    here = f"--namespace={site.namespace}"
    site.kube.delete(CONFIG_MAPS, site.namespace, "gsm8k")  # the examples bring their own
    for command in commands(example):
        site.kube.kubectl(*command, here)
    manifests = list(yaml.safe_load_all(example.read_text()))
    for manifest in manifests:
        manifest["spec"]["azureOpenAI"]["endpoint"] = site.emulator.url
    names = [manifest["metadata"]["name"] for manifest in manifests]
    with site.lone_operator().wait_until_leading():
        site.kube.kubectl("apply", here, "--filename=-", stdin=yaml.safe_dump_all(manifests))
        for name in names:
            site.kube.kubectl(
                "wait",
                here,
                "--for=condition=Succeeded",
                f"ftj/{name}",
                f"--timeout={2 * IN_TIME:g}s",
            )
    return [job for name in names if (job := site.job(name)) is not None]


def test_preferences(site: Site) -> None:
    [job] = trained(site, EXAMPLES / "dpo-azure-orca.yaml")

    [remote] = site.emulator.jobs()
    assert remote["method"]["type"] == "dpo"
    assert remote["method"]["dpo"]["hyperparameters"]["beta"] == 0.1
    status = job["status"]
    assert (status["method"], status["data"]["training"]["examples"]) == ("DPO", 284)
    assert status["resolved"]["beta"] == {"value": "0.1", "reason": "the service's echo"}
    assert float(status["metrics"]["trainLoss"]) > 0


def test_rewards(site: Site) -> None:
    [job] = trained(site, EXAMPLES / "rft-azure-countdown.yaml")

    [remote] = site.emulator.jobs()
    settings = remote["method"]["reinforcement"]
    assert (settings["grader"]["type"], settings["grader"]["range"]) == ("score_model", [0, 5])
    assert settings["response_format"]["json_schema"]["strict"] is True
    status = job["status"]
    assert status["method"] == "Reinforcement"
    assert status["resolved"]["reasoningEffort"]["value"] == "medium"
    assert float(status["metrics"]["trainReward"]) > 0
    assert float(status["metrics"]["validationReward"]) > 0
    assert all(point["metrics"]["validationReward"] for point in status["result"]["checkpoints"])


def test_a_stack(site: Site) -> None:
    first, second = trained(site, EXAMPLES / "stack-azure.yaml")

    points = first["status"]["result"]["checkpoints"]
    best = min(points, key=lambda point: float(point["metrics"]["validationLoss"]))
    assert second["status"]["azureOpenAI"]["submission"]["model"] == best["name"]
    [remote] = [job for job in site.emulator.jobs() if job["method"]["type"] == "dpo"]
    assert remote["model"] == best["name"]
    ready = next(c for c in second["status"]["conditions"] if c["type"] == "ModelReady")
    assert (ready["status"], best["name"] in ready["message"]) == ("True", True)
