"""From rounds of figures to the tables of docs/benchmarks/operator.md.

Only what stands between two marks of a page is written: the words around it are people's.
"""

import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

_FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"

Figures = dict[str, Any]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the longest, of values in order of size."""
    last = len(values) - 1
    return {
        "p50": values[round(last * 0.5)],
        "p99": values[round(last * 0.99)],
        "max": values[last],
    }


def line(figures: Figures) -> str:
    """One round in short."""
    return "  ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figures.items()
    )


def operator(rounds: list[Figures], jobs: int, *, write: bool) -> str:
    """The in-cluster tables; with `write` also into the page and beside it."""
    text = "\n\n".join([_machine(jobs, rounds), _ceilings(rounds), _shapes(rounds), _asked(rounds)])
    if write:
        _save("operator", text, {"jobs": jobs, "rounds": rounds})
    return text


def hosted(rounds: list[Figures], jobs: int, *, write: bool) -> str:
    """The hosted tables, likewise."""
    rows = [
        ("all Succeeded, from the first creation, s", lambda r: r["wall"]),
        ("operator CPU, ms a job", lambda r: r["cpu_ms"]),
        ("operator RSS, peak, MB", lambda r: r["peak_rss"]),
        ("CPU while all run and nothing changes, %", lambda r: r["idle_percent"]),
        ("requests to the endpoint while all run, a minute", lambda r: r["per_minute_total"]),
        ("jobs at the account", lambda r: r["remote_jobs"]),
        ("load average", lambda r: r["load"]),
    ]
    parts = [_table("1,000 hosted jobs" if jobs == 1000 else f"{jobs} hosted jobs", rows, rounds)]
    for title, key in (
        ("requests to the endpoint a minute, while all run", "per_minute"),
        ("requests to the endpoint a job, in all", "hosted_requests"),
        ("requests to the API server a job", "requests"),
    ):
        names = sorted({name for each in rounds for name in each[key]})
        listed = [(name, _reader(key, name)) for name in names]
        parts.append(_table(title, listed, rounds))
    text = "\n\n".join(parts)
    if write:
        _save("hosted", text, {"jobs": jobs, "rounds": rounds})
    return text


def _reader(key: str, name: str) -> Callable[[Figures], float]:
    return lambda figures: float(figures[key].get(name, 0.0))


def _machine(jobs: int, rounds: list[Figures]) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return (
        f"{when} UTC, {os.cpu_count()} CPUs, Python {platform.python_version()}; {jobs}"
        f" FineTuneJobs, {len(rounds)} rounds: median (lowest to highest)."
    )


def _ceilings(rounds: list[Figures]) -> str:
    rows = [
        ("FineTuneJob create/s", lambda r: r["cr_create"]),
        ("status merge-patch/s", lambda r: r["status_patch"]),
        ("Job create/s", lambda r: r["job_create"]),
        ("GET/s", lambda r: r["get"]),
        ("load average before", lambda r: r["load"]),
    ]
    return _table("the API server alone, 16 connections", rows, [r["ceilings"] for r in rounds])


def _serving(figures: Figures) -> float:
    used = figures["cpu_ms_others"]
    return float(used["kube-apiserver"] + used["etcd"])


_ROWS: list[tuple[str, Callable[[Figures], float]]] = [
    ("jobs/s, first creation to last job there", lambda r: r["per_second"]),
    ("create → first status p50, s", lambda r: r["first"]["p50"]),
    ("create → first status p99, s", lambda r: r["first"]["p99"]),
    ("create → there p50, s", lambda r: r["reached"]["p50"]),
    ("create → there p99, s", lambda r: r["reached"]["p99"]),
    ("requests a job", lambda r: sum(r["requests"].values())),
    ("Events not written, a job", lambda r: r["events_dropped"]),
    ("operator CPU, ms a job", lambda r: r["cpu_ms"]),
    ("operator CPU, ms a request", lambda r: r["cpu_ms"] / sum(r["requests"].values())),
    ("API server and etcd CPU, ms a job", _serving),
    ("driver CPU, ms a job", lambda r: r["cpu_ms_others"]["driver"]),
    ("operator RSS, peak, MB", lambda r: r["peak_rss"]),
    ("idle CPU, %", lambda r: r["idle_percent"]),
    ("restart: leading, s", lambda r: r["restart_leading"]),
    ("restart: all known, s", lambda r: r["restart_known"]),
    ("restart: all looked at, s", lambda r: r["restart_looked"]),
    ("restart: RSS, MB", lambda r: r["restart_rss"]),
    ("load average after", lambda r: r["load"]),
]


def _shapes(rounds: list[Figures]) -> str:
    of_series: list[tuple[str, Callable[[Figures], float]]] = [
        ("the same requests in series, nobody deciding, jobs/s", lambda r: r["in_series"]),
        ("jobs/s as a share of that, %", lambda r: r["share"] * 100),
    ]
    return "\n\n".join(
        _table(title, rows, [r[shape] for r in rounds])
        for title, shape, rows in (
            (
                "the prototype's life cycle (there: Failed by its data)",
                "prototype",
                [*_ROWS[:1], *of_series, *_ROWS[1:]],
            ),
            ("the whole way (there: Queued)", "queued", _ROWS),
        )
    )


def _asked(rounds: list[Figures]) -> str:
    parts = []
    for title, shape in (("prototype's life cycle", "prototype"), ("whole way", "queued")):
        figures = [r[shape] for r in rounds]
        names = sorted({name for each in figures for name in each["requests"]})
        rows = [(name, _reader("requests", name)) for name in names]
        parts.append(_table(f"requests a job, {title}", rows, figures))
    return "\n\n".join(parts)


def _table(
    title: str, rows: Iterable[tuple[str, Callable[[Figures], float]]], rounds: list[Figures]
) -> str:
    lines = [f"| {title} | median | range |", "|---|--:|--:|"]
    for name, read in rows:
        values = [read(figures) for figures in rounds]
        lines.append(f"| {name} | {_number(median(values))} | {_range(values)} |")
    return "\n".join(lines)


def _range(values: list[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _save(name: str, text: str, raw: Figures) -> None:
    """Into the marked part of operator.md, and the raw figures into NAME.json."""
    (_FOLDER / f"{name}.json").write_text(json.dumps(raw, indent=1) + "\n")
    page = _FOLDER / "operator.md"
    before, _, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, _, after = rest.partition(f"<!-- end of {name} -->")
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end of {name} -->{after}")
