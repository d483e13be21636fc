"""Plays the kubelet for prepare pods on a control plane without nodes.

Each pod's volumes are laid out in a folder, the real prepare program runs with its paths moved
there, and its exit code and last words become the pod's status, so that the real Job controller
completes the Job. It knows volumes and a container's end; nothing of the operator's decisions.
"""

import base64
import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3

from finetune_api import constants as c
from support.forked import Forked
from support.kube import CONFIG_MAPS, SECRETS, Answered, Json, Kube
from support.waiting import wait_for

PODS = "/api/v1/namespaces/{}/pods"

_PENDING = (
    f"/api/v1/pods?labelSelector={c.LABEL_COMPONENT}%3D{c.COMPONENT_PREPARE}"
    "&fieldSelector=status.phase%3DPending&resourceVersion=0"
)
_LOOK_EVERY_S = 0.1
_AT_ONCE = 3
_LONGEST_S = 60


class NotThere(Exception):
    """A volume's source is missing: a kubelet would go on waiting."""


class PrepareStandIn:
    """Completes every prepare pod of a control plane; `runs` counts the programs."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        """Start to look for pods; `folder` takes what a node's disk would."""
        self.runs = 0
        self._kube, self._folder = kube, folder
        self._taken: set[str] = set()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="prepare")
        self._watch = threading.Thread(target=self._run, name="prepare stand-in", daemon=True)
        self._watch.start()

    def close(self) -> None:
        """Take no more pods."""
        self._stop.set()
        self._watch.join()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                pods = self._kube.call("GET", _PENDING)["items"]
            except (urllib3.exceptions.HTTPError, Answered):
                continue  # an outage of the API server is part of some tests
            for pod in pods:
                if pod["metadata"]["uid"] not in self._taken:
                    self._taken.add(pod["metadata"]["uid"])
                    self._pool.submit(self._complete, pod)

    def _complete(self, pod: Json) -> None:
        """Run one pod to its end; one that is not complete, or gone, is looked at again."""
        uid = pod["metadata"]["uid"]
        root = self._folder / uid
        try:
            self._lay_out(pod, root)
            code = self._execute(root)
            last_words = root / "last-words"
            message = last_words.read_text() if last_words.exists() else ""
            self._tell(pod, code, message)
        except (NotThere, Answered, urllib3.exceptions.HTTPError):
            self._taken.discard(uid)

    def _lay_out(self, pod: Json, root: Path) -> None:
        """The container's mounts, as files."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for mount in pod["spec"]["containers"][0]["volumeMounts"]:
            place = root / mount["mountPath"].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            for name, content in self._files(pod, volumes[mount["name"]]).items():
                (place / name).write_bytes(content)

    def _files(self, pod: Json, volume: Json) -> Mapping[str, bytes]:
        namespace = pod["metadata"]["namespace"]
        match volume:
            case {"configMap": {"name": name, "items": items}}:
                data = self._needed(CONFIG_MAPS, namespace, name).get("data", {})
                return {item["path"]: _of(data, item["key"]).encode() for item in items}
            case {"secret": {"secretName": name, "items": items}}:
                data = self._needed(SECRETS, namespace, name).get("data", {})
                return {item["path"]: base64.b64decode(_of(data, item["key"])) for item in items}
            case {"downwardAPI": {"items": items}}:
                return {item["path"]: _annotation(pod, item).encode() for item in items}
            case {"projected": {"sources": sources}}:
                return {
                    source["path"]: self._token(pod, source["audience"])
                    for source in (entry["serviceAccountToken"] for entry in sources)
                }
            case {"emptyDir": _}:
                return {}
        raise ValueError(f"no such volume is known here: {volume}")

    def _needed(self, kind: str, namespace: str, name: str) -> Json:
        found = self._kube.get(kind, namespace, name)
        if found is None:
            raise NotThere(name)
        return found

    def _token(self, pod: Json, audience: str) -> bytes:
        account, meta = pod["spec"]["serviceAccountName"], pod["metadata"]
        body = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        return str(self._kube.call("POST", path, body)["status"]["token"]).encode()

    def _execute(self, root: Path) -> int:
        """The exit code of the real program."""
        config = root / c.CONFIG_FILE.lstrip("/")
        config.write_text(_moved(config.read_text(), root))
        environment = {
            "API_KEY_FILE": str(root / c.API_KEY_FILE.lstrip("/")),
            "AZURE_TOKEN_FILE": str(root / c.AZURE_TOKEN_FILE.lstrip("/")),
            "AZURE_CA_FILE": str(root / c.AZURE_CA_FILE.lstrip("/")),
            "TERMINATION_LOG": str(root / "last-words"),
            "TMPDIR": str(root / c.SCRATCH_DIR.lstrip("/")),
        }
        self.runs += 1
        process = Forked(
            "finetune_operator.prepare.__main__",
            [str(config)],
            dict(os.environ) | environment,
            root / "log",
        )
        code = wait_for(lambda: process.exit_code, "the program ends", within=_LONGEST_S)
        return code if code >= 0 else 128 - code

    def _tell(self, pod: Json, code: int, message: str) -> None:
        """The container's end, as a kubelet reports it."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        terminated = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "message": message,
            "startedAt": now,
            "finishedAt": now,
        }
        container = pod["spec"]["containers"][0]
        status = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "startTime": now,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"terminated": terminated},
                }
            ],
        }
        meta = pod["metadata"]
        try:
            self._kube.patch(PODS, meta["namespace"], meta["name"], {"status": status}, "status")
        except Answered as e:
            if e.status != 404:  # it was deleted while it ran
                raise


def _of(data: Mapping[str, str], key: str) -> str:
    if key not in data:
        raise NotThere(key)
    return data[key]


def _annotation(pod: Json, item: Json) -> str:
    field = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    return str(pod["metadata"]["annotations"][field])


def _moved(config: str, root: Path) -> str:
    """The same task, with mounted files where they were laid out."""
    task = json.loads(config)
    for file in (task["training"], task.get("validation")):
        if file and file["source"]["kind"] == "file":
            file["source"]["path"] = f"{root}{file['source']['path']}"
    return json.dumps(task)
