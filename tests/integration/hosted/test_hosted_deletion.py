"""Deletion: what runs at the service is cancelled first, and nothing holds an object for ever.

Each scenario has a site of its own; they are played side by side.
"""

import pytest
import yaml

from finetune_api.constants import DETACH_ANNOTATION
from support.api_gate import ApiGate
from support.chart import NAMESPACE as RELEASE_NAMESPACE
from support.chart import of_kind, render
from support.emulator import API_KEY
from support.emulator_control import JOBS_PATH
from support.hosted_site import LONG, SLOW, TRAINING_S, Outcomes, Scenario, Site
from support.kube import NAMESPACES, SECRETS, Json
from support.operator_process import OperatorProcess
from support.waiting import wait_for

pytestmark = pytest.mark.integration

_RIGHTS = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_ORPHANS = "finetune_orphaned_remote_objects_total"


def deleted_while_it_trains(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading() as operator:
        site.submit("orca", **LONG)
        site.wait_for_phase("orca", "Queued")
        site.emulator.advance(TRAINING_S)
        site.wait_for_phase("orca", "Running")
        site.delete("orca")
        site.wait_until_gone("orca")
        assert [job["status"] for job in site.remote("orca")] == ["cancelled"]
        assert operator.metric(_ORPHANS) == 0


def deleted_while_its_creation_is_in_doubt(site: Site) -> None:
    site.emulator.run_at(SLOW)
    site.emulator.hold("POST", JOBS_PATH, moment="after")
    with site.lone_operator(deletion_grace_seconds=30).wait_until_leading():
        site.submit("orca")
        site.emulator.wait_until_held()
        site.delete("orca")
        site.emulator.release(drop=True)
        site.wait_until_gone("orca")
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def _left_running(site: Site, *, metadata: Json, spec: Json) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading() as operator:
        site.submit("orca", **spec)
        site.wait_for_phase("orca", "Queued")
        site.edit("orca", {"metadata": metadata})
        site.delete("orca")
        site.wait_until_gone("orca")
        assert [job["status"] for job in site.remote("orca")] == ["pending"]
        assert operator.metric(_ORPHANS) == 0
        if DETACH_ANNOTATION in metadata.get("annotations", {}):
            _wait_for_the_last_words(site, operator)
        else:
            assert not _is_named_in_the_last_words(site, operator)


def detached(site: Site) -> None:
    _left_running(site, metadata={"annotations": {DETACH_ANNOTATION: "true"}}, spec={})


def deleted_with_the_policy_keep(site: Site) -> None:
    _left_running(site, metadata={}, spec={"deletionPolicy": {"job": "Keep"}})


def deleted_and_the_cancel_is_answered(status: int) -> Scenario:
    """It insists for the time of grace, then says what it leaves behind."""

    def scenario(site: Site) -> None:
        site.emulator.run_at(SLOW)
        with site.lone_operator().wait_until_leading() as operator:
            site.submit("orca")
            site.wait_for_phase("orca", "Queued")
            headers = {"retry-after": "1"}
            site.emulator.reply(status, "POST", "/cancel$", times=None, headers=headers)
            site.delete("orca")
            site.wait_until_gone("orca")
            _wait_for_the_last_words(site, operator)
            _wait_for_an_orphan(operator)

    return scenario


def _wait_for_the_last_words(site: Site, operator: OperatorProcess) -> None:
    """They follow the removal of the finalizer: the object may be gone before."""
    wait_for(
        lambda: _is_named_in_the_last_words(site, operator), "the last words", told=operator.told
    )


def _wait_for_an_orphan(operator: OperatorProcess) -> None:
    """It is counted after the object has gone."""
    wait_for(lambda: operator.metric(_ORPHANS) == 1, "one orphan is counted", told=operator.told)


def _is_named_in_the_last_words(site: Site, operator: OperatorProcess) -> bool:
    remote = f"remote={site.remote('orca')[0]['id']}"
    lines = operator.log.read_text().splitlines()
    return any("et go of" in line and remote in line for line in lines)


def deleted_and_the_key_is_mended_in_time(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator(deletion_grace_seconds=60).wait_until_leading() as operator:
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.emulator.reply(401, "POST", "/cancel$", times=2, headers={"retry-after": "1"})
        site.delete("orca")
        site.wait_until_gone("orca")
        assert operator.metric(_ORPHANS) == 0
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def _gone(site: Site, namespace: str) -> None:
    def looked() -> bool:
        found = site.kube.call("GET", NAMESPACES)["items"]
        return namespace not in {item["metadata"]["name"] for item in found}

    wait_for(looked, f"namespace {namespace} is gone", told=lambda: site.told("orca"))


def its_namespace_is_deleted(site: Site) -> None:
    site.emulator.run_at(SLOW)
    with site.lone_operator().wait_until_leading() as operator:
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.kube.call("DELETE", f"{NAMESPACES}/{site.namespace}")
        _gone(site, site.namespace)
        if [job["status"] for job in site.remote("orca")] != ["cancelled"]:
            _wait_for_an_orphan(operator)


def its_namespace_is_deleted_and_the_key_is_gone(site: Site) -> None:
    """The successor cannot read the key any more; the namespace goes within the time of grace."""
    site.emulator.run_at(SLOW)
    first = site.operator().wait_until_leading()
    site.submit("orca")
    site.wait_for_phase("orca", "Queued")
    first.kill()
    site.kube.delete(SECRETS, site.namespace, "azure")
    site.kube.call("DELETE", f"{NAMESPACES}/{site.namespace}")
    with site.operator("operator-2").wait_until_leading() as second:
        _gone(site, site.namespace)
        _wait_for_an_orphan(second)
    assert API_KEY not in second.log.read_text()


def killed_at_the_cancel(site: Site) -> None:
    """Cancelled, but the answer is lost with its reader: the successor sees that it is over."""
    site.emulator.run_at(SLOW)
    site.emulator.hold("POST", "/cancel$", moment="after")
    first = site.operator().wait_until_leading()
    site.submit("orca")
    site.wait_for_phase("orca", "Queued")
    site.delete("orca")
    site.emulator.wait_until_held()
    first.kill()
    site.emulator.release()
    with site.operator("operator-2", deletion_grace_seconds=60).wait_until_leading() as second:
        site.wait_until_gone("orca")
        assert second.metric(_ORPHANS) == 0
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def deleted_with_its_last_request_held(site: Site) -> None:
    """Killed when the finalizer is dropped: the successor finds nothing that is left to do."""
    site.emulator.run_at(SLOW)
    with ApiGate(site.kube.plane, site.folder) as gate:
        barrier = gate.hold("PATCH", "/orca$", body=r'"finalizers":\[\]')
        first = site.operator(kubeconfig=gate.kubeconfig).wait_until_leading()
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.delete("orca")
        wait_for(barrier.held.is_set, "the finalizer is dropped", told=first.told)
        first.kill()
        gate.release(barrier, drop=True)
    with site.operator("operator-2").wait_until_leading():
        site.wait_until_gone("orca")
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def its_namespace_is_deleted_where_few_are_served(site: Site) -> None:
    """With the chart's own rights: the Role in the namespace goes with it, at any moment."""
    site.kube.make_namespace(RELEASE_NAMESPACE)
    values = (
        f"watchNamespaces={{{site.namespace}}}",
        f"tenants[0].namespace={site.namespace}",
        "tenants[0].secretNames={azure}",
    )
    rendered = render("--set", ",".join(values))
    rights = [manifest for kind in _RIGHTS for manifest in of_kind(rendered, kind)]
    site.kube.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(rights))
    plane, name = site.kube.plane, "ft-finetune-operator"
    user = plane.authority.issue("narrow", f"system:serviceaccount:{RELEASE_NAMESPACE}:{name}")
    settings = {"pod_namespace": RELEASE_NAMESPACE, "lease_name": name}
    narrow = plane.kubeconfig_for("narrow", user)
    site.emulator.run_at(SLOW)
    with site.lone_operator(kubeconfig=narrow, **settings).wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        site.kube.call("DELETE", f"{NAMESPACES}/{site.namespace}")
        _gone(site, site.namespace)
    assert [job["status"] for job in site.remote("orca")] == ["cancelled"]


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(its_namespace_is_deleted, "namespace deleted"),
        row(its_namespace_is_deleted_and_the_key_is_gone, "namespace deleted, the key is gone"),
        row(
            its_namespace_is_deleted_where_few_are_served,
            "namespace deleted, which takes the operator's rights in it along",
        ),
        row(deleted_while_it_trains, "cancelled at the service"),
        row(deleted_while_its_creation_is_in_doubt, "while its creation is in doubt"),
        row(detached, "detached, left running"),
        row(deleted_with_the_policy_keep, "policy Keep, left running"),
        row(deleted_and_the_cancel_is_answered(401), "refused key, let go after the grace"),
        row(deleted_and_the_cancel_is_answered(404), "unknown there, let go after the grace"),
        row(deleted_and_the_cancel_is_answered(409), "cancel refused, let go after the grace"),
        row(deleted_and_the_key_is_mended_in_time, "key mended in time, cancelled"),
        row(killed_at_the_cancel, "killed at the cancel"),
        row(deleted_with_its_last_request_held, "killed before the finalizer goes"),
    ],
)
def test_deletion(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()
