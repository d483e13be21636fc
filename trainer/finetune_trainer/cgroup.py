"""Reads the container's CPU and memory limits, of both cgroup versions.

Standard library only: PID 1 imports it. Must not know what is done with the figures.
"""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""cgroup v1 writes a huge number where v2 writes `max`."""


def memory_limit(root: Path = ROOT) -> int | None:
    """The memory limit in bytes; None where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(root / name)
        if text.isdigit():
            return int(text) if int(text) < _UNLIMITED else None
    return None


def cpu_limit(root: Path = ROOT) -> float | None:
    """The CPU limit in cores; None where there is none."""
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not quota:
        quota = _read(root / "cpu/cpu.cfs_quota_us")
        period = _read(root / "cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
