"""A cluster as its administrator, through whatever kubeconfig is in use.

Any object by its kind. Knows no operator and no manifest.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes.client import ApiException
from kubernetes.config import new_client_from_config

from finetune_api import constants

Json = dict[str, Any]

_CORE = "/api/v1"
_BATCH = "/apis/batch/v1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_COLLECTIONS = {
    constants.KIND: f"/apis/{constants.API_VERSION}/namespaces/{{}}/{constants.PLURAL}",
    "ConfigMap": f"{_CORE}/namespaces/{{}}/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Event": f"{_CORE}/namespaces/{{}}/events",
    "Job": f"{_BATCH}/namespaces/{{}}/jobs",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Namespace": f"{_CORE}/namespaces",
    "Node": f"{_CORE}/nodes",
    "PersistentVolumeClaim": f"{_CORE}/namespaces/{{}}/persistentvolumeclaims",
    "Pod": f"{_CORE}/namespaces/{{}}/pods",
    "ResourceQuota": f"{_CORE}/namespaces/{{}}/resourcequotas",
    "Role": f"{_RBAC}/namespaces/{{}}/roles",
    "RoleBinding": f"{_RBAC}/namespaces/{{}}/rolebindings",
    "Secret": f"{_CORE}/namespaces/{{}}/secrets",
    "ServiceAccount": f"{_CORE}/namespaces/{{}}/serviceaccounts",
}
_MERGE_PATCH = "application/merge-patch+json"


class Cluster:
    """One API server."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._client = new_client_from_config(str(kubeconfig))

    def call(
        self, verb: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> bytes:
        """One request; ApiException unless it succeeds."""
        request = self._client.param_serialize(
            verb,
            path,
            header_params={"Content-Type": content_type, "Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*request, _request_timeout=30)
        content: bytes = answer.read()
        if not 200 <= answer.status < 300:
            raise ApiException(status=answer.status, reason=content.decode(errors="replace"))
        return content

    def _object(self, verb: str, path: str, body: object = None, **options: str) -> Json:
        found: Json = json.loads(self.call(verb, path, body, **options))
        return found

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        try:
            return self._object("GET", f"{_COLLECTIONS[kind].format(namespace)}/{name}")
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str, labels: str = "") -> list[Json]:
        """All objects of a kind in a namespace that have these labels."""
        query = "?" + urlencode({"labelSelector": labels}) if labels else ""
        items: list[Json] = self._object("GET", _COLLECTIONS[kind].format(namespace) + query)[
            "items"
        ]
        return items

    def create(self, namespace: str, manifest: Json) -> Json:
        """Create an object."""
        return self._object("POST", _COLLECTIONS[manifest["kind"]].format(namespace), manifest)

    def patch(self, kind: str, namespace: str, name: str, body: Json, sub: str = "") -> Json:
        """Merge something into an object, or into its subresource."""
        path = f"{_COLLECTIONS[kind].format(namespace)}/{name}" + (f"/{sub}" if sub else "")
        return self._object("PATCH", path, body, content_type=_MERGE_PATCH)

    def delete(self, kind: str, namespace: str, name: str, **options: object) -> None:
        """Ask for an object's deletion; nothing if it is gone."""
        path = f"{_COLLECTIONS[kind].format(namespace)}/{name}"
        try:
            self.call("DELETE", path, options or None)
        except ApiException as error:
            if error.status != 404:
                raise

    def evict(self, namespace: str, pod: str) -> None:
        """Evict a pod through the Eviction API, as a drain does."""
        manifest = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        self.call("POST", f"{_COLLECTIONS['Pod'].format(namespace)}/{pod}/eviction", manifest)

    def logs(self, namespace: str, pod: str, *, tail: int = 60) -> str:
        """The end of a pod's log; why not, if there is none."""
        path = f"{_COLLECTIONS['Pod'].format(namespace)}/{pod}/log?tailLines={tail}"
        try:
            return self.call("GET", path).decode(errors="replace")
        except ApiException as error:
            return f"(no log: {error.reason})"

    def through_service(
        self, verb: str, namespace: str, service: str, path: str, body: object = None
    ) -> Json:
        """What a Service answers, reached through the API server: works from anywhere."""
        proxy = f"{_CORE}/namespaces/{namespace}/services/{service}/proxy"
        return self._object(verb, f"{proxy}/{path}", body)
