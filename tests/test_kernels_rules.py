"""What a kernel has no business doing is blocked by reading, and what kernels do is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from novum.benchmarks.contract import shipped_cheats
from novum.benchmarks.pack import load_pack
from novum.evals.rules.catalogue import RULES
from novum.evals.rules.scan import pack_rules, scan
from novum.lab.records import Outcome

PACK = load_pack(Path(__file__).parents[1] / "benchmarks" / "kernels")
BLOCKED = {
    "timing module": "import timed\ntimed.time_on_cpu = f",
    "part of it": "from tensors import fill",
    "by sys.modules": "import sys\nsys.modules['timed'].time_on_cpu = f",
    "main module": "import __main__\n__main__.runner",
    "dispatch mode": "from torch.utils._python_dispatch import TorchDispatchMode as M",
    "function mode": "import torch\nM = torch.overrides.TorchFunctionMode",
    "dispatch method": "class T:\n    def __torch_dispatch__(self, *a):\n        pass",
    "dispatch set": "setattr(T, '__torch_' + 'dispatch__', f)",
    "dispatch stack": "import torch\ntorch._C._push_on_torch_dispatch_stack(m)",
    "finaliser": "class T:\n    def __del__(self):\n        pass",
    "finaliser made": "T = type('T', (), {'__del__': f})",
    "weak finaliser": "import weakref\nweakref.finalize(x, f)",
    "collector": "import gc\ngc.set_threshold(1)",
    "signal": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 1e-6)",
    "thread": "import threading\nthreading.Thread(target=f).start()",
    "pool": "from concurrent.futures import ThreadPoolExecutor",
    "process": "import multiprocessing as m\nm.Process(target=f).start()",
    "task": "import torch\ntorch.jit.fork(f)",
    "stream for all": "import torch\ntorch.cuda.set_stream(s)",
}
FREE = {
    "no collector": "import gc\ngc.disable()\ngc.collect()",
    "lock": "import threading\nL = threading.Lock()",
    "weak keys": "import weakref\nW = weakref.WeakKeyDictionary()",
    "own words": "timed = 3\ntensors = [1]\ndef answers(wire):\n    return wire",
    "main guard": "if __name__ == '__main__':\n    run(1)",
    "module": "import torch\nclass K(torch.nn.Module):\n    def forward(self, x):\n        pass",
}  # fmt: skip


def worst(source: str) -> set[str]:
    found = scan({"rmsnorm.py": source.encode()}, {}, (*RULES, *pack_rules(PACK)))
    return {f"{hit.rule}: {hit.what}" for hit in found if hit.tier is Outcome.FAIL}


@pytest.mark.parametrize("what", BLOCKED)
def test_what_no_kernel_does_is_blocked(what: str) -> None:
    found = scan({"rmsnorm.py": BLOCKED[what].encode()}, {}, pack_rules(PACK))
    assert Outcome.FAIL in {hit.tier for hit in found}


@pytest.mark.parametrize("what", FREE)
def test_what_kernels_do_is_not_blocked(what: str) -> None:
    assert not worst(FREE[what])


def test_no_shipped_kernel_is_blocked() -> None:
    places = ("results/solutions", "cuda", "examples")
    files = [f for p in places for f in (PACK.folder / p).rglob("*") if f.is_file()]
    programs = [{f.name: f.read_bytes()} for f in files if f.suffix in (".py", ".cu", ".json")]
    starts = [PACK.start_files(name) for name in PACK.starts]
    programs += [*starts, *shipped_cheats(PACK, starts[0], "honest").values()]
    assert len(programs) >= 30
    rules = (*RULES, *pack_rules(PACK))
    for program in programs:
        bad = [h for h in scan(program, {}, rules) if h.tier is Outcome.FAIL]
        assert not bad, bad
