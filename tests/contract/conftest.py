"""One API server for the contract tests of a session, and clients of their emulators."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from cluster.controlplane import Options
from support.azure_account import v1_client
from support.cluster import control_plane
from support.crd_server import CrdServer, crd_manifest
from support.emulator import Emulator


@pytest.fixture(scope="session")
def crd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrdServer]:
    """A kube-apiserver without controllers that serves today's CRD."""
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(folder, Options(controllers=())) as plane:
        server = CrdServer(plane)
        server.install(crd_manifest())
        yield server


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """The emulator that a module keeps `running` at its own pace, as it was in the beginning."""
    running.reset()
    return running


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[openai.AsyncOpenAI]:
    """A plain user of its v1 surface."""
    async with v1_client(emulator) as client:
        yield client
