"""docs/operations.md knows every word that whoever is on call may read in status or metrics."""

from pathlib import Path

import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.metrics import Metrics

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    assert f"`{reason}`" in PAGE


def metrics() -> set[str]:
    """The operator's own metrics, as Prometheus names them."""
    known = Metrics()
    known.count_jobs(list)
    lines = [line.split() for line in known.text().decode().splitlines()]
    names = {line[2] for line in lines if line[:2] == ["#", "TYPE"]}
    return {name for name in names if name.startswith("finetune_")}


def test_every_metric_is_explained() -> None:
    assert len(metrics()) > 5
    assert {name for name in metrics() if f"`{name}" not in PAGE} == set()
