"""What a process costs, from /proc and from the operator's own metrics.

It knows no benchmark. Reading costs the process itself nothing, but for `scrape`.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.operator_process import OperatorProcess

_TICKS = os.sysconf("SC_CLK_TCK")
_MB = 1024

Json = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """CPU seconds (user and system) since the process began; resident memory in MB."""

    cpu: float
    rss: float
    peak_rss: float


def usage(pid: int) -> Usage:
    """What the process has used until now."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Usage(
        cpu=_cpu(pid),
        rss=int(status["VmRSS"].split()[0]) / _MB,
        peak_rss=int(status["VmHWM"].split()[0]) / _MB,
    )


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def others(operator: OperatorProcess) -> Counter[str]:
    """CPU milliseconds until now of what shares the machine with it: this driver, the cluster."""
    used = Counter(driver=round(time.process_time() * 1000))
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, listed.read_text().split()):
            if pid != operator.pid:
                used[Path(f"/proc/{pid}/comm").read_text().strip()] += round(_cpu(pid) * 1000)
    return used


def samples(operator: OperatorProcess, family: str, *labels: str) -> Counter[str]:
    """One of the operator's metrics, summed by the values of these labels."""
    found: Counter[str] = Counter()
    for each in text_string_to_metric_families(operator.read("metrics")):
        if each.name == family:
            for sample in each.samples:
                key = " ".join(sample.labels[label] for label in labels)
                found[key] += int(sample.value)
    return found


def requests(operator: OperatorProcess) -> Counter[str]:
    """Its requests to the API server by verb and resource; watches and the Lease left out."""
    every = samples(operator, "finetune_api_requests", "verb", "resource")
    return Counter(
        {
            name: count
            for name, count in every.items()
            if not name.startswith("watch ") and not name.endswith(" leases")
        }
    )


def hosted_requests(operator: OperatorProcess) -> Counter[str]:
    """Its requests to hosted services by operation."""
    return samples(operator, "finetune_hosted_requests", "operation")


def refused(operator: OperatorProcess) -> Counter[str]:
    """Its requests to the API server that were not answered by a 2xx, by code."""
    every = samples(operator, "finetune_api_requests", "code")
    return Counter({code: n for code, n in every.items() if not code.startswith("2")})
