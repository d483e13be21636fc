"""The main job on the hosted backend: from a manifest to a model, and what may refuse it."""

import pytest
import yaml

from support.api_gate import ApiGate
from support.emulator import API_KEY
from support.emulator_control import JOBS_PATH
from support.hosted_site import (
    EXAMPLES,
    SPEED,
    Outcomes,
    Scenario,
    Site,
    Sites,
    condition,
)
from support.kube import CONFIG_MAPS, SERVICE_ACCOUNTS, Json
from support.prepare_stand_in import PODS
from support.waiting import IN_TIME, wait_for

pytestmark = pytest.mark.integration

TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"


def the_example_becomes_a_model(site: Site) -> None:
    site.kube.delete(CONFIG_MAPS, site.namespace, "gsm8k")
    site.kube.secret(site.namespace, "azure-openai", {"key": API_KEY})
    here = f"--namespace={site.namespace}"
    data = EXAMPLES / "data" / "gsm8k-configmap.yaml"
    site.kube.kubectl("apply", here, "--server-side", f"--filename={data}")
    manifest = yaml.safe_load((EXAMPLES / "sft-azure-gsm8k.yaml").read_text())
    manifest["spec"]["azureOpenAI"]["endpoint"] = site.emulator.url
    with site.lone_operator().wait_until_leading() as operator:
        site.kube.kubectl("apply", here, "--filename=-", stdin=yaml.safe_dump(manifest))
        site.kube.kubectl(
            "wait",
            here,
            "--for=condition=Succeeded",
            "ftj/sft-azure-gsm8k",
            f"--timeout={IN_TIME:g}s",
        )
        site.wait_until_let_go("sft-azure-gsm8k")
        metrics = operator.read("metrics")
    assert 'finetune_hosted_requests_total{code="200",operation="create"} 1.0' in metrics
    assert API_KEY not in metrics
    job = site.job("sft-azure-gsm8k")
    assert job is not None
    [remote] = site.emulator.jobs()
    _check_status(job, remote)
    assert len(site.training_files()) == 2
    assert remote["suffix"].startswith("gsm8k-")
    assert (remote["seed"], remote["trainingType"]) == (105, "globalStandard")
    assert site.result("sft-azure-gsm8k") == {
        "model": remote["fine_tuned_model"],
        "jobID": remote["id"],
        "endpoint": site.emulator.url,
    }
    printed = site.kube.kubectl("get", here, "ftj").splitlines()
    assert printed[0].split() == ["NAME", "PHASE", "BACKEND", "MODEL", "PROGRESS", "ETA", "AGE"]
    want = ["sft-azure-gsm8k", "Succeeded", "AzureOpenAI", "gpt-4.1-mini-2025-04-14", "100%"]
    assert printed[1].split()[:5] == want


def _check_status(job: Json, remote: Json) -> None:
    status = job["status"]
    assert status["result"]["model"] == remote["fine_tuned_model"]
    assert [point["step"] for point in status["result"]["checkpoints"]] == [29, 58]
    assert float(status["metrics"]["trainLoss"]) > 0
    assert float(status["metrics"]["validationLoss"]) > 0
    told = status["azureOpenAI"]
    assert (told["jobID"], told["rawStatus"]) == (remote["id"], "succeeded")
    assert told["trainedTokens"] == remote["trained_tokens"]
    assert told["billedTokens"] > 0
    assert status["data"]["training"]["examples"] == 449
    assert status["resolved"]["epochs"] == {"value": "2", "reason": "the service's echo"}
    assert (status["observedGeneration"], status["startedGeneration"]) == (1, 1)
    true = {c["type"] for c in status["conditions"] if c["status"] == "True"}
    assert true == {"Ready", "DataValid", "Submitted", "TrainingComplete", "Succeeded"}
    [attempt] = status["attempts"]
    assert (attempt["reason"], attempt["step"]) == ("Succeeded", 58)


def a_rotated_key_is_picked_up(site: Site) -> None:
    """The service refuses the key that is in memory: the Secret is read anew at once."""
    site.emulator.run_at(0)
    with (
        ApiGate(site.kube.plane, site.folder) as gate,
        site.operator(kubeconfig=gate.kubeconfig).wait_until_leading() as operator,
    ):
        site.submit("orca")
        site.wait_for_phase("orca", "Queued")
        read_again = gate.hold("GET", "/secrets/azure$")
        site.emulator.reply(401, "GET", JOBS_PATH, headers={"retry-after": "1"})
        wait_for(read_again.held.is_set, "the Secret is read", told=operator.told)
        gate.release(read_again)
        site.emulator.run_at(SPEED)
        site.wait_for_phase("orca", "Succeeded")


def a_refused_key_stalls_and_clears_itself(site: Site) -> None:
    site.emulator.reply(
        401, "POST", JOBS_PATH, times=None, code="401", headers={"retry-after": "1"}, name="denied"
    )
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        site.wait_for_reason("orca", "AuthenticationFailed")
        status = site.wait("orca", "Stalled", lambda s: condition(s, "Stalled")["status"] == "True")
        assert (status["phase"], status.get("completionTime")) == ("Pending", None)
        assert condition(status, "Reconciling")["status"] is None
        assert "Secret `azure`" in condition(status, "Ready")["message"]
        assert site.remote("orca") == []
        site.emulator.clear_fault("denied")
        site.wait_for_phase("orca", "Succeeded")
    assert len(site.remote("orca")) == 1


def a_wrong_key_is_refused_before_any_job(site: Site) -> None:
    """The prepare pod meets it first; another one tries again once it may have been mended."""
    site.set_key("not-the-key")
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        status = site.wait_for_reason("orca", "AuthenticationFailed")
        assert (status["phase"], condition(status, "Succeeded")["status"]) == ("Preparing", None)
        assert "Put a valid key" in condition(status, "Ready")["message"]
        assert "not-the-key" not in str(status)
        site.set_key(API_KEY)
        status = site.wait_for_phase("orca", "Succeeded")
    assert condition(status, "Stalled")["status"] is None
    assert len(site.remote("orca")) == 1


def an_unknown_model_fails(site: Site) -> None:
    with site.lone_operator().wait_until_leading():
        site.submit("orca", model={"name": "gpt-17"})
        status = site.wait_for_phase("orca", "Failed")
        site.wait_until_let_go("orca")
    ready = condition(status, "Ready")
    assert ready["reason"] in ("RequestRefused", "ModelUnavailable")
    assert "gpt-17" in ready["message"]
    assert condition(status, "Stalled")["status"] == "True"
    assert condition(status, "Succeeded")["status"] == "False"
    assert site.emulator.jobs() == []


def an_endpoint_that_is_not_allowed_gets_no_request(site: Site) -> None:
    with site.operator(
        azure_allowed_endpoints="", stalled_after_seconds=0.001
    ).wait_until_leading():
        site.submit("orca")
        status = site.wait_for_reason("orca", "EndpointNotAllowed")
        assert site.emulator.url in condition(status, "Ready")["message"]
    assert site.emulator.requests()["total"] == 0


def bad_rows_end_before_anything_is_uploaded(site: Site) -> None:
    lines = (EXAMPLES / "data" / "gsm8k-sft" / "train.jsonl").read_text().splitlines()[:48]
    lines[36] = '{"messages": "none"}'
    data = {"train.jsonl": "\n".join(lines)}
    site.kube.patch(CONFIG_MAPS, site.namespace, "gsm8k", {"data": data})
    with site.lone_operator().wait_until_leading():
        site.submit("orca")
        status = site.wait_for_phase("orca", "Failed")
    assert condition(status, "DataValid")["status"] == "False"
    assert "line 37" in condition(status, "DataValid")["message"]
    assert site.emulator.requests()["total"] == 0


def the_chart_places_prepare_pods(site: Site) -> None:
    chosen = {
        "prepare_node_selector": '{"pool": "general"}',
        "prepare_tolerations": '[{"key": "dedicated", "operator": "Exists"}]',
        "prepare_env": '[{"name": "NO_PROXY", "value": ".svc"}]',
    }
    with site.lone_operator(**chosen).wait_until_leading():
        site.submit("orca")
        site.wait_for_phase("orca", "Succeeded")
    [pod] = site.kube.list(PODS, site.namespace)
    assert pod["spec"]["nodeSelector"] == {"pool": "general"}
    assert {"key": "dedicated", "operator": "Exists"} in pod["spec"]["tolerations"]
    assert {"name": "NO_PROXY", "value": ".svc"} in pod["spec"]["containers"][0]["env"]


def row(scenario: Scenario, narrative: str) -> object:
    """A row of the table."""
    return pytest.param(scenario, id=narrative)


@pytest.mark.parametrize(
    "scenario",
    [
        row(the_example_becomes_a_model, "the example becomes a model"),
        row(a_refused_key_stalls_and_clears_itself, "a refused key stalls and clears itself"),
        row(a_wrong_key_is_refused_before_any_job, "a wrong key is refused before any job"),
        row(a_rotated_key_is_picked_up, "a rotated key is picked up"),
        row(an_unknown_model_fails, "an unknown model fails"),
        row(an_endpoint_that_is_not_allowed_gets_no_request, "endpoint not allowed: no request"),
        row(bad_rows_end_before_anything_is_uploaded, "bad rows: nothing is uploaded"),
        row(the_chart_places_prepare_pods, "prepare pods run where the chart says"),
    ],
)
def test_way(scenario: Scenario, outcomes: Outcomes) -> None:
    outcomes[scenario].result()


def test_a_workload_identity_needs_no_secret(sites: Sites) -> None:
    """TokenRequest on the real API server; the account verifies by that server's own keys."""
    with sites.new(issuer=True) as site:
        site.kube.create(SERVICE_ACCOUNTS, site.namespace, {"metadata": {"name": "tuner"}})
        identity = {"serviceAccountName": "tuner", "clientID": CLIENT, "tenantID": TENANT}
        auth = {"auth": {"workloadIdentity": identity}}
        with site.operator(azure_authority_host=site.emulator.url).wait_until_leading():
            site.submit("orca", azureOpenAI=auth)
            site.wait_for_reason("orca", "AuthenticationFailed")
            subject = f"system:serviceaccount:{site.namespace}:tuner"
            site.emulator.federate(tenant_id=TENANT, client_id=CLIENT, subject=subject)
            site.wait_for_phase("orca", "Succeeded")
