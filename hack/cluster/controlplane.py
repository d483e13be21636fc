"""etcd, kube-apiserver and kube-controller-manager: a Kubernetes without a node.

Enough for everything that no container has to run for: the CRD, its rules, status,
server-side apply, the Job controller. It knows nothing of containers and networks.
"""

import itertools
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.binaries import ETCD, KUBERNETES, KWOK, Module, binary
from cluster.pki import Authority, KeyPair
from cluster.processes import Processes, Program
from cluster.settings import CLUSTER_DOMAIN, SERVICE_ADDRESS, SERVICE_RANGE

_READY_S = 60.0
# Below the range that the kernel takes outgoing connections' ports from.
_PORTS = range(20_000, 32_000)
# Processes that started one after the other begin far apart.
_FIRST = os.getpid() * 7417 % len(_PORTS)
_ports: Iterator[int] = itertools.cycle((*_PORTS[_FIRST:], *_PORTS[:_FIRST]))
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a control plane is like.

    Attributes:
        address: where kube-apiserver listens.
        ports: of kube-apiserver, of etcd and for etcd's peers; free ones if not given.
        controllers: kube-controller-manager's --controllers; empty: it is not started.
        scheduler: whether kube-scheduler runs.
        kwok: kwok's configuration, if kwok is to play the nodes; it must have been built.
        api_flags: further flags of kube-apiserver.
    """

    address: str = _LOOPBACK
    ports: tuple[int, int, int] | None = None
    controllers: tuple[str, ...] = ("*",)
    scheduler: bool = False
    kwok: Path | None = None
    api_flags: tuple[str, ...] = ()

    @property
    def modules(self) -> list[Module]:
        """What must have been built; envtest's binaries are enough for an API server alone."""
        modules = [KWOK] if self.kwok else []
        alone = not (self.controllers or self.scheduler or self.kwok)
        if not (alone and os.environ.get("KUBEBUILDER_ASSETS")):
            modules += [KUBERNETES, ETCD]
        return modules


class ControlPlane:
    """A control plane in a run folder of its own; several can run at once.

    As a context manager it is ready inside the block and gone after it.
    """

    def __init__(
        self, folder: Path, options: Options | None = None, processes: Processes | None = None
    ) -> None:
        """Prepare a control plane; nothing is started yet.

        Args:
            folder: the run folder: keys, etcd's data, logs.
            options: what it is like; a loopback one with all controllers if not given.
            processes: who starts and ends the programs; they end with this process if
                not given.
        """
        self.folder = folder
        self._options = options or Options()
        self._processes = processes or Processes(folder, detached=False)
        ports = self._options.ports or (free_port(), free_port(), free_port())
        self._port, self._etcd_port, self._peer_port = ports
        self.server = f"https://{self._options.address}:{self._port}"
        self.authority = Authority(folder / "pki")
        self.admin = self.authority.issue("admin", "admin", ("system:masters",))
        self.kubeconfig = self.kubeconfig_for("admin", self.admin)
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.admin.certificate, self.admin.key)
        self._tls = context

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start whatever of it does not run and wait until the API server is ready.

        Raises:
            ClusterError: when a program ends or is not ready in time.
        """
        self._processes.ensure(self._etcd())
        self.start_api()
        if self._options.controllers:
            self._processes.ensure(self._controller_manager())
        if self._options.scheduler:
            self._processes.ensure(self._scheduler())
        if self._options.kwok:
            self._processes.ensure(self._kwok(self._options.kwok))

    def stop(self) -> None:
        """End its programs, clients first."""
        self._processes.stop(["kwok", "kube-scheduler", "kube-controller-manager"])
        self.stop_api()
        self._processes.stop(["etcd"])

    def start_api(self) -> None:
        """Start the API server if it does not run, and wait until it is ready."""
        self._processes.ensure(self._api_server())
        self._processes.wait("kube-apiserver", self._ready, timeout_s=_READY_S)

    def stop_api(self) -> None:
        """End the API server; what it stored stays."""
        self._processes.stop(["kube-apiserver"], grace_s=3.0)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Take the API server away for the time of the block."""
        self.stop_api()
        yield
        self.start_api()

    def kubeconfig_for(self, file: str, client: KeyPair) -> Path:
        """Write a kubeconfig that reaches this API server as `client`."""
        path = self.folder / f"{file}.kubeconfig"
        return self.authority.kubeconfig(path, self.server, client)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(
                f"{self.server}/readyz", context=self._tls, timeout=5
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _etcd_keys(self) -> KeyPair:
        # etcd asks for a certificate: whoever reaches its port would own the machine.
        return self.authority.issue("etcd", "etcd", addresses=(_LOOPBACK,))

    def _etcd(self) -> Program:
        keys = self._etcd_keys()
        clients = f"https://{_LOOPBACK}:{self._etcd_port}"
        peers = f"http://{_LOOPBACK}:{self._peer_port}"
        return Program(
            name="etcd",
            argv=(
                str(binary("etcd")),
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={clients}",
                f"--advertise-client-urls={clients}",
                f"--cert-file={keys.certificate}",
                f"--key-file={keys.key}",
                f"--trusted-ca-file={self.authority.certificate}",
                "--client-cert-auth",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ),
        )

    def _api_server(self) -> Program:
        etcd, issuer = self._etcd_keys(), self._issuer()
        own_names = tuple(
            f"kubernetes.default.{suffix}" for suffix in ("svc", f"svc.{CLUSTER_DOMAIN}")
        )
        serving = self.authority.issue(
            "apiserver",
            "kube-apiserver",
            addresses=(self._options.address, _LOOPBACK, SERVICE_ADDRESS, "localhost", *own_names),
        )
        kubelet_client = self.authority.issue("kubelet-client", "admin", ("system:masters",))
        tokens = self.authority.signing_key("service-accounts")
        return Program(
            name="kube-apiserver",
            argv=(
                str(binary("kube-apiserver")),
                f"--etcd-servers=https://{_LOOPBACK}:{self._etcd_port}",
                f"--etcd-cafile={self.authority.certificate}",
                f"--etcd-certfile={etcd.certificate}",
                f"--etcd-keyfile={etcd.key}",
                f"--bind-address={self._options.address}",
                f"--advertise-address={self._options.address}",
                f"--secure-port={self._port}",
                f"--tls-cert-file={serving.certificate}",
                f"--tls-private-key-file={serving.key}",
                f"--client-ca-file={self.authority.certificate}",
                f"--kubelet-certificate-authority={self.authority.certificate}",
                f"--kubelet-client-certificate={kubelet_client.certificate}",
                f"--kubelet-client-key={kubelet_client.key}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
                f"--service-account-key-file={tokens}",
                f"--service-account-signing-key-file={tokens}",
                f"--service-account-issuer={issuer}",
                f"--service-account-jwks-uri={issuer}/openid/v1/jwks",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                *self._loopback_flags(),
                *self._options.api_flags,
            ),
        )

    def _issuer(self) -> str:
        """Where clients of the cluster find the keys of service account tokens."""
        if self._options.address == _LOOPBACK:
            return self.server
        return f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"

    def _loopback_flags(self) -> tuple[str, ...]:
        flags: list[str] = []
        if self._options.address == _LOOPBACK:
            # A Service may not point to a loopback address: don't try every ten seconds.
            flags.append("--endpoint-reconciler-type=none")
        if not self._options.controllers:
            # No controller makes the default accounts that this plugin asks pods to have.
            flags.append("--disable-admission-plugins=ServiceAccount")
        return tuple(flags)

    def _controller_manager(self) -> Program:
        return Program(
            name="kube-controller-manager",
            argv=(
                str(binary("kube-controller-manager")),
                f"--kubeconfig={self.kubeconfig}",
                f"--controllers={','.join(self._options.controllers)}",
                f"--root-ca-file={self.authority.certificate}",
                f"--service-account-private-key-file={self.authority.signing_key('service-accounts')}",
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--secure-port=0",
                # Its own limit of 20 requests a second is the bottleneck of a busy test.
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--concurrent-job-syncs=16",
            ),
        )

    def _scheduler(self) -> Program:
        return Program(
            name="kube-scheduler",
            argv=(
                str(binary("kube-scheduler")),
                f"--kubeconfig={self.kubeconfig}",
                f"--authentication-kubeconfig={self.kubeconfig}",
                "--leader-elect=false",
                "--secure-port=0",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
            ),
        )

    def _kwok(self, configuration: Path) -> Program:
        return Program(
            name="kwok",
            argv=(
                str(binary("kwok")),
                f"--kubeconfig={self.kubeconfig}",
                f"--config={configuration}",
                "--manage-all-nodes=true",
            ),
            depends_on=(configuration,),
        )


def free_port() -> int:
    """A port of the loopback address that nothing listens on.

    Not given out twice by this process, nor by one that runs beside it: between this call
    and the listening there are seconds, and test processes draw hundreds.
    """
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
        return port
