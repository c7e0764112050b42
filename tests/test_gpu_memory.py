"""What a process leaves in the memory of a GPU is not found by the next one.

The packs rest on it: a grader keeps held-out text there, a baseline its outputs, which are the
right answers. The driver clears memory that changes hands; this asks whether it does here.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="pip install 'novum[train]' runs this")

MARK = 0x5EC2E75
N_WORDS = 1 << 29  # 2 GiB: more than what a driver keeps aside
LEAVES = f"""
import sys, torch
secret = torch.full(({N_WORDS},), {MARK}, dtype=torch.int32, device="cuda")
torch.cuda.synchronize()
del secret
torch.cuda.empty_cache()
print("left", flush=True)
sys.stdin.read()
"""
LOOKS = f"""
import torch
found = torch.empty({N_WORDS}, dtype=torch.int32, device="cuda")
print(int((found == {MARK}).sum()))
"""


@pytest.mark.gpu
@pytest.mark.parametrize("has_ended", [False, True])
def test_a_process_does_not_find_what_another_left_on_the_gpu(has_ended: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    leaver = subprocess.Popen(
        [sys.executable, "-c", LEAVES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert leaver.stdout is not None and leaver.stdout.readline() == "left\n"
        if has_ended:
            leaver.communicate()
        looked = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True)
        assert looked.returncode == 0, looked.stderr
        assert int(looked.stdout) == 0
    finally:
        if leaver.poll() is None:
            leaver.communicate()
