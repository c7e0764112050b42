"""What lies on the machine is not read before the clock starts, however a candidate asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from novum.benchmarks.contract import shipped_cheats
from novum.benchmarks.pack import load_pack
from novum.evals.rules.scan import pack_rules, scan
from novum.lab.records import Outcome

PACKS = Path(__file__).parents[1] / "benchmarks"
READS = {
    "path": "open('/usr/lib/python3.11/os.py').read()",
    "path in pieces": "open('/'.join(['', 'usr', 'lib', 'os.py']))",
    "relative": "open('../../lib/python3.11/os.py')",
    "origin": "import argparse\nopen(argparse.__file__)",
    "getattr": "import argparse\nopen(getattr(argparse, '__file__'))",
    "inspect": "import inspect, argparse\ninspect.getsource(argparse)",
    "linecache": "import linecache\nlinecache.getlines(p)",
    "pkgutil": "import pkgutil\npkgutil.get_data('argparse', 'argparse.py')",
    "resources": "import importlib.resources as r\nr.files('torch')",
    "spec": "import importlib.util as u\nu.find_spec('argparse')",
    "loader": "import argparse\nargparse.__loader__.get_source('argparse')",
    "stdlib": "import sysconfig\nsysconfig.get_path('stdlib')",
    "path of imports": "import sys\nfolders = sys.path",
    "walk": "import os\nos.walk('.')",
    "glob": "from glob import glob\nglob('**')",
    "rglob": "from pathlib import Path\nPath('.').rglob('*')",
    "docstrings": "import torch\ntexts = [m.__doc__ for m in vars(torch).values()]",
    "help": "import torch\nhelp(torch)",
    "bytecode": "import dis\ndis.dis(f)",
}


def worst(pack: str, source: str) -> set[str]:
    rules = pack_rules(load_pack(PACKS / pack))
    found = scan({"train.py": source.encode()}, {}, rules)
    return {hit.rule for hit in found if hit.tier is Outcome.FAIL}


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("pack", ["nanochat", "speedrun"])
def test_reading_the_machine_is_blocked(pack: str, what: str) -> None:
    assert "texts-of-the-machine" in worst(pack, READS[what])


@pytest.mark.parametrize("pack", ["nanochat", "speedrun"])
def test_no_shipped_program_is_blocked(pack: str) -> None:
    found = load_pack(PACKS / pack)
    programs = [found.start_files(name) for name in found.starts]
    programs += shipped_cheats(found, programs[0], "honest").values()
    programs += [{p.name: p.read_bytes()} for p in found.folder.glob("results/**/*.py")]
    assert len(programs) >= 3
    for files in programs:
        for source in files.values():
            assert not worst(pack, source.decode())
