"""What a file's report says of rows that are like each other, and where it keeps silent."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from finetune_data import comparison
from finetune_data.chat import parse_chat
from finetune_data.report import FileCheck, check_file, training_warnings, validation_warnings
from support.chat_rows import assistant, image, row, system, text, user, write_jsonl

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
HAN = "".join(map(chr, range(0x4E00, 0x5800)))


def words(seed: int, count: int, letters: str = LETTERS) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(count)]


def prose(seed: int, count: int, *changed: int, letters: str = LETTERS) -> str:
    """Words of a language of its own; those at the given places are others."""
    found = words(seed, count, letters)
    for place in changed:
        found[place] = words(1000 + seed, count, letters)[place]
    return (" " if letters is LETTERS else "").join(found)


def chats(count: int, first: int = 0, *, before: str = "", after: str = "") -> list[Any]:
    """Rows of a hundred words each, with nothing in common but what is given."""
    return [
        row(
            system(prose(-1, 300)),
            user(f"{before}{prose(2 * i, 50)}{after}"),
            assistant(prose(2 * i + 1, 50)),
        )
        for i in range(first, first + count)
    ]


def checked(tmp_path: Path, rows: list[Any], name: str = "train") -> FileCheck:
    return check_file(write_jsonl(tmp_path / f"{name}.jsonl", rows), parse_chat)


def said(tmp_path: Path, rows: list[Any]) -> list[str]:
    return training_warnings(checked(tmp_path, rows), has_validation=True)


FORM = prose(-2, 400)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param(
            [row(system(), user(prose(0, 50, 7)), assistant(prose(1, 50, 20)))], 1,
            id="another word in each message",
        ),
        pytest.param(
            [row(system(), user("So: " + prose(0, 50)), assistant(prose(1, 50)))], 1,
            id="something put before it",
        ),
        pytest.param(
            [row(system(), user(prose(0, 50).upper() + " !"), assistant(prose(1, 50)))], 1,
            id="the same but for case and punctuation",
        ),
        pytest.param(
            [row(user("What's up"), assistant("Not much.")),
             row(user("what's  up?"), assistant("Not much."))], 1,
            id="a short one, the same but for blanks",
        ),
        pytest.param(
            [row(user(prose(70, 50, letters=HAN)), assistant("\u597d")),
             row(user(prose(70, 50, 7, letters=HAN)), assistant("\u597d"))], 1,
            id="another word in a script without blanks",
        ),
        pytest.param(
            [row(system(), user(prose(0, 50, *range(0, 50, 3))), assistant(prose(1, 50)))], 0,
            id="every third word another",
        ),
        pytest.param(
            [row(user(prose(-9, 200) + end), assistant(end)) for end in ("north", "south")], 0,
            id="two questions about one long text",
        ),
        pytest.param(
            [row(user(f"How do I reset {what}?"), assistant(prose(-9, 80)))
             for what in ("it", "my password")], 0,
            id="two ways to ask for one long answer",
        ),
        pytest.param(
            [row(user(f"What is {i} plus 1?"), assistant(str(i + 1))) for i in range(90)], 0,
            id="short rows of one kind",
        ),
        pytest.param(chats(60, 100, before=FORM), 0, id="a long form before every question"),
        pytest.param(
            [row(user(FORM + prose(200 + i, 10)), assistant(("yes", "no")[i % 2]))
             for i in range(60)], 0,
            id="a long form before short questions, with two answers",
        ),
        pytest.param(
            [row(user([text("What is this?"), image(f"https://x.y/{i}")]), assistant("A cat"))
             for i in range(3)], 0,
            id="the same question about other pictures",
        ),
    ],
)  # fmt: skip
def test_near_duplicates_are_counted(tmp_path: Path, rows: list[Any], want: int) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [*chats(60), *rows])

    def parse(line: dict[str, Any], number: int) -> Any:
        return parse_chat(line, number, images=True)

    got = training_warnings(check_file(path, parse), has_validation=True)

    hints = [sentence for sentence in got if "nearly the same" in sentence]
    assert [sentence.split()[0] for sentence in hints] == ([str(want)] if want else [])


def test_most_near_duplicates_are_found_and_nothing_else(tmp_path: Path) -> None:
    near = [
        row(system(), user(prose(2 * i, 50, i % 50)), assistant(prose(2 * i + 1, 50, (7 * i) % 50)))
        for i in range(200)
    ]

    found = checked(tmp_path, [*chats(600), *near]).rows.near_duplicates()

    assert 150 <= found <= 200


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("gsm8k-sft", id="mathematics"),
        pytest.param("stock-toolcall-sft", id="tool calls"),
    ],
)
def test_the_example_data_gives_no_hints(tmp_path: Path, name: str) -> None:
    training, validation = (
        check_file(EXAMPLES / name / f"{part}.jsonl", parse_chat)
        for part in ("train", "validation")
    )

    assert training_warnings(training, has_validation=True) == []
    assert validation_warnings(validation, training) == []


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param(chats(5, 100), [], id="rows of their own"),
        pytest.param(chats(2), ["2 rows of the validation data also in"], id="the same rows"),
        pytest.param(
            [row(system(), user(prose(0, 50, 7)), assistant(prose(1, 50)))],
            ["1 row of the validation data nearly the same as one of the training data"],
            id="nearly the same",
        ),
    ],
)
def test_validation_data_is_compared_with_training_data(
    tmp_path: Path, rows: list[Any], want: list[str]
) -> None:
    training = checked(tmp_path, chats(60))

    got = validation_warnings(checked(tmp_path, rows, "validation"), training)

    assert len(got) == len(want)
    for sentence, words_ in zip(got, want, strict=True):
        assert sentence.startswith(words_)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        pytest.param([row(user("a?"), assistant(each)) for each in "bcd"], 2, id="three answers"),
        pytest.param([row(user("a?"), assistant("b"))] * 3, 0, id="one answer, thrice"),
        pytest.param(
            [row(system(each), user("a?"), assistant(each)) for each in "bc"], 0,
            id="with other system prompts",
        ),
        pytest.param(
            [row(user("a?"), assistant(each), user("why?"), assistant("so")) for each in "bc"], 0,
            id="the turns before differ",
        ),
    ],
)  # fmt: skip
def test_contradictory_rows_are_counted(tmp_path: Path, rows: list[Any], want: int) -> None:
    got = [sentence for sentence in said(tmp_path, [*chats(60), *rows]) if "prompt of" in sentence]

    hint = f"{want} rows with the prompt of an earlier one and another answer"
    assert [sentence.startswith(hint) for sentence in got] == ([True] if want else [])


@pytest.mark.parametrize(
    ("times", "others", "want"),
    [
        pytest.param(10, 10, "50%", id="half of twenty"),
        pytest.param(7, 13, "35%", id="just more than a third"),
        pytest.param(20, 40, None, id="a third"),
        pytest.param(9, 10, None, id="too few rows"),
        pytest.param(600, 600, "50%", id="among many others"),
    ],
)
def test_a_dominant_answer_is_told(
    tmp_path: Path, times: int, others: int, want: str | None
) -> None:
    answers = ["no"] * times + [f"answer {i}" for i in range(others)]
    random.Random(1).shuffle(answers)
    rows = [row(user(f"question {i}"), assistant(answer)) for i, answer in enumerate(answers)]

    got = [sentence for sentence in said(tmp_path, rows) if "one answer" in sentence]

    assert [f"makes up {want} of" in sentence for sentence in got] == ([True] if want else [])


def test_hints_say_what_to_do_and_quote_nothing(tmp_path: Path) -> None:
    twin = row(user(prose(0, 50, 7)), assistant(prose(1, 50)))
    rows = [*chats(20), *[row(user("zebra"), assistant("quagga"))] * 30, twin,
            row(user("zebra"), assistant("okapi"))]  # fmt: skip

    got = said(tmp_path, rows)

    assert len(got) == 4
    for sentence in got:
        assert ": " in sentence
        assert not {"zebra", "quagga", "okapi"} & set(sentence.split())


def test_rows_beyond_what_is_remembered_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MAX_REMEMBERED_ROWS", 20)
    new = [row(user(f"new {i}"), assistant("yes")) for i in range(5)]
    near = [json.loads(json.dumps(each).replace("new", "NEW")) for each in new]

    rows = checked(tmp_path, [*chats(20), *new, *new, *near, *chats(2)]).rows

    assert (rows.duplicates, rows.near_duplicates(), len(rows.fingerprints)) == (2, 0, 20)
