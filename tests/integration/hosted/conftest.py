"""One control plane for all hosted tests, and somebody who completes its prepare pods."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.controlplane import Options
from support.cluster import control_plane
from support.crd_server import CrdServer, crd_manifest
from support.hosted_site import Outcomes, Scenario, Site, Sites
from support.kube import Kube
from support.prepare_stand_in import PrepareStandIn

CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
)
_AT_ONCE = 6
"""Scenarios side by side: most of their time is waiting for leases and lags."""


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
def sites(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """Where sites come from."""
    return Sites(kube, tmp_path_factory.mktemp("sites"))


@pytest.fixture
def site(sites: Sites) -> Iterator[Site]:
    """One site."""
    with sites.new() as site:
        yield site


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, sites: Sites) -> Iterator[Outcomes]:
    """Every chosen `scenario` of this module, played side by side, each on a site of its own."""

    def play(scenario: Scenario) -> None:
        with sites.new() as site:
            scenario(site)

    chosen = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and "outcomes" in item.fixturenames
    ]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="scenario") as pool:
        yield {scenario: pool.submit(play, scenario) for scenario in chosen}
