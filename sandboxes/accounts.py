"""CPU time of processes that are looked at now and then, where no control group counts it.

A parent that ignores its children's end never collects their time: it is in nobody's account when
they are gone. So what was seen of each process is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES, _START = slice(11, 15), 19  # of /proc/PID/stat, after the name


class Accounts:
    """Processes as last seen; one that lives for less than two looks is missed if nobody collects
    it.
    """

    def __init__(self) -> None:
        self._own_s: dict[tuple[int, int], float] = {}
        self._here_s: dict[tuple[int, int], float] = {}

    def look(self, processes: Iterable[int]) -> None:
        """Bring the accounts up to date: these are all that live."""
        self._here_s = {}
        for pid in processes:
            if fields := stat_fields(pid):
                key = pid, int(fields[_START])  # a pid may be given out again
                times = [int(word) / _TICKS for word in fields[_TIMES]]
                self._own_s[key] = max(self._own_s.get(key, 0.0), sum(times[:2]))
                self._here_s[key] = sum(times)

    def cpu_s(self, collected_s: float = 0.0) -> float:
        """The larger of two sums that each miss something: what every process was seen to use, and
        what the living used with the children that they, or whoever is above them, collected.
        """
        return max(sum(self._own_s.values()), collected_s + sum(self._here_s.values()))

    def living(self) -> set[int]:
        """Those ever seen that still live."""
        return {pid for pid, started in self._own_s if _is_same(pid, started)}


def _is_same(pid: int, started: int) -> bool:
    fields = stat_fields(pid)
    return bool(fields) and int(fields[_START]) == started


def stat_fields(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat after the name, state first; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
