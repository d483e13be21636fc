"""What a user changes between the operator's look and its submission is never trained as it was.

Each scenario has a site of its own; they are played side by side.
"""

import pytest

from support.api_gate import ApiGate, Barrier
from support.hosted_site import SLOW, Outcomes, Scenario, Site, condition, rows
from support.kube import CONFIG_MAPS, Answered, Json
from support.waiting import wait_for

pytestmark = pytest.mark.integration


def _submit_and_hold(site: Site, gate: ApiGate) -> Barrier:
    """A job whose marker has left the operator and not reached the API server."""
    guard = gate.hold("PATCH", "/orca/status$", body='"marker"')
    site.submit("orca", seed=1)
    wait_for(guard.held.is_set, "the marker is on its way")
    return guard


def _edited_before_the_guard(site: Site, change: Json) -> Json:
    """Change the job while its marker is on its way; the only job at the service."""
    with (
        ApiGate(site.kube.plane, site.folder) as gate,
        site.operator(kubeconfig=gate.kubeconfig).wait_until_leading(),
    ):
        guard = _submit_and_hold(site, gate)
        site.edit("orca", {"spec": change})
        gate.release(guard)
        assert guard.status.result(10) == 409
        site.wait_for_phase("orca", "Succeeded")
    [remote] = site.remote("orca")
    return remote


def hyperparameters_are_edited(site: Site) -> None:
    remote = _edited_before_the_guard(
        site, {"seed": 7, "hyperparameters": {"epochs": 3, "batchSize": 8}}
    )
    assert remote["seed"] == 7
    asked = remote["method"]["supervised"]["hyperparameters"]
    assert (asked["n_epochs"], asked["batch_size"]) == (3, 8)
    status = site.status("orca")
    assert status["startedGeneration"] == status["observedGeneration"] == 2


def the_model_is_edited(site: Site) -> None:
    remote = _edited_before_the_guard(site, {"model": {"name": "gpt-4.1-nano-2025-04-14"}})
    assert remote["model"] == "gpt-4.1-nano-2025-04-14"


def the_data_are_edited(site: Site) -> None:
    """Other rows are checked and uploaded before they are trained."""
    site.kube.patch(CONFIG_MAPS, site.namespace, "gsm8k", {"data": {"more.jsonl": rows(64)}})
    remote = _edited_before_the_guard(
        site, {"data": {"training": {"configMap": {"key": "more.jsonl"}}}}
    )
    [wanted] = [file for file in site.training_files() if file["bytes"] == len(rows(64).encode())]
    assert remote["training_file"] == wanted["id"]
    assert site.status("orca")["data"]["training"]["examples"] == 64


def suspended_before_the_guard(site: Site) -> None:
    with (
        ApiGate(site.kube.plane, site.folder) as gate,
        site.operator(kubeconfig=gate.kubeconfig).wait_until_leading(),
    ):
        guard = _submit_and_hold(site, gate)
        site.edit("orca", {"spec": {"suspend": True}})
        gate.release(guard)
        assert guard.status.result(10) == 409
        site.wait_for_phase("orca", "Suspended")
        assert site.emulator.jobs() == []
        site.edit("orca", {"spec": {"suspend": False}})
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


def after_the_guard_the_spec_is_frozen(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading():
        site.submit("orca", seed=1)
        site.wait_for_remote("orca", "is there", lambda job: True)
        with pytest.raises(Answered, match="seed") as refused:
            site.edit("orca", {"spec": {"seed": 7}})
        assert refused.value.status == 422


def edited_while_the_data_are_read(site: Site) -> None:
    """The prepare pod of the old spec is stopped; its report would count for nothing."""
    site.kube.patch(CONFIG_MAPS, site.namespace, "gsm8k", {"data": {"train.jsonl": None}})
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Preparing")
        site.kube.patch(CONFIG_MAPS, site.namespace, "gsm8k", {"data": {"more.jsonl": rows(64)}})
        site.edit("orca", {"spec": {"data": {"training": {"configMap": {"key": "more.jsonl"}}}}})
        status = site.wait_for_phase("orca", "Succeeded")
    assert status["data"]["training"]["examples"] == 64
    assert condition(status, "DataValid")["observedGeneration"] == 2
    assert len(site.remote("orca")) == 1


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(hyperparameters_are_edited, "hyperparameters edited before the guard"),
        row(the_model_is_edited, "model edited before the guard"),
        row(the_data_are_edited, "data edited before the guard"),
        row(suspended_before_the_guard, "suspended before the guard"),
        row(edited_while_the_data_are_read, "data edited while they are read"),
        row(after_the_guard_the_spec_is_frozen, "edited after the guard: refused"),
    ],
)
def test_edit(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()
