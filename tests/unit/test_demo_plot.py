"""The loss curve of `make demo`: every point where it belongs, whatever the losses are."""

import pytest

from demo.plot import text_plot


def columns(plot: str) -> list[int]:
    """For each point the row it stands in, counted from the bottom."""
    rows = [line.partition("┤")[2] for line in plot.splitlines() if "┤" in line][::-1]
    width = max(len(row) for row in rows) // 3
    cells = [[row[3 * x : 3 * x + 3].strip() for row in rows] for x in range(width)]
    assert all(column.count("●") == 1 for column in cells)
    return [column.index("●") for column in cells]


@pytest.mark.parametrize(
    ("losses", "want"),
    [
        pytest.param([2.0, 1.5, 1.0], [7, 4, 0], id="falling"),
        pytest.param([1.0, 2.0], [0, 7], id="rising"),
        pytest.param([1.0, 1.0], [0, 0], id="flat: no division by nothing"),
        pytest.param([1.0], [0], id="one point"),
    ],
)
def test_each_loss_stands_at_its_height(losses: list[float], want: list[int]) -> None:
    plot = text_plot(list(enumerate(losses, start=1)), "loss")
    assert columns(plot) == want


def test_title_axis_and_scale_say_what_is_shown() -> None:
    lines = text_plot([(10, 3.25), (20, 0.5)], "training loss").splitlines()
    assert lines[0] == "training loss"
    assert lines[1].startswith("   3.250 ┤")
    assert lines[-3].startswith("   0.500 ┤")
    assert lines[-1].strip() == "step 10 … 20"
