"""The main job on the hosted backend: from a manifest to a model reference."""

import pytest

from support.hosted_site import Site, condition

pytestmark = pytest.mark.integration


def test_a_manifest_becomes_a_model(site: Site) -> None:
    with site.operator().wait_until_leading():
        site.submit("orca", seed=105)
        status = site.wait_for_phase("orca", "Succeeded")
    [remote] = site.remote("orca")
    [_] = site.training_files()
    assert status["result"]["model"] == remote["fine_tuned_model"]
    assert condition(status, "Succeeded")["status"] == "True"
