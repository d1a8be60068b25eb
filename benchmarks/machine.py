"""Facts about the machine and the checkout that a result is worth nothing without."""

import ctypes
import os
import platform
import time
from pathlib import Path
from typing import Any

from mnist_jax.runtime.environment import cpu_model_name, git_commit, usable_cores

__all__ = ["busy_cpu_seconds", "describe_machine", "device_joules", "usable_cores"]


def describe_machine() -> dict[str, Any]:
    """Gives processor, cores, memory, system, load, time and commit; no device is touched."""
    return {
        "cpu": cpu_model_name(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": git_commit(),
    }


def busy_cpu_seconds(stat: str | os.PathLike[str] = "/proc/stat") -> float | None:
    """Gives the seconds all cores together have been busy since boot; None where the system does not tell."""
    try:
        first = Path(stat).read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return None
    user, nice, system, _, _, irq, softirq = (int(ticks) for ticks in first[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def device_joules() -> float | None:
    """Gives the joules NVIDIA GPU 0 has taken since its driver was loaded; None where NVML does not tell."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if nvml.nvmlInit_v2():
        return None
    device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    failed = nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) or (
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
    )
    nvml.nvmlShutdown()
    return None if failed else millijoules.value / 1000


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
