"""Graders tried out at the emulator, with the official client: what they give, how they fail."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from support.azure_account import dated_client
from support.azure_rows import EXACT
from support.certificates import ServerCertificate, make_server_certificate
from support.emulator import Emulator
from support.grader_endpoint import GraderEndpoint, grader_endpoint

ITEM = {"answer": "42", "words": "the cat sat on the mat"}
FLAGS = (
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
)
DETAILS = (
    "python_grader_server_error_type",
    "python_grader_runtime_error_details",
    "model_grader_server_error_details",
)


def similar(metric: str) -> dict[str, Any]:
    return {
        "type": "text_similarity",
        "name": metric,
        "input": "{{sample.output_text}}",
        "reference": "{{item.words}}",
        "evaluation_metric": metric,
    }


def python(source: str) -> dict[str, Any]:
    return {"type": "python", "name": "own", "source": source}


def judge(model: str = "o3-mini", **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "How good is {{sample.output_text}}?"}
    return {"type": "score_model", "name": "judge", "model": model, "input": [message], **more}


def multi(formula: str, **parts: Any) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": parts, "calculate_output": formula}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return make_server_certificate(tmp_path_factory.mktemp("endpoint"), "127.0.0.1")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tls: ServerCertificate) -> Iterator[Emulator]:
    options = [f"--endpoint-ca-file={tls.ca}"]
    with Emulator(tmp_path_factory.mktemp("azure"), speed=0, options=options) as emulator:
        yield emulator


@pytest.fixture
def endpoint(tls: ServerCertificate) -> Iterator[GraderEndpoint]:
    with grader_endpoint(tls) as server:
        yield server


async def graded(client: openai.AsyncOpenAI, grader: Any, sample: str, item: Any = ITEM) -> Any:
    """The answer as it came, before the client's models have touched it."""
    return (
        await client.post(
            "/fine_tuning/alpha/graders/run",
            cast_to=httpx2.Response,
            body={"grader": grader, "item": item, "model_sample": sample},
        )
    ).json()


def errors_of(answer: Any) -> set[str]:
    return {name for name in FLAGS if answer["metadata"]["errors"][name]}


class TestShape:
    async def test_the_official_client_reads_a_grade(self, client: openai.AsyncOpenAI) -> None:
        grader: Any = multi("exact / 2 + alike / 2", exact=EXACT, alike=judge(range=[0, 1]))
        found = await client.fine_tuning.alpha.graders.run(
            grader=grader, item=ITEM, model_sample="42"
        )
        assert found.reward == 1.0
        assert found.sub_rewards == {"exact": 1.0, "alike": 1.0}
        assert found.metadata.name == "all"
        assert not found.metadata.errors.other_error
        assert found.metadata.execution_time >= 0
        [(model, tokens)] = found.api_model_grader_token_usage_per_model.items()
        assert model == "o3-mini-2025-01-31"
        assert found.metadata.token_usage == tokens

    async def test_every_member_is_there(self, client: openai.AsyncOpenAI) -> None:
        answer = await graded(client, EXACT, "42")
        assert set(answer) == {
            "reward",
            "metadata",
            "sub_rewards",
            "model_grader_token_usage_per_model",
        }
        metadata = answer["metadata"]
        assert metadata.pop("execution_time") >= 0
        assert metadata == {
            "name": "exact",
            "type": "string_check",
            "errors": {**dict.fromkeys(FLAGS, False), **dict.fromkeys(DETAILS)},
            "scores": {},
            "token_usage": None,
            "sampled_model_name": None,
        }

    async def test_it_is_there_on_the_dated_surface_too(self, emulator: Emulator) -> None:
        async with dated_client(emulator) as client:
            assert (await graded(client, EXACT, "42"))["reward"] == 1.0


class TestRewards:
    @pytest.mark.parametrize(
        ("grader", "sample", "want"),
        [
            pytest.param(EXACT, "42", 1.0, id="an exact answer"),
            pytest.param(EXACT, "43", 0.0, id="another answer"),
            pytest.param(similar("fuzzy_match"), ITEM["words"], 1.0, id="the same text"),
            pytest.param(similar("rouge_1"), "the cat", 0.5, id="a third of the words"),
            pytest.param(
                {**EXACT, "input": "{{sample.output_json.x}}"}, '{"x": 42}', 1.0, id="in JSON"
            ),
            pytest.param(judge(), "42", 1.0, id="a judge who finds the answer in the item"),
            pytest.param(judge(range=[1, 5]), "42", 5.0, id="a judge with a range"),
            pytest.param(judge(range=[1, 5]), "@@", 1.0, id="a judge who finds nothing"),
            pytest.param(
                python("def grade(sample, item):\n  return len(sample['output_text']) / 10"),
                "12345",
                0.5,
                id="python",
            ),
            pytest.param(
                multi("max(a, b) * 2 ^ 3", a=EXACT, b={**EXACT, "operation": "ne"}),
                "43",
                8.0,
                id="a formula",
            ),
        ],
    )
    async def test_graders(
        self, client: openai.AsyncOpenAI, grader: Any, sample: str, want: float
    ) -> None:
        answer = await graded(client, grader, sample)
        assert errors_of(answer) == set()
        assert answer["reward"] == pytest.approx(want)

    async def test_an_endpoint_is_called(
        self, client: openai.AsyncOpenAI, endpoint: GraderEndpoint
    ) -> None:
        grader = {
            "type": "endpoint",
            "name": "mine",
            "url": endpoint.url,
            "headers": {"X-Secret": "s"},
        }
        assert (await graded(client, grader, "42"))["reward"] == 0.5
        [body] = endpoint.bodies
        assert body["item"] == ITEM
        assert body["sample"]["output_text"] == "42"
        assert endpoint.headers[0]["X-Secret"] == "s"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How an endpoint fails."""

    status: int = 200
    answer: bytes = b"{}"


class TestFailures:
    """A grader that fails is an answer, with no reward and the kind of the failure."""

    @pytest.mark.parametrize(
        ("grader", "sample", "want", "detail"),
        [
            pytest.param(
                {**EXACT, "reference": "{{item.none}}"},
                "42",
                "invalid_variable_error",
                None,
                id="the item lacks what is named",
            ),
            pytest.param(
                {**EXACT, "input": "{{sample.output_json.x}}"},
                "no JSON",
                "sample_parse_error",
                None,
                id="an answer that is not JSON",
            ),
            pytest.param(
                multi("1 / exact", exact=EXACT),
                "43",
                "formula_parse_error",
                None,
                id="a division by zero",
            ),
            pytest.param(
                judge("gpt-3"),
                "42",
                "model_grader_server_error",
                "model_grader_server_error_details",
                id="a judge that there is not",
            ),
            pytest.param(
                python("def grade(sample, item):\n  return item['none']"),
                "42",
                "python_grader_runtime_error",
                "python_grader_runtime_error_details",
                id="python that raises",
            ),
            pytest.param(
                python("grade ="),
                "42",
                "python_grader_runtime_error",
                "python_grader_runtime_error_details",
                id="python that is none",
            ),
            pytest.param(
                python("def grade(sample, item):\n  return float('nan')"),
                "42",
                "python_grader_runtime_error",
                "python_grader_runtime_error_details",
                id="python that gives no number",
            ),
            pytest.param(
                python("import os\ndef grade(sample, item):\n  os._exit(3)"),
                "42",
                "python_grader_server_error",
                "python_grader_server_error_type",
                id="python that ends its process",
            ),
            pytest.param(
                {"type": "endpoint", "name": "gone", "url": "https://127.0.0.1:1/"},
                "42",
                "other_error",
                None,
                id="an endpoint that is not there",
            ),
        ],
    )
    async def test_kinds(
        self, client: openai.AsyncOpenAI, grader: Any, sample: str, want: str, detail: str | None
    ) -> None:
        answer = await graded(client, grader, sample)
        assert answer["reward"] == 0.0
        assert errors_of(answer) == {want}
        errors = answer["metadata"]["errors"]
        assert {name for name in DETAILS if errors[name]} == ({detail} if detail else set())

    @pytest.mark.parametrize(
        ("failure", "want"),
        [
            pytest.param(Failure(status=500), "other_error", id="an error"),
            pytest.param(Failure(answer=b"?"), "unresponsive_reward_error", id="no JSON"),
            pytest.param(Failure(), "unresponsive_reward_error", id="no score"),
        ],
    )
    async def test_endpoints(
        self,
        client: openai.AsyncOpenAI,
        endpoint: GraderEndpoint,
        failure: Failure,
        want: str,
    ) -> None:
        endpoint.status, endpoint.answer = failure.status, failure.answer
        grader = {"type": "endpoint", "name": "mine", "url": endpoint.url}
        assert errors_of(await graded(client, grader, "42")) == {want}


class TestSandbox:
    """What a python grader cannot do, even to the emulator's own machine."""

    @pytest.mark.parametrize(
        ("line", "want"),
        [
            pytest.param("x = 'a' * (3 * 1024 ** 3)", "MemoryError", id="take much memory"),
            pytest.param("open('/tmp/x', 'wb', 0).write(b'x')", "File too large", id="write files"),
            pytest.param("import os; return 'PATH' in os.environ", "", id="read the environment"),
            pytest.param("import azure_openai", "ModuleNotFoundError", id="import the emulator"),
        ],
    )
    async def test_contained(
        self, client: openai.AsyncOpenAI, tmp_path: Path, line: str, want: str
    ) -> None:
        source = f"def grade(sample, item):\n  {line.replace('/tmp/', f'{tmp_path}/')}"
        answer = await graded(client, python(source), "42")
        details = answer["metadata"]["errors"]["python_grader_runtime_error_details"]
        assert want in (details or "")
        assert answer["reward"] == 0.0

    @pytest.mark.parametrize(
        "line",
        [
            pytest.param("while True: pass", id="compute for long"),
            pytest.param("import time; time.sleep(60)", id="sleep for long"),
        ],
    )
    async def test_time(self, emulator: Emulator, client: openai.AsyncOpenAI, line: str) -> None:
        emulator.configure(python_grader_seconds=1)
        answer = await graded(client, python(f"def grade(sample, item):\n  {line}"), "42")
        assert errors_of(answer) == {"python_grader_server_error"}


class TestValidate:
    async def test_the_official_client_reads_the_grader(self, client: openai.AsyncOpenAI) -> None:
        grader: Any = EXACT
        found = await client.fine_tuning.alpha.graders.validate(grader=grader)
        assert found.grader is not None
        assert found.grader.to_dict() == EXACT

    async def test_what_nobody_reads_is_left_out(self, client: openai.AsyncOpenAI) -> None:
        endpoint = {
            "type": "endpoint",
            "name": "e",
            "url": "https://x.test/",
            "headers": {"a": "b"},
        }
        sent = {"grader": {**endpoint, "rate_limit": None, "colour": "red"}}
        answer = await client.post(
            "/fine_tuning/alpha/graders/validate", cast_to=httpx2.Response, body=sent
        )
        assert answer.json() == {"grader": endpoint}

    @pytest.mark.parametrize(
        ("body", "want"),
        [
            pytest.param({}, "grader", id="no grader"),
            pytest.param({"grader": {"type": "label_model"}}, "'multi'", id="of evaluations"),
            pytest.param({"grader": {**EXACT, "reference": None}}, "needs", id="no reference"),
            pytest.param(
                {"grader": {**EXACT, "input": "{{ item.answer }}"}},
                "without blanks",
                id="blanks in a placeholder",
            ),
            pytest.param(
                {"grader": multi("a + c", a=EXACT)}, "uses c", id="a formula with a stranger"
            ),
            pytest.param(
                {"grader": {"type": "endpoint", "name": "e", "url": "http://x.test/"}},
                "https://",
                id="an endpoint without TLS",
            ),
        ],
    )
    @pytest.mark.parametrize("operation", ["validate", "run"])
    async def test_refusals(
        self, client: openai.AsyncOpenAI, operation: str, body: dict[str, Any], want: str
    ) -> None:
        with pytest.raises(openai.BadRequestError, match=want) as refused:
            await client.post(
                f"/fine_tuning/alpha/graders/{operation}",
                cast_to=object,
                body={**body, "model_sample": "42"},
            )
        assert refused.value.code == "invalidPayload"
