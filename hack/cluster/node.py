"""The programs of the node: container runtime, kubelet, proxy, DNS, volumes, registry.

Says what to start; their configuration files are the templates in config/.
"""

from pathlib import Path
from string import Template

from cluster import settings
from cluster.binaries import binary
from cluster.controlplane import ControlPlane
from cluster.processes import Program

_TEMPLATES = Path(__file__).parent / "config"
_NODE_USER = f"system:node:{settings.NODE_NAME}"


def containerd(folder: Path) -> Program:
    """The container runtime of the run folder `folder`."""
    config = folder / "config/containerd.toml"
    return _program("containerd", config, f"--config={config}")


class Node:
    """One node of a control plane, kept in its run folder."""

    def __init__(self, plane: ControlPlane) -> None:
        """Make the node's keys and write its configuration files."""
        self.folder = plane.folder
        self.socket = self.folder / "containerd.sock"
        node = plane.authority.issue(
            "node", _NODE_USER, ("system:nodes",), (settings.NODE_ADDRESS, settings.NODE_NAME)
        )
        plane.kubeconfig_for("node", node)
        for user, name in (("proxy", "system:kube-proxy"), ("dns", "node-dns")):
            plane.kubeconfig_for(user, plane.authority.issue(user, name))
        self._config = self.folder / "config"
        self._write_configuration()
        self.objects = self._config / "objects.yaml"

    def registry(self) -> Program:
        """The registry that the node pulls from."""
        config = self._config / "registry.yaml"
        return _program("docker-registry", config, "serve", str(config))

    def coredns(self) -> Program:
        """The resolver of the pods, on the node's address."""
        config = self._config / "Corefile"
        return _program("coredns", config, f"-conf={config}")

    def kube_proxy(self) -> Program:
        """Makes Services reachable."""
        config = self._config / "proxy.yaml"
        return _program("kube-proxy", config, f"--config={config}")

    def provisioner(self) -> Program:
        """Makes the volumes of claims, each a folder that any user may write to."""
        return Program(
            name="hostpath-provisioner",
            argv=(
                str(binary("hostpath-provisioner")),
                f"-kubeconfig={self.folder / 'admin.kubeconfig'}",
                f"-root={self.folder / 'volumes'}",
            ),
        )

    def kubelet(self) -> Program:
        """Runs the pods."""
        config = self._config / "kubelet.yaml"
        return _program(
            "kubelet",
            config,
            f"--config={config}",
            f"--kubeconfig={self.folder / 'node.kubeconfig'}",
            f"--root-dir={self.folder / 'kubelet'}",
            f"--hostname-override={settings.NODE_NAME}",
            f"--node-ip={settings.NODE_ADDRESS}",
        )

    def _write_configuration(self) -> None:
        values = {name: str(value) for name, value in vars(settings).items() if name.isupper()} | {
            "RUN": str(self.folder),
            "CACHE": str(settings.cache_folder()),
        }
        for template in _TEMPLATES.rglob("*"):
            if template.is_file():
                target = self._config / template.relative_to(_TEMPLATES)
                _write(target, Template(template.read_text()).substitute(values))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # kube-proxy ends whenever its file is written, the same content or not.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _program(name: str, config: Path, *arguments: str) -> Program:
    own = binary(name)
    path = str(own) if own.exists() else name  # the others are Debian's
    return Program(name=name, argv=(path, *arguments), depends_on=(config,))
