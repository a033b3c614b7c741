"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Physical cores open to this process: affinity and container limits count, hyperthreads do not."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(_physical(os.sched_getaffinity(0)), _quota()))
    return max(1, (os.cpu_count() or 2) // 2)  # the others are hyperthreads or slow cores on most machines


def _physical(allowed: set[int]) -> int:
    """Distinct cores behind the logical processors in `allowed`."""
    siblings: set[str] = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text())
        except OSError:
            return len(allowed)
    return len(siblings)


def _quota() -> int:
    """Whole cores that the control group grants; a large number if it sets no limit."""
    unlimited = 1 << 16
    try:
        text = Path("/sys/fs/cgroup/cpu.max").read_text()  # version 2: "max 100000" or "150000 100000"
        quota, period = text.split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return unlimited
    if not quota.isdigit():
        return unlimited
    return math.ceil(int(quota) / int(period))


def memory_bytes() -> int:
    """Physical memory of the machine; 8 GiB where the platform does not say."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 << 30
