"""Names that are short enough, a job's own, and the same every time."""

import re

import pytest

from finetune_operator.core import names
from support.builders import a_job, marker_of, prepared, with_status

DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    "name",
    ["a", "tune", "a" * 63, "a." * 31 + "a", "x" * 40 + "." + "-" * 3 + "y" * 19, "0" * 63],
)
def test_child_names_are_valid(name: str) -> None:
    job = a_job(name=name, generation=123456)
    for child in (
        names.prepare_name(job, 99),
        names.training_name(job, 1234),
        names.output_claim_name(job),
    ):
        assert len(child) <= 63
        assert DNS.fullmatch(child), child


def test_a_job_of_the_same_name_has_other_children() -> None:
    one, other = a_job(uid="uid-1"), a_job(uid="uid-2")
    assert names.training_name(one, 1) != names.training_name(other, 1)
    assert names.output_claim_name(one) != names.output_claim_name(other)
    assert names.training_name(one, 1) == names.training_name(a_job(uid="uid-1"), 1)


def test_long_names_are_told_apart_by_what_follows() -> None:
    job = a_job(name="a" * 63)
    assert names.training_name(job, 1) != names.training_name(job, 2)


@pytest.mark.parametrize(
    ("numbers", "want"),
    [
        pytest.param((), 0, id="none yet"),
        pytest.param((0,), 1, id="one"),
        pytest.param((0, 4), 5, id="with a gap"),
        pytest.param((9, 10), 11, id="numbers, not letters"),
    ],
)
@pytest.mark.parametrize("name", ["tune", "a" * 63])
def test_the_next_prepare_job_takes_a_free_name(
    numbers: tuple[int, ...], want: int, name: str
) -> None:
    job = a_job(name=name)
    taken = [names.prepare_name(job, number) for number in numbers]
    assert names.next_prepare([*taken, names.training_name(job, 88)]) == want


def test_prepare_jobs_are_counted_through_all_generations() -> None:
    first = names.prepare_name(a_job(generation=1), 7)
    assert names.next_prepare([first, names.prepare_name(a_job(generation=2), 1)]) == 8


@pytest.mark.parametrize(
    ("spec", "want_same"),
    [
        pytest.param({"suspend": True}, True, id="suspend"),
        pytest.param({"hyperparameters": {"epochs": 3}}, True, id="epochs"),
        pytest.param({"hyperparameters": {"maxSequenceLength": 64}}, False, id="cut rows"),
        pytest.param({"data.training.configMap.key": "b.jsonl"}, False, id="another file"),
        pytest.param({"model.uri": "hf://org/other"}, False, id="another tokenizer"),
        pytest.param({"data.validation": {"split": "5%"}}, False, id="a split"),
        pytest.param({"seed": 7}, True, id="the seed"),
    ],
)
def test_a_data_report_depends_on(spec: dict[str, object], want_same: bool) -> None:
    same = names.spec_digest(a_job()) == names.spec_digest(a_job(spec=spec))
    assert same == want_same


@pytest.mark.parametrize(
    ("hosted", "spec"),
    [
        pytest.param(True, {"hyperparameters": {"epochs": 3}}, id="epochs at the service"),
        pytest.param(False, {"seed": 7, "data.validation": {"split": "5%"}}, id="a split's seed"),
    ],
)
def test_a_data_report_also_depends_on(hosted: bool, spec: dict[str, object]) -> None:
    without = dict(list(spec.items())[1:])
    digests = [names.spec_digest(a_job(hosted=hosted, spec=each)) for each in (spec, without)]
    assert digests[0] != digests[1]


def test_a_data_report_is_made_anew_for_a_retry() -> None:
    retried = with_status(a_job(), last_handled_retry_at="1")
    assert names.spec_digest(retried) != names.spec_digest(a_job())
    assert names.spec_digest(retried) == names.spec_digest(a_job(), "1")


@pytest.mark.parametrize(
    ("spec", "want_same"),
    [
        pytest.param({"suspend": True}, True, id="suspend"),
        pytest.param({"azureOpenAI.suffix": "x"}, True, id="the user's own suffix"),
        pytest.param({"seed": 3}, False, id="seed"),
        pytest.param({"hyperparameters": {"epochs": 3}}, False, id="epochs"),
        pytest.param({"azureOpenAI.trainingType": "Standard"}, False, id="training type"),
        pytest.param({"model.name": "gpt-4.1-nano-2025-04-14"}, False, id="model"),
    ],
)
def test_a_marker_depends_on_what_is_learnt(spec: dict[str, object], want_same: bool) -> None:
    one = marker_of(prepared(a_job(hosted=True)))
    other = marker_of(prepared(a_job(hosted=True, spec=spec)))
    assert (one == other) == want_same


def test_a_marker_depends_on_the_data() -> None:
    job = prepared(a_job(hosted=True))
    data = job.status.data
    assert data is not None
    assert data.training is not None
    changed = data.training.model_copy(update={"sha256": "cd" * 32})
    other = with_status(job, data=data.model_copy(update={"training": changed}))
    assert marker_of(job) != marker_of(other)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        pytest.param("tune-7c359-a12", 12, id="an attempt"),
        pytest.param("tune-7c359-p1-0", None, id="a prepare Job"),
        pytest.param("tune-a3-7c359-p1-0", None, id="of a job that is called like an attempt"),
    ],
)
def test_the_attempt_of_a_job(name: str, want: int | None) -> None:
    assert names.attempt_number(name) == want
