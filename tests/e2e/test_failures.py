"""Failures say what to do, and doing it helps."""

import pytest

from deploy.install import API_KEY
from finetune_api import constants as c
from support.e2e import SOON, TRAINED, Space
from support.e2e_objects import SECRET, hosted, tiny
from support.e2e_status import assert_failed, assert_told, condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def test_more_memory_and_a_retry_mend_a_kill_at_the_limit(space: Space, training: None) -> None:
    # Enough to load the libraries, at which the kernel could read their files anew for ever
    # instead of killing, and far too little for the first step.
    limits = {"cpu": "1", "memory": "700Mi"}
    run = space.run(tiny(**{"kubernetes.resources": {"limits": limits}}))
    status = run.until_phase("Failed", within=TRAINED)
    # The supervisor's words, or the operator's own where the kernel ended the supervisor too.
    want = r"memory limit.*raise (spec\.)?kubernetes\.resources"
    assert_failed(status, "OutOfMemory", want)
    assert condition(status, "DataValid")["status"] == "True"
    assert [each["reason"] for each in status["attempts"]] == ["OutOfMemory"]
    run.set(kubernetes={"resources": {"limits": {"memory": "3Gi"}}})
    run.retry("more memory")
    status = run.until(
        lambda s: s.get("lastHandledRetryAt") == "more memory", "the retry is acknowledged"
    )
    assert condition(status, "Stalled") == {}
    status = run.until_phase("Succeeded", within=TRAINED)
    assert [each["reason"] for each in status["attempts"]] == ["OutOfMemory", "Succeeded"]
    assert "retries" not in status


def test_a_wrong_key_waits_for_the_right_one(space: Space) -> None:
    space.patch("Secret", SECRET, {"stringData": {"key": "wrong"}})
    run = space.run(hosted())
    status = run.until_reason("AuthenticationFailed")
    want = r"401.*Put a valid key of this account into the Secret|key.*Secret"
    assert_told(status, "Preparing", "AuthenticationFailed", want)
    status = run.until(lambda s: condition(s, "Stalled"), "Stalled", within=2 * SOON)
    assert_told(status, "Preparing", "AuthenticationFailed", want)
    assert "wrong" not in str(status)
    space.patch("Secret", SECRET, {"stringData": {"key": API_KEY}})
    status = run.until_phase("Succeeded", within=5 * SOON)
    assert condition(status, "Stalled") == {}


def test_a_model_that_the_service_does_not_know(space: Space) -> None:
    run = space.run(hosted(**{"model.name": "gpt-nothing"}))
    status = run.until_phase("Failed", within=2 * SOON)
    assert_failed(status, "ModelUnavailable", "cannot fine-tune gpt-nothing like this: check the ")
    assert condition(status, "DataValid")["status"] == "True"
    assert "jobID" not in status["azureOpenAI"]


def test_a_hosted_job_that_fails_says_what_the_service_said(space: Space) -> None:
    site = space.site
    run = space.run(hosted(**{"azureOpenAI.suffix": space.name, "hyperparameters.epochs": 10}))
    status = run.until_phase("Running", within=2 * SOON)
    job_id = status["azureOpenAI"]["jobID"]
    failure = {"message": "The training file was rejected by policy.", "code": "contentFilter"}
    site.emulator("POST", f"jobs/{job_id}/fail", failure)
    status = run.until_phase("Failed")
    assert_failed(status, condition(status, "Ready")["reason"], "rejected by policy")


def test_a_trainer_that_cannot_start_is_retried_and_then_given_up(space: Space) -> None:
    """Another image than the trainer's: its program is not there."""
    image = space.site.operator_image
    run = space.run(tiny(**{"kubernetes.image": image, "retryPolicy": {"maxRetries": 1}}))
    status = run.until_phase("Failed", within=3 * SOON)
    assert_failed(status, "TrainingFailed", "all 1 retries are used")
    assert [each["number"] for each in status["attempts"]] == [1, 2]
    assert len(run.children(c.COMPONENT_TRAINER)) == 2


def test_a_refused_training_job_leaves_no_claim(space: Space) -> None:
    wrong = [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    run = space.run(tiny(**{"kubernetes.podTemplate.topologySpreadConstraints": wrong}))
    status = run.until_phase("Failed", within=2 * SOON)
    assert_failed(status, "RequestRefused", r"The API server refused: .*maxSkew.*greater than zero")
    assert run.children(c.COMPONENT_TRAINER) == []
    assert space.objects("PersistentVolumeClaim") == []
