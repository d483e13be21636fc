"""One namespace with data and a key, an account at an emulator, and FineTuneJobs against it.

What a test of the hosted backend starts from. It starts no operator by itself.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml

from finetune_api.constants import RETRY_ANNOTATION
from finetune_operator.core.names import MARKER_LENGTH
from support.builders_api import Manifest, hosted_job
from support.emulator import API_KEY, Emulator, WorkloadIdentity
from support.kube import CONFIG_MAPS, EVENTS, JOBS, SECRETS, Answered, Json, Kube
from support.operator_process import OperatorProcess
from support.waiting import wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = EXAMPLES / "data" / "gsm8k-sft" / "train.jsonl"
FEW = 48
QUEUE_S, STEP_S, PAUSING_S = 30, 5, 10
PACE = (
    f"--queue-seconds={QUEUE_S}",
    f"--step-seconds={STEP_S}",
    "--silent-seconds=30",
    f"--pausing-seconds={PAUSING_S}",
    "--resuming-seconds=10",
    "--pending-polls=0",
)
"""48 rows in batches of 16, twice: 6 steps, 90 service seconds."""
LONG = {"hyperparameters": {"epochs": 2, "batchSize": 2}}
"""48 steps."""
TRAINING_S = QUEUE_S + 12 * STEP_S
"""The service tells of every tenth step: until then nobody can know that a pause is possible."""
SPEED = 60.0
"""A job of that pace takes a second and a half."""
SLOW = 0.0
"""The service's clock stands still: what is pending stays pending."""


def rows(count: int = FEW) -> str:
    """The first rows of the example data."""
    return "".join(ROWS.read_text().splitlines(keepends=True)[:count])


_UNHURRIED_LEASE: dict[str, object] = {
    "lease_duration_seconds": 30,
    "lease_renew_deadline_seconds": 25,
}


Scenario = Callable[["Site"], None]
Outcomes = dict[Scenario, "Future[None]"]
"""Scenarios that are played side by side, and how each went."""


class Site:
    """A namespace of its own and an account of its own."""

    def __init__(self, kube: Kube, folder: Path, namespace: str, emulator: Emulator) -> None:
        """Make the namespace, with ConfigMap `gsm8k` and Secret `azure`."""
        self.kube, self.folder, self.namespace, self.emulator = kube, folder, namespace, emulator
        self._operators: list[OperatorProcess] = []
        self._http = urllib3.PoolManager(ca_certs=str(emulator.ca), retries=False)
        kube.make_namespace(namespace)
        kube.config_map(namespace, "gsm8k", {"train.jsonl": rows()})
        kube.secret(namespace, "azure", {"api-key": API_KEY})

    # The operator

    def operator(
        self, name: str = "operator", *, kubeconfig: Path | None = None, **settings: object
    ) -> OperatorProcess:
        """A replica that serves this namespace alone; not leading yet."""
        chosen = {
            "namespaces": self.namespace,
            # Not its own namespace: some tests delete that.
            "pod_namespace": "default",
            "lease_name": self.namespace,
            "azure_allowed_endpoints": self.emulator.url,
            "azure_ca_file": self.emulator.ca,
        } | settings
        started = OperatorProcess(
            self.folder, kubeconfig or self.kube.plane.kubeconfig, chosen, name
        )
        self._operators.append(started)
        return started

    def lone_operator(self, **settings: object) -> OperatorProcess:
        """The only replica: nobody waits for its lease, so a busy machine must not cost it."""
        return self.operator(**(_UNHURRIED_LEASE | settings))

    def close(self) -> None:
        """End what still runs here; whatever happened, the API key was written down nowhere."""
        metrics = [op.read("metrics") for op in self._operators if op.exit_code is None]
        for operator in self._operators:
            if operator.exit_code is None:
                operator.kill()
        logs = [log.read_text() for log in self.folder.glob("*.log")]
        told = [json.dumps(self.kube.list(resource, self.namespace)) for resource in (JOBS, EVENTS)]
        assert not any(API_KEY in text for text in (*metrics, *logs, *told)), "the key leaked"

    # FineTuneJobs

    def submit(self, name: str, **spec: Any) -> Json:
        """Create a FineTuneJob; its own suffix is its name."""
        return self.kube.create(JOBS, self.namespace, self.manifest(name, **spec))

    def manifest(self, name: str, **spec: Any) -> Manifest:
        """A small job at this account; `azureOpenAI` members are merged into the default's."""
        azure = {
            "endpoint": self.emulator.url,
            "suffix": name,
            "auth": {"apiKeySecretRef": {"name": "azure", "key": "api-key"}},
        } | spec.pop("azureOpenAI", {})
        chosen = {"hyperparameters": {"epochs": 2, "batchSize": 16}, "azureOpenAI": azure} | spec
        manifest = hosted_job(name, **chosen)
        del manifest["metadata"]["namespace"]
        return manifest

    def job(self, name: str) -> Json | None:
        """The FineTuneJob as it is stored."""
        return self.kube.get(JOBS, self.namespace, name)

    def status(self, name: str) -> Json:
        """Its status, empty at first."""
        found: Json = (self.job(name) or {}).get("status", {})
        return found

    def edit(self, name: str, body: Json) -> Json:
        """Merge something into it, as a user does."""
        return self.kube.patch(JOBS, self.namespace, name, body)

    def retry(self, name: str, token: str) -> None:
        """Ask for a retry."""
        self.edit(name, {"metadata": {"annotations": {RETRY_ANNOTATION: token}}})

    def delete(self, name: str) -> None:
        """Ask for its deletion."""
        self.kube.delete(JOBS, self.namespace, name)

    # Waiting

    def wait(self, name: str, what: str, look: Callable[[Json], Any]) -> Json:
        """The status, as soon as `look` says yes to it."""

        def looked() -> Json | None:
            status = self.status(name)
            return status if look(status) else None

        return wait_for(looked, f"{name}: {what}", told=lambda: self.told(name))

    def wait_for_phase(self, name: str, phase: str) -> Json:
        """The status, as soon as it has this phase."""
        return self.wait(name, phase, lambda status: status.get("phase") == phase)

    def wait_for_reason(self, name: str, reason: str) -> Json:
        """The status, as soon as Ready has this reason."""
        return self.wait(
            name, reason, lambda status: condition(status, "Ready")["reason"] == reason
        )

    def wait_until_let_go(self, name: str) -> None:
        """Return once nothing holds the object any more."""

        def looked() -> bool:
            job = self.job(name)
            return job is None or not job["metadata"].get("finalizers")

        wait_for(looked, f"{name} is let go", told=lambda: self.told(name))

    def wait_until_gone(self, name: str) -> None:
        """Return once the object is not there any more."""
        wait_for(
            lambda: self.job(name) is None,
            f"{name} is gone",
            told=lambda: self.told(name),
        )

    # The account

    def remote(self, name: str) -> list[Json]:
        """The account's jobs of this FineTuneJob, newest first."""
        return [job for job in self.emulator.jobs() if _own_suffix(job) == name]

    def wait_for_remote(self, name: str, what: str, look: Callable[[Json], Any]) -> Json:
        """The account's only job of this name, as soon as `look` says yes to it."""

        def looked() -> Json | None:
            found = self.remote(name)
            assert len(found) < 2, f"{len(found)} jobs at the service for {name}: {found}"
            return found[0] if found and look(found[0]) else None

        return wait_for(
            looked,
            f"{name} at the service: {what}",
            told=lambda: self.told(name),
        )

    def training_files(self) -> list[Json]:
        """What was uploaded to the account."""
        return [file for file in self.emulator.files() if file["purpose"] == "fine-tune"]

    def told(self, name: str) -> str:
        """What helps after a failure: the object, the account, and the logs' ends."""
        try:
            job = self.job(name)
        except (Answered, OSError) as e:
            job = {"unreadable": str(e)}
        if job:
            job.get("metadata", {}).pop("managedFields", None)
        remote = json.dumps([_brief(job) for job in self.emulator.jobs()], indent=1)
        logs = [
            f"--- {log.name}\n{log.read_text()[-5000:]}"
            for log in sorted(self.folder.glob("operator*.log"))
        ]
        return "\n".join(
            [f"--- object\n{yaml.safe_dump(job)}", f"--- at the service\n{remote}", *logs]
        )

    def create_again(self, job: Json) -> None:
        """A second job like this one, posted by somebody else."""
        self._post("", {key: job[key] for key in ("model", "training_file", "suffix")})

    def cancel_behind_our_back(self, job: Json) -> None:
        """Somebody else cancels a job at the service."""
        self._post(f"/{job['id']}/cancel", {})

    def _post(self, path: str, body: Json) -> None:
        answer = self._http.request(
            "POST",
            f"{self.emulator.base_url}fine_tuning/jobs{path}",
            body=json.dumps(body),
            headers={"api-key": API_KEY, "Content-Type": "application/json"},
        )
        assert answer.status == 200, answer.data

    # Secrets and data

    def set_key(self, key: str) -> None:
        """Another API key in the Secret."""
        self.kube.patch(SECRETS, self.namespace, "azure", {"stringData": {"api-key": key}})

    def result(self, name: str) -> dict[str, str] | None:
        """What the result's ConfigMap holds."""
        found = self.kube.get(CONFIG_MAPS, self.namespace, f"{name}-result")
        return found["data"] if found else None


class Sites:
    """Makes sites: a namespace and an account each."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self._kube, self._folder = kube, folder
        self._numbers = itertools.count(1)

    @contextmanager
    def new(self, *, issuer: bool = False) -> Iterator[Site]:
        """One more; its account and its operators are gone afterwards.

        With `issuer` the account trusts the cluster's ServiceAccounts, by the keys it publishes.
        """
        name = f"hosted-{next(self._numbers)}"
        folder = self._folder / name
        identity = self._issuer(folder) if issuer else None
        with (
            Emulator(folder, speed=SPEED, identity=identity, options=PACE) as emulator,
            closing(Site(self._kube, folder, name, emulator)) as site,
        ):
            yield site

    def _issuer(self, folder: Path) -> WorkloadIdentity:
        plane = self._kube.plane
        folder.mkdir(parents=True)
        token = folder / "token"
        token.write_text(self._kube.kubectl("create", "token", "default").strip())
        return WorkloadIdentity(
            issuer=plane.server,
            jwks_url=f"{plane.server}/openid/v1/jwks",
            ca_file=plane.authority.certificate,
            token_file=token,
        )


def condition(status: Json, kind: str) -> Json:
    """A condition of a status; an empty one if it has none of this type."""
    found = (c for c in status.get("conditions", ()) if c["type"] == kind)
    return next(found, {"status": None, "reason": None, "message": ""})


def _own_suffix(job: Json) -> str:
    """The user's part of the suffix: a hyphen and the marker follow it."""
    return str(job.get("suffix") or "")[: -MARKER_LENGTH - 1]


def _brief(job: Json) -> Json:
    keys = ("id", "status", "suffix", "created_at", "step", "total_steps", "model", "seed")
    return {key: job.get(key) for key in keys}
