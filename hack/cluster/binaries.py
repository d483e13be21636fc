"""Builds the cluster's programs from their Go modules and finds them again.

The folder of binaries is named after a digest of the modules' files: a changed version
or source is built anew beside the old one. It knows nothing of how the programs run.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.locks import only_one
from cluster.progress import Progress
from cluster.settings import KUBERNETES_VERSION, ClusterError, cache_folder, source_folder

_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Go module of hack/cluster/go, built into one binary.

    Attributes:
        name: the module's folder, and the binary's name.
        package: what to build.
        variables: what the linker sets.
        links: further names of the binary; it looks at the one it was started under.
    """

    name: str
    package: str = "."
    variables: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


KUBERNETES = Module(
    name="kubernetes",
    variables=(
        f"{_VERSION}.gitVersion=v{KUBERNETES_VERSION}",
        f"{_VERSION}.gitMajor={_MAJOR}",
        f"{_VERSION}.gitMinor={_MINOR}",
    ),
    links=(
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "kubelet",
        "kubectl",
        "hostpath-provisioner",
    ),
)
ETCD = Module(name="etcd", package="go.etcd.io/etcd/server/v3")
COREDNS = Module(name="coredns", package="github.com/coredns/coredns")
PAUSE = Module(name="pause")
KWOK = Module(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok")

CONTROL_PLANE = (KUBERNETES, ETCD)
NODE = (*CONTROL_PLANE, COREDNS, PAUSE)

# The compiler spends a sixth of its time on collecting garbage; memory is cheaper here.
_ENVIRONMENT = {"GOGC": "400"}

_GO_LINE = re.compile(r"^go (\d+)\.(\d+)", re.MULTILINE)
_GO_SAYS = re.compile(r"\bgo(\d+)\.(\d+)")

# What envtest's folder of binaries holds; anything else is always our own.
_ENVTEST = ("kube-apiserver", "etcd", "kubectl")


def binary_folder() -> Path:
    """The folder of the present sources' binaries, built or not."""
    digest = hashlib.sha256()
    for module in (*NODE, KWOK):
        for path in sorted((source_folder() / module.name).iterdir()):
            digest.update(f"{module.name}/{path.name}\0".encode() + path.read_bytes())
    return cache_folder() / f"v{KUBERNETES_VERSION}-{digest.hexdigest()[:12]}"


def binary(name: str) -> Path:
    """Where the program `name` is, with envtest's KUBEBUILDER_ASSETS going first."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in _ENVTEST:
        return Path(assets) / name
    return binary_folder() / name


def missing(modules: Iterable[Module]) -> list[Module]:
    """Those of `modules` that are still to be built."""
    folder = binary_folder()
    return [module for module in modules if not (folder / module.name).exists()]


def go_needed(module: Module) -> tuple[int, int]:
    """The oldest Go that builds `module`, as its go.mod says."""
    found = _GO_LINE.search((source_folder() / module.name / "go.mod").read_text())
    assert found is not None
    return int(found[1]), int(found[2])


def require_go(modules: Iterable[Module]) -> None:
    """Refuse to go on unless this machine's Go builds what is missing of `modules`.

    Raises:
        ClusterError: saying which Go is needed, and for what.
    """
    todo = missing(modules)
    if not todo:
        return
    most = max(todo, key=go_needed)
    version, said = _go_version(most)
    if version < go_needed(most):
        wanted = ".".join(map(str, go_needed(most)))
        raise ClusterError(
            f"building {most.name} needs Go {wanted} or newer ({said}): put it first on the PATH,"
            " or use a cluster of your own by setting KUBECONFIG"
        )


def _go_version(module: Module) -> tuple[tuple[int, int], str]:
    """Which Go would build `module`, and what it says; (0, 0) if none would.

    Asked in the module's folder: since 1.21 Go can bring itself the version that a module needs.
    """
    folder = source_folder() / module.name
    try:
        done = subprocess.run(
            ["go", "version"], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return (0, 0), "there is none"
    found = _GO_SAYS.search(done.stdout)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return version, (done.stdout or done.stderr).strip()


def build(modules: Iterable[Module], progress: Progress) -> None:
    """Build what is missing of `modules`, all at once: a linker leaves a core to a compiler.

    Raises:
        ClusterError: without a fitting Go, or when a build fails.
    """
    if not missing(modules):
        return
    require_go(modules)
    with only_one("build"):
        todo = missing(modules)
        binary_folder().mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda module: _build(module, progress), todo):
                pass


def _build(module: Module, progress: Progress) -> None:
    folder = binary_folder()
    unfinished = folder / f".{module.name}.new"
    flags = " ".join(["-s", "-w", *(f"-X {variable}" for variable in module.variables)])
    command = ["go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags]
    with progress.stage(f"build {module.name}") as stage:
        process = subprocess.Popen(
            [*command, "-o", str(unfinished), module.package],
            cwd=source_folder() / module.name,
            env=_ENVIRONMENT | os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        lines: list[str] = []
        with process:
            for line in process.stderr:  # -v: one line for each package
                lines.append(line)
                stage.note = f"{len(lines)} packages"
        if process.returncode:
            raise ClusterError(f"building {module.name} failed: {''.join(lines[-5:]).strip()}")
    for link in module.links:
        (folder / link).unlink(missing_ok=True)
        (folder / link).symlink_to(module.name)
    unfinished.rename(folder / module.name)
