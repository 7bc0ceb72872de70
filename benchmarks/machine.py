"""The machine: what it is, and its cores. Client and server are each kept on one core of their own."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

CLIENT_CORE, SERVER_CORE = 0, 1
_PACKAGES = ("boto3", "botocore", "isal", "msgspec", "urllib3")


def pin(core: int) -> None:
    """This process, and those it starts, on one core. On a machine with one core, or without the call, nothing."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def described() -> dict[str, str]:
    """What the figures depend on, by name."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{_memory_bytes() / 1024**3:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "date": datetime.now(UTC).date().isoformat(),
    }


def peak_bytes() -> int:
    """The most memory this process has had since its start; not ru_maxrss, which begins at its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status says no VmHWM")
    return int(found[1]) * 1024


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or "unknown"


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
