"""What checking a file costs in memory: a prepare pod has 1 GiB, whatever the file is like."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from finetune_data.lines import MAX_LINE_BYTES
from finetune_data.rendering import MAX_TEXT_BYTES
from support.chat_rows import assistant, row, user, write_jsonl
from support.tiny_tokenizer import make_tokenizer

pytestmark = pytest.mark.integration

SCRIPT = """
import re, sys
from pathlib import Path
from finetune_data.chat import parse_chat
from finetune_data.report import check_file
from finetune_data.tokens import ChatTokenizer, TokenCounter
tokenizer = ChatTokenizer(Path(sys.argv[1]))
check = check_file(Path(sys.argv[2]), parse_chat, tokens=TokenCounter(tokenizer, 1024))
(peak,) = re.findall(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(check.examples, check.bad_total, peak)
"""
OPERATOR = Path(__file__).parents[2] / "operator"


def longest(letters: str) -> str:
    """A row whose text is as long as may be."""
    room = MAX_TEXT_BYTES - 200
    return json.dumps(row(user(letters * (room // len(letters.encode()))), assistant()))


def whole_line(letter: str) -> str:
    """A row whose line is as long as may be."""
    line = row(user("a" * (MAX_LINE_BYTES - 200) + letter), assistant())
    return json.dumps(line, ensure_ascii=False)


@pytest.mark.parametrize(
    ("lines", "want", "mib"),
    [
        pytest.param([longest("1 ")] * 2, "0 2", 1024, id="long rows, a token for each letter"),
        pytest.param([longest("\u597d")] * 2, "0 2", 1024, id="long rows, three for each letter"),
        pytest.param([whole_line("a")] * 2, "0 2", 1024, id="lines of the greatest length"),
        pytest.param([whole_line("\U0001f98a")], "0 1", 1024, id="the same, four bytes a letter"),
        pytest.param(["\n" * 1_000_000, json.dumps(row())], "1 1000001", 128, id="empty lines"),
    ],
)
def test_a_file_is_checked_within_what_the_pod_has(
    tmp_path: Path, lines: Iterable[str], want: str, mib: int
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", lines)
    folder = make_tokenizer(tmp_path / "model")

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(path)],
        env={"PYTHONPATH": str(OPERATOR)},
        capture_output=True,
        text=True,
        check=True,
    )

    counts, _, peak = done.stdout.strip().rpartition(" ")
    assert counts == want
    assert int(peak) < mib << 10
