"""One control plane for all hosted tests, and somebody who completes its prepare pods."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.controlplane import Options
from support.cluster import control_plane
from support.crd_server import CrdServer, crd_manifest
from support.emulator import Emulator
from support.hosted_site import PACE, SPEED, Site
from support.kube import Kube
from support.prepare_stand_in import PrepareStandIn

NewSite = Callable[[], Site]

CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
)


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """An API server with today's CRD and the controllers that matter; prepare pods complete."""
    folder = tmp_path_factory.mktemp("hosted")
    with control_plane(folder / "plane", Options(controllers=CONTROLLERS)) as plane:
        CrdServer(plane).install(crd_manifest())
        kube = Kube(plane)
        with PrepareStandIn(kube, folder / "pods"):
            yield kube


@pytest.fixture(scope="session")
def namespaces() -> Iterator[str]:
    """Names that no namespace has had."""
    return (f"hosted-{number}" for number in itertools.count(1))


@pytest.fixture
def new_site(kube: Kube, tmp_path: Path, namespaces: Iterator[str]) -> Iterator[NewSite]:
    """Makes sites: a namespace and an account each."""
    with ExitStack() as stack:

        def make() -> Site:
            name = next(namespaces)
            folder = tmp_path / name
            emulator = stack.enter_context(Emulator(folder, speed=SPEED, options=PACE))
            return Site(kube, folder, name, emulator)

        yield make


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """One site."""
    return new_site()
