"""The least that anybody pays for an iteration: edit, commit, run, take back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path


class BareLoop:
    """Edit, `git commit`, a Python subprocess and `git reset`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n = 0
        folder.mkdir()
        self._git("init")
        self._git("commit", "--allow-empty", "-m", "start")

    def once(self) -> float:
        """Seconds of one turn."""
        self._n += 1
        began = time.perf_counter()
        (self._folder / "solve.py").write_text(f"RATE = {self._n}\n")
        self._git("add", "-A")
        self._git("commit", "-m", "try")
        subprocess.run((sys.executable, "-I", "-S", "solve.py"), cwd=self._folder, check=True)
        self._git("reset", "--hard", "HEAD~1")
        return time.perf_counter() - began

    def _git(self, *words: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=n@localhost", "-c", "gc.auto=0")
        subprocess.run(
            ("git", *identity, *words), cwd=self._folder, check=True, capture_output=True
        )
