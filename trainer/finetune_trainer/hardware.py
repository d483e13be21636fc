"""What the container offers: cores, memory, GPU, and whether bf16 pays here.

Knows the machine; must not know models or data.
"""

import faulthandler
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from finetune_trainer import cgroup, log
from finetune_trainer.errors import bad_config

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Facts that decisions depend on.

    Attributes:
        device: cpu or cuda.
        name: The GPU's name, or how many cores.
        memory_bytes: GPU memory, or the container's limit, or the machine's memory.
        fast_bf16: The device multiplies bf16 faster than float32.
    """

    device: str
    name: str
    memory_bytes: int
    fast_bf16: bool


def inspect() -> Hardware:
    """Look at the machine, and set torch's threads to the container's CPU limit."""
    import torch

    threads = usable_threads(cgroup.cpu_limit(), len(os.sched_getaffinity(0)))
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        refuse_many(torch.cuda.device_count())
        properties = torch.cuda.get_device_properties(0)
        return Hardware(
            device="cuda",
            name=properties.name,
            memory_bytes=properties.total_memory,
            fast_bf16=torch.cuda.is_bf16_supported(),
        )
    return Hardware(
        device="cpu",
        name=f"{threads} CPU cores",
        memory_bytes=cgroup.memory_limit() or _machine_memory(),
        fast_bf16=_tame_cpu(CPU_INFO.read_text()),
    )


def refuse_many(gpus: int) -> None:
    """More than one GPU would be paid for and not used."""
    if gpus > 1:
        raise bad_config(
            f"The pod has {gpus} GPUs, but this release trains on one: "
            "ask for one in kubernetes.resources, then for a retry."
        )


def usable_threads(limit: float | None, cores: int) -> int:
    """Threads for a CPU limit: more than the limit would only be throttled."""
    return cores if limit is None else max(1, min(cores, int(limit + 0.5)))


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_field(cpu_info: str, *names: str) -> str:
    """The first line of /proc/cpuinfo with one of these names."""
    lines = (line.partition(":") for line in cpu_info.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() in names), "")


def _tame_cpu(cpu_info: str) -> bool:
    """Whether bf16 is fast; takes AMX away where a virtual machine advertises and traps it."""
    flags = set(_cpu_field(cpu_info, "flags", "Features").split())
    amx = "amx_bf16" in flags
    if amx and not _survives_bf16():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_FP16"  # read at oneDNN's first use
        log.event("hardware", message="This machine advertises AMX but traps it: not used.")
        amx = False
    return amx or bf16_pays(_cpu_field(cpu_info, "vendor_id"), flags)


def bf16_pays(vendor: str, flags: set[str]) -> bool:
    """Whether vector instructions multiply bf16 faster than float32.

    On Intel AVX-512's are issued half as often: 0.6 to 1.1 of float32's speed was measured.
    """
    return "bf16" in flags or ("avx512_bf16" in flags and vendor == "AuthenticAMD")


def _survives_bf16() -> bool:
    """Multiply once in a child process, which dies where the instruction is trapped."""
    import torch

    child = os.fork()
    if child == 0:
        faulthandler.disable()  # dying of the instruction is an answer, not a crash
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(1)
        matrix = torch.ones(256, 256, dtype=torch.bfloat16)
        torch.mm(matrix, matrix)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
