import pytest

from finetune_api.reasons import Reason
from finetune_operator.core.azure_names import create_body, origin, resolve
from finetune_operator.core.errors import Transient
from support.graders import a_check, a_judge, a_multi
from support.hosted import a_hosted_job

COGNITIVE = "https://cognitiveservices.azure.com/.default"
FOUNDRY = "https://ai.azure.com/.default"
ACCOUNT = "https://acct.openai.azure.com/openai/v1/"
PROJECT = "https://acct.services.ai.azure.com/api/projects/p1/openai/v1/"
JSON_ANSWERS = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {"type": "object", "properties": {"x": {"type": "string"}}},
        "strict": True,
    },
}
ALLOWED = ("https://emulator.finetune.svc:8443", "https://gateway.corp.example")


@pytest.mark.parametrize(
    ("endpoint", "want_base_url", "want_scope"),
    [
        pytest.param("https://acct.openai.azure.com", ACCOUNT, COGNITIVE, id="as the portal shows"),
        pytest.param("https://acct.openai.azure.com/", ACCOUNT, COGNITIVE, id="with a slash"),
        pytest.param("https://acct.openai.azure.com:443", ACCOUNT, COGNITIVE, id="with the port"),
        pytest.param("https://ACCT.OpenAI.azure.com", ACCOUNT, COGNITIVE, id="in capitals"),
        pytest.param("https://acct.openai.azure.com/openai", ACCOUNT, COGNITIVE, id="/openai"),
        pytest.param("https://acct.openai.azure.com/openai/v1", ACCOUNT, COGNITIVE, id="/v1"),
        pytest.param("https://acct.openai.azure.com//openai//v1//", ACCOUNT, COGNITIVE, id="//"),
        pytest.param(
            "https://acct.cognitiveservices.azure.com",
            "https://acct.cognitiveservices.azure.com/openai/v1/",
            COGNITIVE,
            id="cognitive services host",
        ),
        pytest.param(
            "https://acct.services.ai.azure.com",
            "https://acct.services.ai.azure.com/openai/v1/",
            FOUNDRY,
            id="Foundry host",
        ),
        pytest.param(
            "https://acct.services.ai.azure.com/api/projects/p1", PROJECT, FOUNDRY, id="project"
        ),
        pytest.param(
            "https://acct.services.ai.azure.com/api/projects/p1/openai/v1/",
            PROJECT,
            FOUNDRY,
            id="project with everything",
        ),
        pytest.param(
            "https://acct.openai.azure.us",
            "https://acct.openai.azure.us/openai/v1/",
            "https://cognitiveservices.azure.us/.default",
            id="sovereign cloud",
        ),
        pytest.param(
            "https://emulator.finetune.svc:8443",
            "https://emulator.finetune.svc:8443/openai/v1/",
            COGNITIVE,
            id="allowed by the chart",
        ),
        pytest.param(
            "https://gateway.corp.example:443/",
            "https://gateway.corp.example/openai/v1/",
            COGNITIVE,
            id="allowed, spelled otherwise",
        ),
    ],
)
def test_an_endpoint_becomes_the_v1_base_url(
    endpoint: str, want_base_url: str, want_scope: str
) -> None:
    found = resolve(endpoint, allowed=ALLOWED)
    assert (found.base_url, found.token_scope) == (want_base_url, want_scope)


@pytest.mark.parametrize(
    "endpoint",
    [
        pytest.param("https://evil.example", id="any other host"),
        pytest.param("https://openai.azure.com.evil.example", id="suffix in the middle"),
        pytest.param("https://evilopenai.azure.com", id="suffix without its dot"),
        pytest.param("https://.openai.azure.com", id="no account"),
        pytest.param("https://acct.openai.azure.com:8443", id="another port of a known host"),
        pytest.param("https://emulator.finetune.svc", id="another port of an allowed host"),
        pytest.param("https://evil.example\\.openai.azure.com", id="backslash"),
        pytest.param("https://user:key@acct.openai.azure.com", id="credentials in the URL"),
        pytest.param("https://evil.example#.openai.azure.com", id="fragment"),
        pytest.param("https://evil.example?.openai.azure.com", id="query"),
        pytest.param("https://evil.example%2f.openai.azure.com", id="percent encoding"),
        pytest.param("https://\u0430cct.openai.azure.com", id="letters that only look Latin"),
        pytest.param("http://acct.openai.azure.com", id="without TLS"),
        pytest.param("https://[::1]", id="IPv6 literal"),
        pytest.param("https://acct.openai.azure.com/openai/deployments/x", id="a deployment"),
        pytest.param("https://acct.openai.azure.com/api/projects/..", id="dots for a project"),
        pytest.param("https://acct.openai.azure.com/a/../b", id="a path with dots"),
    ],
)
def test_keys_go_nowhere_else(endpoint: str) -> None:
    with pytest.raises(Transient) as caught:
        resolve(endpoint, allowed=ALLOWED)
    assert caught.value.reason is Reason.ENDPOINT_NOT_ALLOWED
    assert caught.value.waits_for_user


def test_a_refusal_says_what_to_add_where() -> None:
    with pytest.raises(Transient, match=r"https://gw\.corp:8443 to the chart's azure\.allowedEnd"):
        resolve("https://gw.corp:8443/openai", allowed=ALLOWED)


def test_the_administrator_may_set_the_scope() -> None:
    found = resolve("https://acct.openai.azure.com", allowed=(), token_scope="api://own/.default")
    assert found.token_scope == "api://own/.default"


def test_an_entry_of_the_chart_that_is_no_url_is_named() -> None:
    with pytest.raises(ValueError, match="`gateway:8443` is not an address such as"):
        origin("gateway:8443")


BASE = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1", "suffix": "a-0123456789"}
SUPERVISED = {"method": {"type": "supervised"}}


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        pytest.param({}, SUPERVISED, id="what is absent is left to the service"),
        pytest.param(
            {"spec.hyperparameters": {"epochs": 2, "learningRateMultiplier": "1.5e-1"}},
            {
                "method": {
                    "type": "supervised",
                    "supervised": {
                        "hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.15}
                    },
                }
            },
            id="hyperparameters in the service's spelling",
        ),
        pytest.param(
            {"spec.hyperparameters": {"batchSize": 16}, "spec.seed": 0},
            {
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"batch_size": 16}},
                },
                "seed": 0,
            },
            id="seed 0 is a seed",
        ),
        pytest.param(
            {"spec.azureOpenAI.trainingType": "Developer"},
            SUPERVISED | {"trainingType": "developerTier"},
            id="developer tier",
        ),
        pytest.param(
            {"spec.azureOpenAI.trainingType": "GlobalStandard"},
            SUPERVISED | {"trainingType": "GlobalStandard"},
            id="global standard",
        ),
        pytest.param(
            {"spec.hyperparameters": {}},
            SUPERVISED,
            id="empty hyperparameters",
        ),
        pytest.param(
            {"spec.method": {"type": "DPO"}}, {"method": {"type": "dpo"}}, id="DPO as it is"
        ),
        pytest.param(
            {
                "spec.method": {"type": "DPO", "dpo": {"beta": "0.2", "l2Multiplier": "1e-1"}},
                "spec.hyperparameters": {"epochs": 1},
            },
            {
                "method": {
                    "type": "dpo",
                    "dpo": {"hyperparameters": {"n_epochs": 1, "beta": 0.2, "l2_multiplier": 0.1}},
                }
            },
            id="DPO with its own hyperparameters",
        ),
        pytest.param(
            {"spec.method": {"type": "Reinforcement", "reinforcement": {"grader": a_check()}}},
            {"method": {"type": "reinforcement", "reinforcement": {"grader": a_check()}}},
            id="reinforcement by a grader",
        ),
        pytest.param(
            {
                "spec.method": {
                    "type": "Reinforcement",
                    "reinforcement": {
                        "grader": a_multi("a", a=a_judge()),
                        "responseFormat": JSON_ANSWERS,
                        "reasoningEffort": "Medium",
                        "computeMultiplier": "1.5",
                        "evalInterval": 5,
                        "evalSamples": 2,
                    },
                },
                "spec.hyperparameters": {"batchSize": 8},
            },
            {
                "method": {
                    "type": "reinforcement",
                    "reinforcement": {
                        "grader": a_multi("a", a=a_judge()),
                        "response_format": JSON_ANSWERS,
                        "hyperparameters": {
                            "batch_size": 8,
                            "reasoning_effort": "medium",
                            "compute_multiplier": 1.5,
                            "eval_interval": 5,
                            "eval_samples": 2,
                        },
                    },
                }
            },
            id="reinforcement with everything",
        ),
    ],
)
def test_the_create_request(changes: dict[str, object], want: dict[str, object]) -> None:
    job = a_hosted_job(changes)
    body = create_body(
        job.spec,
        model="gpt-4.1-mini-2025-04-14",
        suffix="a-0123456789",
        training_file="file-1",
        validation_file=None,
    )
    assert body == BASE | want


def test_a_validation_file_is_sent() -> None:
    body = create_body(
        a_hosted_job().spec,
        model="gpt-4.1",
        suffix="a",
        training_file="file-1",
        validation_file="file-2",
    )
    assert body["validation_file"] == "file-2"
