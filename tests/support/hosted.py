"""A namespace with Secrets and ServiceAccounts in memory, and FineTuneJobs that use them.

Stands for the API server where only the hosted backend is looked at.
"""

import base64
from collections.abc import Callable
from typing import Any

from finetune_api.constants import AZURE_TOKEN_AUDIENCE
from finetune_api.job import FineTuneJob
from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import SECRETS, SERVICE_ACCOUNTS, Resource
from finetune_operator.core.errors import Transient
from support.builders_api import changed, hosted_job
from support.emulator import API_KEY

NAMESPACE = "team-a"
SECRET, SECRET_KEY = "azure", "api-key"
SERVICE_ACCOUNT = "trainer"
TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
SUBJECT = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
IDENTITY_AUTH = {
    "workloadIdentity": {
        "serviceAccountName": SERVICE_ACCOUNT,
        "clientID": CLIENT,
        "tenantID": TENANT,
    }
}


def a_hosted_job(changes: dict[str, Any] | None = None, *, name: str = "gsm8k") -> FineTuneJob:
    """A stored FineTuneJob of `NAMESPACE`, with these paths changed."""
    metadata = {"metadata.namespace": NAMESPACE, "metadata.uid": f"uid-of-{name}"}
    return FineTuneJob.model_validate(changed(hosted_job(name), metadata | (changes or {})))


class Namespace:
    """What an API server would say about `NAMESPACE`; counts what it is asked."""

    def __init__(self, *, sign: Callable[[], str] = lambda: "a-token") -> None:
        self.secrets: dict[str, dict[str, str]] = {SECRET: {SECRET_KEY: API_KEY}}
        self.service_accounts = {SERVICE_ACCOUNT}
        self.denies: set[Resource] = set()
        self.requests = 0
        self._sign = sign

    async def get(
        self, resource: Resource, namespace: str, name: str, *, denied: Reason
    ) -> dict[str, Any] | None:
        assert (resource, namespace) == (SECRETS, NAMESPACE)
        self._asked(resource, denied)
        if name not in self.secrets:
            return None
        data = self.secrets[name]
        return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}

    async def create_subresource(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: dict[str, Any],
        *,
        denied: Reason,
    ) -> dict[str, Any] | None:
        assert (resource, namespace, subresource) == (SERVICE_ACCOUNTS, NAMESPACE, "token")
        assert body["spec"]["audiences"] == [AZURE_TOKEN_AUDIENCE]
        self._asked(resource, denied)
        return {"status": {"token": self._sign()}} if name in self.service_accounts else None

    def _asked(self, resource: Resource, denied: Reason) -> None:
        self.requests += 1
        if resource in self.denies:
            raise Transient(denied, "the API server says no", waits_for_user=True)
