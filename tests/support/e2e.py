"""End-to-end tests against the operator that `make deploy` installed.

A `Space` is a namespace of one's own, a `Run` one FineTuneJob in it. Every wait has a deadline, and
whatever is known is told when a test fails.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import yaml

from deploy.install import API_KEY, SYSTEM, TESTBED
from finetune_api import constants as c
from support.builders_api import Manifest, changed
from support.e2e_cluster import Cluster, Json
from support.e2e_objects import DATA, SECRET, config_map, may_read, obj, secret, short_rows
from support.e2e_status import condition
from support.waiting import wait_for

SOON = 60.0
"""Seconds for what costs no more than a small pod, on two busy cores."""
TRAINED = 400.0
"""Seconds for a training run, on two busy cores."""
_TERMINAL = ("Succeeded", "Failed", "Cancelled")
_SECURITY = "pod-security.kubernetes.io/enforce"


@dataclass(frozen=True, kw_only=True)
class Site:
    """What is installed."""

    cluster: Cluster
    deployment: str
    account: str
    operator_image: str
    trainer_image: str

    @classmethod
    def installed(cls, cluster: Cluster) -> "Site":
        """The operator's installation, as its Deployment describes it."""
        found = cluster.list("Deployment", SYSTEM, "app.kubernetes.io/name=finetune-operator")
        assert found, "the operator is not installed: run `make deploy`"
        pod = found[0]["spec"]["template"]["spec"]
        container = pod["containers"][0]
        env = {each["name"]: each.get("value", "") for each in container["env"]}
        return cls(
            cluster=cluster,
            deployment=found[0]["metadata"]["name"],
            account=pod["serviceAccountName"],
            operator_image=container["image"],
            trainer_image=env["FINETUNE_TRAINER_IMAGE"],
        )

    def operator_pods(self) -> list[Json]:
        """The operator's pods that are not on their way out."""
        pods = self.cluster.list("Pod", SYSTEM, "app.kubernetes.io/name=finetune-operator")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def leader(self) -> str | None:
        """The name of the pod that leads."""
        lease = self.cluster.list("Lease", SYSTEM)[0]["spec"].get("holderIdentity") or ""
        names = [pod["metadata"]["name"] for pod in self.operator_pods()]
        return next((name for name in names if lease.startswith(name)), None)

    def emulator(self, verb: str, path: str, body: object = None) -> Json:
        """What the emulated account's control API answers."""
        return self.cluster.through_service(
            verb, TESTBED, "https:emulator:443", f"_control/{path}", body
        )

    def log(self, *, tail: int = 60) -> str:
        """The end of the operator's logs."""
        names = [pod["metadata"]["name"] for pod in self.operator_pods()]
        return "\n".join(f"# {n}\n{self.cluster.logs(SYSTEM, n, tail=tail)}" for n in names)


class Space:
    """A namespace under the `restricted` standard, with small data and the account's key."""

    def __init__(self, site: Site, name: str | None = None) -> None:
        self.site = site
        self.name = name or f"e2e-{uuid.uuid4().hex[:8]}"
        self.runs: list[Run] = []

    def __enter__(self) -> Self:
        labels = {_SECURITY: "restricted"}
        namespace = changed(obj("Namespace", self.name), {"metadata.labels": labels})
        self.site.cluster.create("", namespace)
        self.create(
            config_map(DATA, train_jsonl=short_rows()),
            secret(SECRET, key=API_KEY),
            *may_read(SECRET, self.site.account, SYSTEM),
        )
        wait_for(lambda: self.get("ServiceAccount", "default"), "the default account", within=SOON)
        return self

    def __exit__(self, *_: object) -> None:
        """Ask for its end; nobody waits for it."""
        self.remove()

    def remove(self) -> None:
        """Ask for its end."""
        self.site.cluster.delete("Namespace", "", self.name)

    def create(self, *manifests: Manifest) -> None:
        """Create objects."""
        for manifest in manifests:
            self.site.cluster.create(self.name, manifest)

    def get(self, kind: str, name: str) -> Json | None:
        """One object, or None."""
        return self.site.cluster.get(kind, self.name, name)

    def objects(self, kind: str, labels: str = "") -> list[Json]:
        """All objects of a kind."""
        return self.site.cluster.list(kind, self.name, labels)

    def patch(self, kind: str, name: str, body: Json) -> None:
        """Merge something into an object."""
        self.site.cluster.patch(kind, self.name, name, body)

    def delete(self, kind: str, name: str, **options: object) -> None:
        """Ask for an object's deletion."""
        self.site.cluster.delete(kind, self.name, name, **options)

    def run(self, manifest: Manifest) -> "Run":
        """Apply a FineTuneJob."""
        manifest["metadata"]["namespace"] = self.name
        created = self.site.cluster.create(self.name, manifest)
        run = Run(self, created["metadata"]["name"], created["metadata"]["uid"])
        self.runs.append(run)
        return run

    def remote_job(self, job_id: str) -> Json:
        """A job at the emulated account, as it truly is."""
        jobs: list[Json] = self.site.emulator("GET", "state")["jobs"]
        return next(job for job in jobs if job["id"] == job_id)

    def remote_jobs(self) -> list[Json]:
        """The jobs at the account that have this namespace's name as their suffix."""
        jobs: list[Json] = self.site.emulator("GET", "state")["jobs"]
        return [job for job in jobs if str(job["suffix"]).startswith(self.name)]

    def finished_pod(self, manifest: Manifest, *, within: float = SOON) -> str:
        """The log of a pod of one's own that has succeeded."""
        name = manifest["metadata"]["name"]
        self.create(manifest)
        phase = wait_for(
            lambda: self._ended(name), f"the end of pod {name}", within=within, told=self.told
        )
        log = self.site.cluster.logs(self.name, name)
        assert phase == "Succeeded", log
        return log

    def _ended(self, pod: str) -> str | None:
        phase = (self.get("Pod", pod) or {}).get("status", {}).get("phase")
        return phase if phase in ("Succeeded", "Failed") else None

    def told(self) -> str:
        """Everything that helps to understand a failure."""
        parts = [f"namespace {self.name}"]
        for kind in (c.KIND, "Job", "Pod"):
            for found in self.objects(kind):
                found["metadata"].pop("managedFields", None)
                found["kind"] = kind
                parts.append(yaml.safe_dump(found, sort_keys=False))
        parts += [_line(event) for event in self.objects("Event")]
        for pod in self.objects("Pod"):
            name = pod["metadata"]["name"]
            parts.append(f"# log of {name}\n{self.site.cluster.logs(self.name, name)}")
        return "\n---\n".join(parts)


def _line(event: Json) -> str:
    about = event["involvedObject"]
    said = f"{event.get('reason')}: {event.get('message')}"
    return f"{event.get('lastTimestamp')} {about.get('kind')}/{about.get('name')} {said}"


class Run:
    """One FineTuneJob."""

    def __init__(self, space: Space, name: str, uid: str) -> None:
        self.space = space
        self.name = name
        self.uid = uid

    def read(self) -> Json | None:
        """The object as it is now."""
        return self.space.get(c.KIND, self.name)

    @property
    def status(self) -> Json:
        """Its status; empty if there is none yet."""
        status: Json = (self.read() or {}).get("status", {})
        return status

    def condition(self, kind: str) -> Json:
        """A condition; empty if it is not there."""
        return condition(self.status, kind)

    def until(self, look: Callable[[Json], Any], what: str, *, within: float = SOON) -> Json:
        """The first status of which `look` is true."""

        def seen() -> Json | None:
            status = self.status
            return status if look(status) else None

        def told() -> str:
            return json.dumps(self.status, indent=1)

        return wait_for(seen, f"{self.name}: {what}", within=within, told=told)

    def until_phase(self, phase: str, *, within: float = SOON) -> Json:
        """The first status with this phase; fails at once if the job ends otherwise."""

        def look(status: Json) -> bool:
            now = status.get("phase")
            assert now == phase or now not in _TERMINAL, f"{now}: {status.get('message')}"
            return bool(now == phase)

        return self.until(look, f"phase {phase}", within=within)

    def until_reason(self, reason: str, *, within: float = SOON) -> Json:
        """The first status whose Ready has this reason."""
        return self.until(
            lambda status: condition(status, "Ready").get("reason") == reason,
            f"reason {reason}",
            within=within,
        )

    def set(self, **spec: Any) -> None:
        """Change members of spec."""
        self.space.patch(c.KIND, self.name, {"spec": spec})

    def retry(self, token: str) -> None:
        """Ask for a retry."""
        self.annotate(**{c.RETRY_ANNOTATION: token})

    def annotate(self, **annotations: str | None) -> None:
        """Set annotations, or remove them with None."""
        self.space.patch(c.KIND, self.name, {"metadata": {"annotations": annotations}})

    def delete(self) -> None:
        """Ask for its deletion and wait until it is gone."""
        self.space.delete(c.KIND, self.name)
        wait_for(lambda: self.read() is None, f"{self.name} is gone", within=SOON)

    def children(self, component: str = "") -> list[Json]:
        """Its child Jobs, by name."""
        return self._of("Job", component)

    def pods(self, component: str = c.COMPONENT_TRAINER) -> list[Json]:
        """The pods of its child Jobs."""
        return self._of("Pod", component)

    def _of(self, kind: str, component: str) -> list[Json]:
        labels = f"{c.LABEL_JOB_UID}={self.uid}"
        if component:
            labels += f",{c.LABEL_COMPONENT}={component}"
        found = self.space.objects(kind, labels)
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    def running_pod(self) -> str:
        """The name of the training pod that runs."""
        for pod in self.pods():
            going = "deletionTimestamp" in pod["metadata"]
            if pod["status"].get("phase") == "Running" and not going:
                return str(pod["metadata"]["name"])
        raise AssertionError("no training pod runs")

    def events(self) -> dict[str, str]:
        """The messages of its own Events by reason."""
        return {
            event["reason"]: event["message"]
            for event in self.space.objects("Event")
            if event["involvedObject"].get("uid") == self.uid
        }
