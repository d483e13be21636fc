"""A loss curve as text. Knows numbers only."""

from collections.abc import Sequence

_HEIGHT = 8


def text_plot(points: Sequence[tuple[int, float]], title: str) -> str:
    """Steps across, loss upwards; one column a point.

    Args:
        points: (step, loss), in order; at least one.
        title: what is shown.
    """
    losses = [loss for _, loss in points]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    rows = [_row(losses, low, span, level) for level in range(_HEIGHT - 1, -1, -1)]
    labels = [f"{low + span * level / (_HEIGHT - 1):8.3f}" for level in range(_HEIGHT - 1, -1, -1)]
    body = [f"{label} ┤{row}" for label, row in zip(labels, rows, strict=True)]
    first, last = points[0][0], points[-1][0]
    axis = f"{'':8} └{'─' * (3 * len(points))}\n{'':10}step {first} … {last}"
    return "\n".join([title, *body, axis])


def _row(losses: Sequence[float], low: float, span: float, level: int) -> str:
    cells = []
    for loss in losses:
        height = round((loss - low) / span * (_HEIGHT - 1))
        cells.append(" ● " if height == level else "   ")
    return "".join(cells)
