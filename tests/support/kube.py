"""A small client of an API server for tests: any object.

It knows no model class and no operator: what it returns is what the API server stores.
"""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import urllib3

from cluster.binaries import binary
from cluster.controlplane import ControlPlane
from finetune_api import constants
from support.waiting import wait_for

Json = dict[str, Any]

JOBS = f"/apis/{constants.API_VERSION}/namespaces/{{}}/{constants.PLURAL}"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
SECRETS = "/api/v1/namespaces/{}/secrets"
SERVICE_ACCOUNTS = "/api/v1/namespaces/{}/serviceaccounts"
EVENTS = "/api/v1/namespaces/{}/events"
NAMESPACES = "/api/v1/namespaces"

_MERGE_PATCH = "application/merge-patch+json"


class Answered(Exception):
    """The API server refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


class Kube:
    """One API server, as its administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self._http = urllib3.PoolManager(
            maxsize=16,
            retries=False,
            timeout=urllib3.Timeout(20),
            ca_certs=str(plane.authority.certificate),
            cert_file=str(plane.admin.certificate),
            key_file=str(plane.admin.key),
        )

    def call(
        self, verb: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> Json:
        """One request; Answered unless it succeeds."""
        response = self._http.request(
            verb,
            self.plane.server + path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type, "Accept": "application/json"},
        )
        answer: Json = response.json()
        if response.status >= 400:
            raise Answered(response.status, str(answer.get("message")))
        return answer

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """One object, or None."""
        try:
            return self.call("GET", f"{kind.format(namespace)}/{name}")
        except Answered as e:
            if e.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str) -> list[Json]:
        """All objects of a kind in a namespace."""
        items: list[Json] = self.call("GET", kind.format(namespace))["items"]
        return items

    def create(self, kind: str, namespace: str, body: Json) -> Json:
        """Create an object."""
        return self.call("POST", kind.format(namespace), body)

    def patch(self, kind: str, namespace: str, name: str, body: Json, sub: str = "") -> Json:
        """Merge something into an object, or into its status with `sub` "status"."""
        path = f"{kind.format(namespace)}/{name}" + (f"/{sub}" if sub else "")
        return self.call("PATCH", path, body, content_type=_MERGE_PATCH)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Ask for an object's deletion."""
        self.call("DELETE", f"{kind.format(namespace)}/{name}")

    def make_namespace(self, name: str) -> None:
        """A namespace in which pods can be created."""
        self.call("POST", NAMESPACES, {"metadata": {"name": name}})
        wait_for(
            lambda: self.get(SERVICE_ACCOUNTS, name, "default"),
            f"the default service account of namespace {name}",
            within=30,
        )

    def config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create a ConfigMap."""
        self.create(CONFIG_MAPS, namespace, {"metadata": {"name": name}, "data": dict(data)})

    def secret(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """Create a Secret."""
        self.create(SECRETS, namespace, {"metadata": {"name": name}, "stringData": dict(data)})

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What the real kubectl prints."""
        command = [str(binary("kubectl")), f"--kubeconfig={self.plane.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout
