"""The graders by golden tables: grader, row and answer in, reward out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetune_api.crd import structural
from finetune_api.graders import Grader, SimilarityMetric
from finetune_data.graders.checking import check_grader, item_members, lacks, reads_json
from finetune_data.graders.formula import FormulaError, compute, names_in
from finetune_data.graders.grading import (
    Grade,
    GraderFailedError,
    GradingError,
    Judgement,
    Outside,
    grade,
)
from finetune_data.graders.similarity import similarity
from finetune_data.graders.templates import Sample, TemplateError, placeholders, render
from support.graders import a_check, a_judge, a_multi

Json = dict[str, Any]

COUNTDOWN = Path(__file__).parents[3] / "examples" / "data" / "countdown-rft"
ITEM = {"answer": "Paris", "n": 3, "who": {"name": "Ada"}, "tags": ["a", "b"]}


class FakeOutside:
    """Answers as it was told, and remembers what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def _given(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ask(
        self, model: str, messages: list[dict[str, str]], params: Mapping[str, Any]
    ) -> Judgement:
        text: str = self._given(model, messages, dict(params))
        return Judgement(text=text, prompt_tokens=40, completion_tokens=2)

    async def post(self, url: str, body: Mapping[str, Any], rate_limit: int | None) -> Any:
        return self._given(url, dict(body), rate_limit)

    async def run_python(
        self, source: str, sample: Mapping[str, Any], item: Mapping[str, Any]
    ) -> float:
        answer: float = self._given(source, dict(sample), dict(item))
        return answer


async def graded(
    grader: Json, text: str = "Paris", outside: FakeOutside | None = None, **item: Any
) -> Grade:
    """Grade one answer."""
    way: Outside = outside or FakeOutside()
    return await grade(Grader.model_validate(grader), ITEM | item, Sample(text=text), way)


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param("no braces { }", "no braces { }", id="text alone"),
        pytest.param("{{item.answer}}", "Paris", id="a member of the row"),
        pytest.param("<{{item.who.name}}>", "<Ada>", id="a member of a member"),
        pytest.param("{{item.n}}", "3", id="a number as JSON"),
        pytest.param("{{item.tags}}", '["a", "b"]', id="a list as JSON"),
        pytest.param("{{item.tags[1]}}", "b", id="one of a list"),
        pytest.param("{{sample.output_text}}", '{"x": [1, {"y": "é"}]}', id="the answer"),
        pytest.param("{{sample.output_json.x[1].y}}", "é", id="within the answer's JSON"),
        pytest.param("{{sample.output_tools}}", '[{"id": "1"}]', id="the answer's calls"),
        pytest.param("{{sample.output_tools[0].id}}", "1", id="within a call"),
    ],
)
def test_placeholders_are_filled_in(template: str, want: str) -> None:
    sample = Sample(text='{"x": [1, {"y": "é"}]}', tools=[{"id": "1"}])

    assert render(template, ITEM, sample) == want


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param("{{ item.answer }}", "without blanks", id="blanks"),
        pytest.param("{{answer}}", "begin with `item.`", id="no namespace"),
        pytest.param("{{item}}", "begin with `item.`", id="the whole row"),
        pytest.param("{{sample.text}}", "output_text", id="no such output"),
        pytest.param("{{sample.output_text.x}}", "output_text", id="below a text"),
        pytest.param("{{}}", "without blanks", id="nothing"),
    ],
)
def test_what_can_never_be_filled_in_is_refused(template: str, want: str) -> None:
    with pytest.raises(TemplateError, match=want):
        list(placeholders(template))


@pytest.mark.parametrize(
    ("operation", "text", "want"),
    [
        pytest.param("eq", "Paris", 1.0, id="eq, equal"),
        pytest.param("eq", "paris", 0.0, id="eq minds the case"),
        pytest.param("ne", "Rome", 1.0, id="ne, other"),
        pytest.param("ne", "Paris", 0.0, id="ne, equal"),
        pytest.param("like", "It is Paris.", 1.0, id="like, contained"),
        pytest.param("like", "It is paris.", 0.0, id="like minds the case"),
        pytest.param("ilike", "It is PARIS.", 1.0, id="ilike does not"),
        pytest.param("ilike", "It is Rome.", 0.0, id="ilike, other"),
    ],
)
async def test_string_check(operation: str, text: str, want: float) -> None:
    assert await graded(a_check(operation=operation), text) == Grade(reward=want)


CAT, DOG = "the cat sat on the mat", "the dog sat on the mat"


@pytest.mark.parametrize(
    ("metric", "text", "reference", "want"),
    [
        pytest.param("fuzzy_match", "kitten", "sitting", 8 / 13, id="fuzzy: 2 of 13 kept apart"),
        pytest.param("fuzzy_match", "", "", 1.0, id="fuzzy: both empty"),
        pytest.param("rouge_1", DOG, CAT, 5 / 6, id="rouge_1: five of six words"),
        pytest.param("rouge_2", DOG, CAT, 3 / 5, id="rouge_2: three of five pairs"),
        pytest.param("rouge_3", DOG, CAT, 2 / 4, id="rouge_3"),
        pytest.param("rouge_4", DOG, CAT, 1 / 3, id="rouge_4"),
        pytest.param("rouge_5", DOG, CAT, 0.0, id="rouge_5: no run of five"),
        pytest.param("rouge_1", "a a a", "a", 0.5, id="rouge_1 counts repetitions once"),
        pytest.param(
            "rouge_l", "police kill the man", "police killed the man", 3 / 4, id="rouge_l"
        ),
        pytest.param("rouge_l", "b a", "a b", 1 / 2, id="rouge_l minds the order"),
        pytest.param("bleu", CAT, CAT, 1.0, id="bleu: equal"),
        pytest.param("bleu", DOG, CAT, (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, id="bleu"),
        pytest.param("bleu", "Paris", "Paris", 1.0, id="bleu of one word"),
        pytest.param("gleu", DOG, CAT, 11 / 18, id="gleu: eleven of eighteen runs"),
        pytest.param("meteor", CAT, CAT, 1 - 0.5 / 6**3, id="meteor: equal, one chunk"),
        pytest.param("meteor", "cats", "cat", 0.5, id="meteor: the same stem"),
        pytest.param("rouge_1", "Привет, мир", "привет мир", 1.0, id="any script, any case"),
        pytest.param("rouge_1", "...", "...", 0.0, id="no words"),
        pytest.param("bleu", "", CAT, 0.0, id="no answer"),
    ],
)
def test_similarity(metric: str, text: str, reference: str, want: float) -> None:
    assert similarity(SimilarityMetric(metric), text, reference) == pytest.approx(want)


@pytest.mark.parametrize(
    ("formula", "want"),
    [
        pytest.param("0.5 * a + 0.5 * b", 0.6, id="a weighted sum"),
        pytest.param("-a ^ 2", -0.04, id="a power binds closer than a sign"),
        pytest.param("2 ^ 3 ^ 2", 512, id="powers from the right"),
        pytest.param("(a + b) / 2", 0.6, id="parentheses"),
        pytest.param("min(a, b, 3) + max(a, b)", 1.2, id="min and max"),
        pytest.param("abs(-b) + floor(1.9) + ceil(0.1)", 3, id="abs, floor and ceil"),
        pytest.param("exp(0) + sqrt(4) + log(1)", 3, id="exp, sqrt and log"),
        pytest.param("  a\n ", 0.2, id="one part"),
    ],
)
def test_formulas(formula: str, want: float) -> None:
    assert compute(formula, {"a": 0.2, "b": 1.0}) == pytest.approx(want)


@pytest.mark.parametrize(
    ("formula", "want"),
    [
        pytest.param("a +", "no formula", id="unfinished"),
        pytest.param("a.real", "may hold", id="an attribute"),
        pytest.param("__import__('os')", "uses __import__", id="another function"),
        pytest.param("(lambda: 1)()", "may hold", id="a lambda"),
        pytest.param("[1][0]", "may hold", id="a list"),
        pytest.param("'a' + 'b'", "may hold", id="strings"),
        pytest.param("True", "may hold", id="a truth value"),
        pytest.param("a % 2", "may hold", id="another operator"),
        pytest.param("a ** 2", r"write \^", id="python's power"),
        pytest.param("sqrt(a, b)", "wrong number", id="too many values"),
        pytest.param("max(a)", "wrong number", id="too few values"),
        pytest.param("c", "no grader", id="an unknown part"),
        pytest.param("1 / (a - a)", "cannot be computed", id="a division by nothing"),
        pytest.param("log(-1)", "cannot be computed", id="no real number"),
        pytest.param("9 ^ 9 ^ 9 ^ 9", "cannot be computed", id="a number without end"),
        pytest.param("1e308 * 10", "not finite", id="infinity"),
        pytest.param("(" * 300 + "a" + ")" * 300, "no formula|nested", id="deep parentheses"),
        pytest.param("-" * 900 + "a", "no formula|nested", id="many signs"),
        pytest.param("", "no formula", id="empty"),
    ],
)
def test_formulas_that_are_none(formula: str, want: str) -> None:
    with pytest.raises(FormulaError, match=want):
        compute(formula, {"a": 0.2, "b": 1.0})


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        pytest.param("7", 7.0, id="a bare number"),
        pytest.param('{"result": 7.5}', 7.5, id="JSON"),
        pytest.param('```json\n{"result": 7}\n```', 7.0, id="JSON in a fence"),
        pytest.param('{"steps": [], "score": 0}', 0.0, id="called score"),
        pytest.param("11", None, id="out of range"),
        pytest.param("seven", None, id="words"),
        pytest.param('{"result": true}', None, id="a truth value"),
        pytest.param('{"result": "7"}', None, id="a string"),
        pytest.param("[7]", None, id="a list"),
        pytest.param("", None, id="nothing"),
    ],
)
async def test_a_judging_model(answer: str, want: float | None) -> None:
    got = await graded(a_judge(), outside=FakeOutside(answer))

    assert got.reward == want
    assert got.error == (None if want is not None else GradingError.MODEL_PARSE)
    assert got.tokens == {"o3-mini": 42}


async def test_what_a_judge_is_asked() -> None:
    outside = FakeOutside("1")
    params = {"temperature": 0.5, "max_completions_tokens": 50, "reasoning_effort": "low"}
    parts = [{"type": "input_text", "text": "Rate "}, {"type": "text", "text": "{{item.n}}"}]
    messages = [{"role": "system", "content": "Be just"}, {"role": "user", "content": parts}]

    await graded(a_judge(input=messages, sampling_params=params), outside=outside)

    ((model, asked, given),) = outside.asked
    assert model == "o3-mini"
    assert [message["role"] for message in asked] == ["system", "system", "user"]
    assert "from 0 to 10" in asked[0]["content"]
    assert asked[2]["content"] == "Rate 3"
    assert given == {"temperature": 0.5, "max_completion_tokens": 50, "reasoning_effort": "low"}


@pytest.mark.parametrize(
    ("answer", "want", "error"),
    [
        pytest.param({"score": 0.25}, 0.25, None, id="score"),
        pytest.param({"reward": -1}, -1.0, None, id="reward"),
        pytest.param(2, 2.0, None, id="a bare number"),
        pytest.param({}, None, "unresponsive_reward_error", id="no number"),
        pytest.param({"score": float("nan")}, None, "unresponsive_reward_error", id="NaN"),
        pytest.param(
            GraderFailedError(GradingError.OTHER, "away"), None, "other_error", id="no answer"
        ),
    ],
)
async def test_an_endpoint(answer: Any, want: float | None, error: str | None) -> None:
    outside = FakeOutside(answer)
    grader = {"type": "endpoint", "name": "ours", "url": "https://grade.example/v1"}

    got = await graded(grader | {"rate_limit": 5}, '{"a": 1}', outside)

    assert (got.reward, got.error) == (want, error)
    ((url, body, rate),) = outside.asked
    assert (url, rate) == ("https://grade.example/v1", 5)
    assert body["item"] == ITEM
    assert body["sample"] == {
        "output_text": '{"a": 1}',
        "output_json": {"a": 1},
        "output_tools": [],
    }


@pytest.mark.parametrize(
    ("answer", "want", "error"),
    [
        pytest.param(0.5, 0.5, None, id="a number"),
        pytest.param(float("inf"), None, "python_grader_runtime_error", id="infinity"),
        pytest.param(
            GraderFailedError(GradingError.PYTHON_RUNTIME, "KeyError: 'x'"),
            None,
            "python_grader_runtime_error",
            id="an exception",
        ),
    ],
)
async def test_python(answer: Any, want: float | None, error: str | None) -> None:
    source = "def grade(sample, item): ..."

    got = await graded({"type": "python", "name": "p", "source": source}, "x", FakeOutside(answer))

    assert (got.reward, got.error) == (want, error)


@pytest.mark.parametrize(
    ("grader", "text", "want", "error"),
    [
        pytest.param(
            a_check(input="{{sample.output_json.city}}"), '{"city": "Paris"}', 1.0, None, id="JSON"
        ),
        pytest.param(
            a_check(input="{{sample.output_json.city}}"),
            "Paris",
            0.0,
            "sample_parse_error",
            id="an answer that is no JSON is a bad answer",
        ),
        pytest.param(
            a_check(input="{{sample.output_json.city}}"),
            "{}",
            0.0,
            "sample_parse_error",
            id="an answer that lacks the member too",
        ),
        pytest.param(
            a_check(reference="{{item.gone}}"),
            "Paris",
            None,
            "invalid_variable_error",
            id="a row that lacks it gives no reward",
        ),
        pytest.param(
            a_multi("a + b", a=a_check(), b=a_check(reference="{{item.gone}}")),
            "Paris",
            None,
            "invalid_variable_error",
            id="a part without reward leaves the whole without",
        ),
        pytest.param(
            a_multi("1 / a", a=a_check(operation="ne")),
            "Paris",
            None,
            "formula_parse_error",
            id="a formula without a value",
        ),
        pytest.param(
            a_multi("0.25 * a + b ^ 2", a=a_check(), b=a_judge()), "Paris", 4.25, None, id="multi"
        ),
    ],
)
async def test_who_is_to_blame(
    grader: Json, text: str, want: float | None, error: str | None
) -> None:
    got = await graded(grader, text, FakeOutside("2"))

    assert (got.reward, got.error) == (want, error)
    assert bool(got.message) == (error is not None)


async def test_a_multi_grader_tells_its_parts_and_what_they_cost() -> None:
    grader = a_multi("a + b", a=a_judge(), b=a_judge(name="second"))

    got = await graded(grader, outside=FakeOutside("2"))

    assert {name: part.reward for name, part in got.parts.items()} == {"a": 2.0, "b": 2.0}
    assert got.tokens == {"o3-mini": 84}


@pytest.mark.parametrize(
    ("score", "want"),
    [
        pytest.param("6", True, id="above"),
        pytest.param("5", True, id="at it"),
        pytest.param("4", False, id="below"),
    ],
)
async def test_a_threshold_is_counted_and_changes_nothing(score: str, want: bool) -> None:
    got = await graded(a_judge(pass_threshold=5), outside=FakeOutside(score))

    assert (got.reward, got.passed) == (float(score), want)


@pytest.mark.parametrize(
    ("grader", "want"),
    [
        pytest.param(a_check() | {"operation": None}, "needs `input`, `reference` and", id="lacks"),
        pytest.param(a_check(url="https://x"), "takes `input`", id="what is another's"),
        pytest.param(a_judge(input="text"), "list of messages", id="a judge's input as text"),
        pytest.param(a_check(input=[{"role": "user", "content": "x"}]), "a string", id="as a list"),
        pytest.param(a_judge(range=[1, 0]), "lowest score", id="range the wrong way"),
        pytest.param({"type": "label_model", "name": "x"}, "string_check", id="unknown type"),
        pytest.param({"type": "endpoint", "name": "x", "url": "http://x"}, "https", id="http"),
        pytest.param(a_multi("a", a=a_multi("b", b=a_check())), "itself", id="multi in multi"),
        pytest.param(a_multi("a", **{"a-b": a_check()}), "formula", id="a name no formula takes"),
        pytest.param(
            a_multi("a", a=a_judge(pass_threshold=1)), "pass_threshold", id="threshold in a part"
        ),
    ],
)
def test_graders_that_are_none(grader: Json, want: str) -> None:
    with pytest.raises(ValidationError, match=want):
        Grader.model_validate(grader)


@pytest.mark.parametrize(
    ("grader", "want"),
    [
        pytest.param(a_check(), None, id="in order"),
        pytest.param(
            a_check(reference="{{ item.x }}"), "grader exact: {{ item.x }} is", id="blank"
        ),
        pytest.param(a_multi("a + c", a=a_check()), "uses c, but there are a", id="unknown part"),
        pytest.param(a_multi("a +", a=a_check()), "`calculate_output` is no formula", id="formula"),
        pytest.param(
            a_multi("a", a=a_judge(input=[{"role": "user", "content": "{{x}}"}])),
            "grader a: {{x}} names nothing",
            id="in a message of a part",
        ),
    ],
)
def test_a_grader_is_checked_before_anything_is_spent(grader: Json, want: str | None) -> None:
    got = check_grader(Grader.model_validate(grader))

    assert got is None if want is None else want in str(got)


def test_rows_must_have_what_graders_read() -> None:
    grader = Grader.model_validate(
        a_multi("a", a=a_check(), b=a_check(reference="{{item.who.name}}"), c=a_judge())
    )
    members = item_members(grader)

    assert [str(place) for place in members] == ["item.answer", "item.who.name"]
    assert lacks(members, ITEM) is None
    assert str(lacks(members, ITEM | {"who": "Ada"})) == "item.who.name"


@pytest.mark.parametrize(
    ("text", "want"),
    [pytest.param("{{sample.output_json.x}}", True, id="yes"), pytest.param("x", False, id="no")],
)
def test_whether_the_answer_must_be_json(text: str, want: bool) -> None:
    assert reads_json(Grader.model_validate(a_check(input=text))) is want


def test_names_in_a_formula() -> None:
    assert names_in("min(a, b) * 2 + sqrt(c)") == {"a", "b", "c"}


def test_it_goes_to_the_service_as_it_came() -> None:
    grader = a_multi("a", a=a_judge(sampling_params={"seed": 1}))

    assert Grader.model_validate(grader).on_the_wire() == grader


def test_the_schema_is_structural() -> None:
    schema = structural(Grader)

    assert "multi" in schema["properties"]["type"]["enum"]
    part = schema["properties"]["graders"]["additionalProperties"]
    assert "multi" not in part["properties"]["type"]["enum"]


def test_the_countdown_data_set_fits_its_grader() -> None:
    grader = Grader.model_validate_json((COUNTDOWN / "grader.json").read_bytes())

    assert check_grader(grader) is None
    rows = (COUNTDOWN / "train.jsonl").read_text().splitlines()
    assert all(lacks(item_members(grader), json.loads(row)) is None for row in rows)
