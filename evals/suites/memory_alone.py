"""How many bytes a process grows by when it opens a memory and recalls from it: a program."""

from __future__ import annotations

import sys
from pathlib import Path


def growth(folder: Path) -> float:
    """Bytes, packages of the memory included."""
    import psutil

    import novum.lab.records

    assert novum.lab.records
    process = psutil.Process()
    before = process.memory_info().rss
    from novum.memory.chroma import ChromaMemory

    memory = ChromaMemory.open(folder)
    memory.recall("WIDTH = 5 is better", 5)
    grown = process.memory_info().rss - before
    memory.close()
    return float(grown)


if __name__ == "__main__":
    print(growth(Path(sys.argv[1])))
