"""The machine that figures were measured on, and memory of processes."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

__all__ = ["describe", "memory_mib"]


def describe(accelerator: str = "no GPU") -> str:
    """Processor, cores, memory, system and ``accelerator``, without the machine's name."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = psutil.virtual_memory().total / 2**30
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{cpu}, {psutil.cpu_count()} cores, {memory_gib:.0f} GiB, {system}, {accelerator}"


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and its descendants: shared pages are counted once."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / 2**20
