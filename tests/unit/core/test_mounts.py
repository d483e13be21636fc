"""The environment of a pod: what the user writes is what the process sees."""

import pytest

from finetune_api.pods import DataFile, FileSource, PrepareConfig
from finetune_operator.core import child_jobs, names
from finetune_operator.core.mounts import mounted_objects
from support.builders import a_job, started
from support.world import SURROUNDINGS


@pytest.mark.parametrize(
    ("value", "want"),
    [
        pytest.param("4", "4", id="plain"),
        pytest.param("$(HOME)/x", "$$(HOME)/x", id="a reference stays text"),
        pytest.param("a$$b$", "a$$$$b$$", id="every dollar counts"),
    ],
)
def test_an_environment_variable_is_taken_as_it_stands(value: str, want: str) -> None:
    env = [{"name": "MINE", "value": value}]
    job = started(a_job(spec={"kubernetes.podTemplate": {"env": env}}))
    child = child_jobs.training_job(job, names.training_name(job, 1), "models", SURROUNDINGS)
    (container,) = child["spec"]["template"]["spec"]["containers"]
    assert {"name": "MINE", "value": want} in container["env"]


def test_every_volume_that_shows_one_key_is_known_by_its_object() -> None:
    """A sentence on a missing key names the object: the kubelet names the volume alone."""
    job = a_job(hosted=True)
    task = PrepareConfig(job="x", training=DataFile(source=FileSource(path="x"), display="x"))
    child = child_jobs.prepare_job(job, "tune-prepare-1", task, SURROUNDINGS)
    shown = {}
    for volume in child["spec"]["template"]["spec"]["volumes"]:
        source = volume.get("configMap") or volume.get("secret") or {}
        if "items" in source:
            shown[volume["name"]] = source.get("name") or source["secretName"]
    assert len(shown) >= 2
    assert mounted_objects(job) == shown
