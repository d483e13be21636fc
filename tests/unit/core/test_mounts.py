"""The environment of a pod: what the user writes is what the process sees."""

import pytest

from finetune_operator.core import child_jobs, names
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
