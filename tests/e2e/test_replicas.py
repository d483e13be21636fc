"""Two replicas: one leads, the other stands by and takes over in time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.install import RELEASE, SYSTEM
from deploy.tools import helm
from support.e2e import SOON, TRAINED, Site, Space
from support.e2e_objects import hosted, tiny
from support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

CHART = Path(__file__).parents[2] / "helm" / "finetune-operator"
TAKEN_OVER_WITHIN_S = 20.0


def scale(site: Site, replicas: int) -> None:
    helm(
        "upgrade", RELEASE, str(CHART), "-n", SYSTEM, "--reuse-values",
        "--set", f"replicas={replicas}", "--wait", "--timeout", "3m",
    )  # fmt: skip
    wait_for(lambda: len(site.operator_pods()) == replicas, f"{replicas} pods", within=SOON)
    wait_for(lambda: site.leader(), "one leads", within=SOON)


@pytest.fixture
def two_replicas(site: Site, lonely_space: Space) -> Iterator[Space]:
    scale(site, 2)
    try:
        yield lonely_space
    finally:
        scale(site, 1)


def test_a_standby_takes_over_what_is_under_way(two_replicas: Space, training: None) -> None:
    space, site = two_replicas, two_replicas.site
    runs = [space.run(tiny(steps=8)), space.run(hosted(**{"azureOpenAI.suffix": space.name}))]
    runs[0].until_phase("Running", within=2 * SOON)
    leader = site.leader()
    assert leader is not None
    site.cluster.delete("Pod", SYSTEM, leader, gracePeriodSeconds=0)
    wait_for(
        lambda: site.leader() not in (None, leader),
        "the standby leads",
        within=TAKEN_OVER_WITHIN_S,
        told=site.log,
    )
    for run in runs:
        status = run.until_phase("Succeeded", within=TRAINED)
        assert status["attempt"] == 1
    assert len(space.remote_jobs()) == 1
