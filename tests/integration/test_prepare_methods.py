"""Data of preference and reinforcement training, and a grader that the service tries first."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_api.graders import Grader
from finetune_api.pods import PrepareConfig, RowFormat, UploadTarget
from finetune_api.reasons import ExitCode, Reason
from finetune_operator.core.errors import Transient
from finetune_operator.prepare.__main__ import prepare
from finetune_operator.prepare.data import CheckedData, prepare_data, with_hint
from finetune_operator.prepare.failure import Failure
from finetune_operator.prepare.places import Places
from finetune_operator.prepare.upload import upload
from support.azure_rows import preference_row, prompt_row
from support.chat_rows import write_jsonl
from support.emulator import Emulator
from support.graders import a_check, a_judge, a_multi, a_program
from support.prepare import config_of, emptied, file_of, places_in

pytestmark = pytest.mark.integration

SCOPE = "https://cognitiveservices.azure.com/.default"

Json = dict[str, Any]


@pytest.fixture(scope="module")
def shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("azure")) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Emulator) -> Emulator:
    return emptied(shared_emulator)


@pytest.fixture
def places(emulator: Emulator, tmp_path: Path) -> Places:
    return places_in(tmp_path, emulator)


def target(emulator: Emulator) -> UploadTarget:
    return UploadTarget(base_url=emulator.base_url, token_scope=SCOPE)


def checked(tmp_path: Path, row_format: RowFormat, rows: list[Json], **more: Any) -> CheckedData:
    """What `prepare_data` says of these rows, for training and validation alike."""
    file = file_of(write_jsonl(tmp_path / "rows.jsonl", rows))
    config: PrepareConfig = config_of(file, validation=file, row_format=row_format, **more)
    return prepare_data(config, tmp_path / "work")


def prompts(tmp_path: Path, grader: Json | None) -> CheckedData:
    """Twenty questions for this grader."""
    rows = [prompt_row(number) for number in range(20)]
    given = None if grader is None else Grader.model_validate(grader)
    return checked(tmp_path, RowFormat.PROMPTS, rows, grader=given)


async def test_preference_rows_are_uploaded(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    rows = [preference_row(number) for number in range(20)]
    data = checked(tmp_path, RowFormat.PREFERENCE, rows)

    got = await upload(data, target(emulator), places)

    assert data.training.check.examples == 20
    assert got.training in {file["id"] for file in emulator.files()}


@pytest.mark.parametrize(
    ("row_format", "rows", "want"),
    [
        pytest.param(
            RowFormat.CHAT, [preference_row(1)], "preference training", id="pairs for chat"
        ),
        pytest.param(
            RowFormat.PREFERENCE, [prompt_row(1)], "supervised training", id="prompts for pairs"
        ),
        pytest.param(
            RowFormat.PROMPTS, [preference_row(1)], "no `messages`", id="pairs for prompts"
        ),
    ],
)
def test_rows_of_another_method_are_refused(
    tmp_path: Path, row_format: RowFormat, rows: list[Json], want: str
) -> None:
    with pytest.raises(Failure, match=want) as failed:
        checked(tmp_path, row_format, rows)

    assert failed.value.code == ExitCode.BAD_DATA


def test_rows_without_what_the_grader_reads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"the grader reads item\.solution"):
        prompts(tmp_path, a_check(reference="{{item.solution}}"))


@pytest.mark.parametrize(
    ("grader", "want"),
    [
        pytest.param(a_check(input="{{ sample.output_text }}"), "without blanks", id="blanks"),
        pytest.param(a_multi("a + b", a=a_check()), "uses b, but there are a", id="a formula"),
    ],
)
def test_a_grader_that_can_never_grade(tmp_path: Path, grader: Json, want: str) -> None:
    with pytest.raises(Failure, match=want) as failed:
        prompts(tmp_path, grader)

    assert (failed.value.code, failed.value.reason) == (ExitCode.BAD_CONFIG, Reason.CONFIG_INVALID)


@pytest.mark.parametrize(
    "grader",
    [
        pytest.param(a_check(), id="a comparison"),
        pytest.param(
            a_check(input="{{sample.output_json.x}}"), id="of JSON: a made-up answer lacks it"
        ),
        pytest.param(a_judge(), id="a judge"),
        pytest.param(a_program(), id="a program"),
        pytest.param(a_multi("a * b", a=a_check(), b=a_judge()), id="several"),
    ],
)
async def test_a_good_grader_is_tried_and_then_the_files_go(
    emulator: Emulator, places: Places, tmp_path: Path, grader: Json
) -> None:
    data = prompts(tmp_path, grader)

    got = await upload(data, target(emulator), places, Grader.model_validate(grader))

    counts = emulator.requests()["counts"]
    tried = {route: count for route, count in counts.items() if "graders" in route}
    assert sum(tried.values()) == 2, counts
    assert got.validation is not None


async def test_a_grader_that_fails_on_a_made_up_answer_is_a_hint(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    """A real answer may mend it; and what it says of the row is repeated nowhere."""
    grader = a_program(source="def grade(sample, item):\n    raise ValueError(item['answer'] * 9)")
    data = prompts(tmp_path, grader)

    got = await upload(data, target(emulator), places, Grader.model_validate(grader))

    assert got.hint is not None
    assert "(python_grader_runtime_error)" in got.hint
    assert "000000000" not in got.hint
    assert (with_hint(data.training_report(), got.hint).warnings or [""])[0] == got.hint


async def test_a_bad_grader_ends_it_before_anything_is_uploaded(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    grader = a_check()
    data = prompts(tmp_path, grader)
    emulator.reply(400, "POST", "/graders/validate$", code="invalidPayload")

    with pytest.raises(Failure, match=r"Correct spec\.method\.reinforcement\.grader") as failed:
        await upload(data, target(emulator), places, Grader.model_validate(grader))

    assert failed.value.code == ExitCode.BAD_CONFIG
    assert emulator.files() == []


async def test_a_service_that_is_away_says_nothing_of_the_grader(
    emulator: Emulator, places: Places, tmp_path: Path
) -> None:
    data = prompts(tmp_path, a_check())
    emulator.reply(503, "POST", "/graders/run$", headers={"x-should-retry": "false"}, times=None)

    with pytest.raises(Transient):
        await upload(data, target(emulator), places, Grader.model_validate(a_check()))


@pytest.mark.parametrize(
    ("validate_only", "want_files"),
    [pytest.param(True, 0, id="looked at only"), pytest.param(False, 1, id="uploaded")],
)
def test_what_is_only_looked_at_is_not_uploaded(
    emulator: Emulator, places: Places, tmp_path: Path, validate_only: bool, want_files: int
) -> None:
    rows = [preference_row(number) for number in range(20)]
    config: PrepareConfig = config_of(
        file_of(write_jsonl(tmp_path / "rows.jsonl", rows)),
        row_format=RowFormat.PREFERENCE,
        upload=target(emulator),
        validate_only=validate_only,
    )

    report = prepare(config, places)

    assert report.ok
    assert report.training is not None
    assert report.training.examples == 20
    assert len(emulator.files()) == want_files
