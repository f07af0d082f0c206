"""Memory of the server's processes, where they run on this machine."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from loadtests.errors import SettingsError

__all__ = ["memory_mib", "parse_pids"]


def parse_pids(text: str) -> dict[str, int]:
    """`name=pid,...`, "" for none.

    Raises:
        SettingsError: it is written otherwise, or no such process runs.
    """
    found = {}
    for each in filter(None, text.split(",")):
        name, _, pid = each.partition("=")
        if not name or not pid.isdecimal() or not psutil.pid_exists(int(pid)):
            raise SettingsError(f"{each!r} is no name=pid of a running process")
        found[name] = int(pid)
    return found


def memory_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Proportional set size of each process with its descendants, MiB: shared pages count once, and a
    descendant that has a name of its own counts there. One that has ended is left out."""
    found = {}
    for name, pid in pids.items():
        try:
            own = _family(psutil.Process(pid), set(pids.values()) - {pid})
        except psutil.NoSuchProcess:
            continue
        found[name] = round(sum(map(_pss, own)) / 2**20, 1)
    return found


def _family(process: psutil.Process, without: set[int]) -> list[psutil.Process]:
    try:
        children = [each for each in process.children() if each.pid not in without]
    except psutil.NoSuchProcess:
        children = []
    return [process, *(each for child in children for each in _family(child, without))]


def _pss(process: psutil.Process) -> int:
    """Bytes; 0 for one that ended meanwhile."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
