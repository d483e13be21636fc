from pathlib import Path

import pytest

from finetune_trainer import cgroup


@pytest.mark.parametrize(
    ("files", "want_memory", "want_cpus"),
    [
        pytest.param(
            {"memory.max": "4294967296\n", "cpu.max": "150000 100000\n"},
            4 << 30,
            1.5,
            id="version 2 with limits",
        ),
        pytest.param(
            {"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None, id="version 2 without"
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "1073741824\n",
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            1 << 30,
            0.5,
            id="version 1 with limits",
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            None,
            id="version 1 without",
        ),
        pytest.param({}, None, None, id="no cgroup at all"),
    ],
)
def test_limits_are_read_in_both_versions(
    tmp_path: Path, files: dict[str, str], want_memory: int | None, want_cpus: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert cgroup.memory_limit(tmp_path) == want_memory
    assert cgroup.cpu_limit(tmp_path) == want_cpus
