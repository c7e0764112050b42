"""Sums up machine code: what a compiled kernel spends its instructions on, and what it spills.

Reads the text of `cuobjdump -sass` or `nvdisasm`, and the metadata that Triton keeps beside a
cubin.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
FUNCTION = re.compile(r"^\s*(?:Function\s*:\s*|\.text\.)([\w$.]+?):?\s*$")
KINDS: tuple[tuple[str, str], ...] = (
    ("HGMMA", "matrix (warp group)"),
    ("HMMA", "matrix"),
    ("IMMA", "matrix (integer)"),
    ("UTMALDG", "bulk load"),
    ("LDGSTS", "async copy"),
    ("LDG", "global load"),
    ("STG", "global store"),
    ("LDS", "shared load"),
    ("STS", "shared store"),
    ("LDL", "spill load"),
    ("STL", "spill store"),
    ("MUFU", "special function"),
    ("SHFL", "shuffle"),
    ("BAR", "barrier"),
    ("RED", "atomic"),
    ("ATOM", "atomic"),
    ("FFMA", "float32"),
    ("FMUL", "float32"),
    ("FADD", "float32"),
)
TOOL_S = 60


@dataclass
class Summary:
    """One kernel."""

    name: str
    instructions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    wide_loads: int = 0
    """Global loads of 16 bytes a thread."""
    facts: dict[str, int] = field(default_factory=dict)
    """Registers, shared memory, warps, stages, where known."""

    @property
    def text(self) -> str:
        """One paragraph for a reader."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        facts = ", ".join(f"{k} {v}" for k, v in self.facts.items())
        loads = self.kinds["global load"]
        wide = f"; {self.wide_loads} of {loads} global loads are 16 bytes wide" if loads else ""
        spills = self.kinds["spill load"] + self.kinds["spill store"]
        spilled = f"; it spills ({spills} local accesses)" if spills else ""
        return f"{self.name}: {self.instructions} instructions ({kinds}){wide}{spilled}; {facts}"


def summarise(listing: str) -> list[Summary]:
    """Every kernel of a listing, the longest first."""
    found: list[Summary] = []
    for line in listing.splitlines():
        if (head := FUNCTION.match(line)) is not None:
            found.append(Summary(head.group(1)))
            continue
        if (match := INSTRUCTION.search(line)) is None or not found:
            continue
        opcode = match.group(1)
        kernel = found[-1]
        kernel.instructions += 1
        kind = next((k for prefix, k in KINDS if opcode.startswith(prefix)), "")
        if kind:
            kernel.kinds[kind] += 1
        if kind == "global load" and ".128" in opcode:
            kernel.wide_loads += 1
    return sorted((s for s in found if s.instructions), key=lambda s: -s.instructions)


def of_folder(folder: Path) -> list[Summary]:
    """Every cubin and extension module below a folder; empty where no disassembler is installed."""
    tool = shutil.which("cuobjdump")
    if tool is None:
        return []
    found: list[Summary] = []
    for path in sorted([*folder.rglob("*.cubin"), *folder.rglob("*.so")]):
        try:
            done = subprocess.run(
                [tool, "-sass", str(path)],
                capture_output=True,
                text=True,
                timeout=TOOL_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        summaries = summarise(done.stdout)
        beside = path.with_suffix(".json")
        if beside.is_file():
            facts = json.loads(beside.read_text())
            for summary in summaries:
                summary.facts = {
                    k: int(facts[k]) for k in ("num_warps", "num_stages", "shared") if k in facts
                }
        found += summaries
    return found
