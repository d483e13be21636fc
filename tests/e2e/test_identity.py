"""Workload identity from end to end: no key anywhere, and each refusal says whom to ask.

The prepare pod shows a projected token, the operator one that it asks the API server for; the
emulated directory checks both against the cluster's own signing keys.
"""

import json
from pathlib import Path

import pytest
import yaml

from deploy.install import EMULATOR, SYSTEM
from deploy.tools import kubectl
from finetune_api.constants import FORCE_NEW_ANNOTATION
from support.builders_api import Manifest
from support.e2e import SOON, TRAINED, Space
from support.e2e_objects import SECRET, hosted, may_be, obj
from support.e2e_status import assert_told

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCOUNT = "tuner"
TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"


def identified() -> Manifest:
    """A hosted job with an identity instead of a key."""
    identity = {"serviceAccountName": ACCOUNT, "tenantID": TENANT, "clientID": CLIENT}
    return hosted(**{"azureOpenAI.auth": {"workloadIdentity": identity}})


def federate(space: Space) -> None:
    """What somebody does at Entra: this ServiceAccount may become that client."""
    subject = f"system:serviceaccount:{space.name}:{ACCOUNT}"
    order = {"tenant_id": TENANT, "client_id": CLIENT, "subject": subject}
    space.site.emulator("POST", "federations", order)


def grant(space: Space) -> None:
    """What the chart's `tenants` do: the operator may ask for this ServiceAccount's tokens."""
    space.create(*may_be(ACCOUNT, space.site.account, SYSTEM))


@pytest.fixture
def keyless(space: Space) -> Space:
    """Without the account's key, with a ServiceAccount."""
    space.delete("Secret", SECRET)
    space.create(obj("ServiceAccount", ACCOUNT))
    return space


def test_an_identity_takes_the_place_of_a_key(keyless: Space) -> None:
    federate(keyless)
    grant(keyless)
    run = keyless.run(identified())
    status = run.until_phase("Succeeded", within=3 * SOON)
    assert keyless.remote_job(status["azureOpenAI"]["jobID"])["status"] == "succeeded"
    assert keyless.objects("Secret") == []


def test_the_example_needs_only_its_placeholders_filled_in(keyless: Space) -> None:
    given = yaml.safe_load((EXAMPLES / "sft-azure-workload-identity.yaml").read_text())
    identity = given["spec"]["azureOpenAI"]["auth"]["workloadIdentity"]
    assert identity["serviceAccountName"] == ACCOUNT
    identity.update(tenantID=TENANT, clientID=CLIENT)
    given["spec"]["azureOpenAI"]["endpoint"] = f"https://{EMULATOR}"
    given["metadata"]["annotations"] = {FORCE_NEW_ANNOTATION: "true"}  # the account keeps others'
    data = EXAMPLES / "data" / "gsm8k-configmap.yaml"
    kubectl("apply", "-n", keyless.name, "--server-side", "-f", str(data))
    federate(keyless)
    grant(keyless)
    status = keyless.run(given).until_phase("Succeeded", within=TRAINED)
    assert status["data"]["training"]["examples"] == 449


def test_a_service_account_that_the_operator_may_not_use(keyless: Space) -> None:
    federate(keyless)
    run = keyless.run(identified())
    status = run.until_reason("PermissionDenied", within=2 * SOON)
    want = (
        f"may not request tokens of ServiceAccount `{ACCOUNT}` in namespace {keyless.name}: "
        r"add \{namespace: .*\} to the chart's `tenants`, or .*serviceaccounts/token"
    )
    assert_told(status, status["phase"], "PermissionDenied", want)
    assert "jobID" not in status.get("azureOpenAI", {})
    grant(keyless)
    run.until_phase("Succeeded", within=3 * SOON)


def test_an_identity_that_nobody_federated(keyless: Space) -> None:
    grant(keyless)
    run = keyless.run(identified())
    status = run.until_reason("AuthenticationFailed", within=2 * SOON)
    want = rf"Entra gives .*{CLIENT}.* no token: check clientID.*federated credential"
    assert_told(status, "Preparing", "AuthenticationFailed", want)
    assert "eyJ" not in json.dumps(status)  # how every token begins
    federate(keyless)
    run.until_phase("Succeeded", within=5 * SOON)
