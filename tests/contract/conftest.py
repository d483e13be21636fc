"""One API server for the contract tests of a session."""

from collections.abc import Iterator

import pytest

from cluster.controlplane import Options
from support.cluster import control_plane
from support.crd_server import CrdServer, crd_manifest


@pytest.fixture(scope="session")
def crd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrdServer]:
    """A kube-apiserver without controllers that serves today's CRD."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(folder, Options(controllers=())) as plane:
        server = CrdServer(plane)
        server.install(crd_manifest())
        yield server
