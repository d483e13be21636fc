"""A real API server that has our CRD: what tests write to it and what it answers."""

import json
import subprocess
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from cluster.binaries import binary
from cluster.controlplane import ControlPlane
from finetune_api import constants
from support.builders_api import Manifest

CRD = Path(__file__).parents[2] / "crds" / f"{constants.GROUP}_{constants.PLURAL}.yaml"
_MERGE_PATCH = "application/merge-patch+json"
_SERVED_S = 20


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One reason why the API server refused an object."""

    field: str
    message: str


class Refused(Exception):
    """The API server did not take the object."""

    def __init__(self, answer: Manifest) -> None:
        super().__init__(answer["message"])
        causes = answer.get("details", {}).get("causes", [])
        self.causes = [
            Cause(field=cause.get("field", ""), message=cause["message"]) for cause in causes
        ]


def crd_manifest() -> Manifest:
    """The CustomResourceDefinition as it is checked in."""
    manifest: Manifest = yaml.safe_load(CRD.read_text())
    return manifest


def schema(crd: Manifest) -> Manifest:
    """The schema within a CRD, to read or to change in place."""
    root: Manifest = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


class CrdServer:
    """One API server; `group` tells today's CRD from a fixture's."""

    def __init__(self, plane: ControlPlane, group: str = constants.GROUP) -> None:
        self.plane = plane
        self._http = urllib3.PoolManager(
            ca_certs=str(plane.authority.certificate),
            cert_file=str(plane.admin.certificate),
            key_file=str(plane.admin.key),
        )
        self._group = group

    def with_group(self, group: str) -> "CrdServer":
        """The same server, for a CRD of another group."""
        return CrdServer(self.plane, group)

    def install(self, crd: Manifest) -> None:
        """Create or replace a CRD of this group, and wait until it is served."""
        crd = deepcopy(crd)
        crd["spec"]["group"] = self._group
        crd["metadata"]["name"] = f"{constants.PLURAL}.{self._group}"
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        self._call(
            "PATCH",
            f"{path}?fieldManager=test&force=true",
            crd,
            content_type="application/apply-patch+yaml",
        )
        deadline = time.monotonic() + _SERVED_S
        while not (self._exists(self._path()) and self._exists("/api/v1/namespaces/default")):
            assert time.monotonic() < deadline, "the CRD was not served in time"
            time.sleep(0.05)

    def wait_until_refused(self, manifest: Manifest) -> None:
        """Wait until a changed CRD is in force, which would refuse this object."""
        deadline = time.monotonic() + _SERVED_S
        while True:
            try:
                self.create(manifest, dry_run=True)
            except Refused:
                return
            assert time.monotonic() < deadline, "the CRD did not change in time"
            time.sleep(0.05)

    def _exists(self, path: str) -> bool:
        return self._request("GET", path, None, "").status == 200

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object; what the server stored.

        Raises:
            Refused: with the server's reasons.
        """
        return self._call("POST", self._path() + _dry(dry_run), self._grouped(manifest))

    def replace(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Write an object over the one that stands there."""
        path = self._path(manifest["metadata"]["name"])
        return self._call("PUT", path + _dry(dry_run), self._grouped(manifest))

    def patch_status(self, name: str, status: Any) -> Manifest:
        """Merge something into the status of an object."""
        return self._call("PATCH", self._path(name) + "/status", {"status": status})

    def patch(self, name: str, body: Manifest) -> Manifest:
        """Merge something into an object."""
        return self._call("PATCH", self._path(name), body)

    def delete(self, name: str) -> None:
        """Delete an object."""
        self._call("DELETE", self._path(name))

    def stored(self, manifest: Manifest) -> Manifest:
        """Create an object and give it the status that stands in its manifest."""
        created = self.create(manifest)
        if "status" in manifest:
            return self.patch_status(created["metadata"]["name"], manifest["status"])
        return created

    def kubectl(self, *arguments: str) -> str:
        """What the real kubectl prints."""
        command = [str(binary("kubectl")), "--kubeconfig", str(self.plane.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def _path(self, name: str = "") -> str:
        parts = ("apis", self._group, constants.VERSION, "namespaces/default", constants.PLURAL)
        return "/" + "/".join((*parts, name) if name else parts)

    def _grouped(self, manifest: Manifest) -> Manifest:
        return manifest | {"apiVersion": f"{self._group}/{constants.VERSION}"}

    def _call(
        self, verb: str, path: str, body: Any = None, *, content_type: str = _MERGE_PATCH
    ) -> Manifest:
        answer = self._request(
            verb, path, body, content_type if verb == "PATCH" else "application/json"
        )
        said: Manifest = answer.json()
        if answer.status >= 400:
            raise Refused(said)
        return said

    def _request(
        self, verb: str, path: str, body: Any, content_type: str
    ) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            verb,
            self.plane.server + path,
            body=json.dumps(body),
            headers={"Content-Type": content_type, "Accept": "application/json"},
        )


def _dry(dry_run: bool) -> str:
    return "?dryRun=All" if dry_run else ""
