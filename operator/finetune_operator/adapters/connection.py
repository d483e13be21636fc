"""Where the API server is and who we are there: the pod's ServiceAccount, or a kubeconfig.

Only static credentials are read (token, token file, client certificate): a program that has to be
run for a token belongs to a person's machine, not to a server. Knows no request.
"""

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_MAX_AGE = 60.0
"""The kubelet replaces a token long before it expires, so that this lag never matters."""


class NoConnection(Exception):
    """Nothing says where the API server is, or the credentials are of a kind not supported."""


class BearerToken:
    """A token that may be replaced on disk while we run."""

    def __init__(self, *, value: str = "", file: Path | None = None) -> None:
        self._value = value
        self._file = file
        self._read_at = float("-inf")

    def header(self) -> str | None:
        """The Authorization header, or None without a token."""
        if self._file is not None and time.monotonic() - self._read_at > _TOKEN_MAX_AGE:
            self._value = self._file.read_text().strip()
            self._read_at = time.monotonic()
        return f"Bearer {self._value}" if self._value else None


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The API server's address and our credentials there."""

    server: str
    tls: ssl.SSLContext
    token: BearerToken

    def session(
        self, *, max_connections: int, middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = ()
    ) -> aiohttp.ClientSession:
        """A new session with fresh credentials on every request; the caller closes it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, ssl=self.tls),
            middlewares=(self._authenticate, *middlewares),
            headers={"Accept": "application/json", "User-Agent": "finetune-operator"},
        )

    async def _authenticate(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        header = self.token.header()
        if header is not None:
            request.headers["Authorization"] = header
        return await handler(request)


def find_connection(environ: Mapping[str, str]) -> Connection:
    """The kubeconfig that KUBECONFIG names, else the pod's ServiceAccount, else ~/.kube/config.

    Raises:
        NoConnection: there is none, or it needs a program to be run.
    """
    if "KUBECONFIG" in environ:
        return _from_kubeconfig(Path(environ["KUBECONFIG"]))
    if "KUBERNETES_SERVICE_HOST" in environ:
        return _in_cluster(environ)
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return _from_kubeconfig(default)
    raise NoConnection("Found no API server: set KUBECONFIG or run in a pod")


def _in_cluster(environ: Mapping[str, str]) -> Connection:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    return Connection(
        server=f"https://{host}:{port}",
        tls=ssl.create_default_context(cafile=str(_SERVICE_ACCOUNT / "ca.crt")),
        token=BearerToken(file=_SERVICE_ACCOUNT / "token"),
    )


def _from_kubeconfig(path: Path) -> Connection:
    config = yaml.safe_load(path.read_text())
    context = _named(config, "contexts", config.get("current-context", ""))["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = _named(config, "users", context["user"]).get("user") or {}
    for unsupported in ("exec", "auth-provider"):
        if unsupported in user:
            raise NoConnection(
                f"{path} uses '{unsupported}', which needs a program to be run:"
                " use a token or a client certificate"
            )
    file = Path(user["tokenFile"]) if "tokenFile" in user else None
    return Connection(
        server=cluster["server"].rstrip("/"),
        tls=_tls(path.parent, cluster, user),
        token=BearerToken(value=user.get("token", ""), file=file),
    )


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry["name"] == name:
            return dict(entry)
    raise NoConnection(f"The kubeconfig has no entry '{name}' under `{section}`")


def _tls(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    ca_data = cluster.get("certificate-authority-data")
    ca_file = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cafile=str(folder / ca_file) if ca_file else None,
        cadata=base64.b64decode(ca_data).decode() if ca_data else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "client-certificate-data" in user:
        # The ssl module reads certificates from files only.
        with tempfile.NamedTemporaryFile() as pem:
            for field in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(user[field]) + b"\n")
            pem.flush()
            context.load_cert_chain(pem.name)
    elif "client-certificate" in user:
        context.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return context


def environment() -> Connection:
    """The connection that this process's environment describes."""
    return find_connection(os.environ)
