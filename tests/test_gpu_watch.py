"""What the harness asks of the driver about a trial's GPUs, with a program that answers for it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from novum.benchmarks.harness.gpu_watch import (
    GpuUse,
    require_bfloat16,
    require_free,
    watching,
)
from novum.errors import SandboxUnavailable


def driver(folder: Path, *, used: str = "400", pids: str = "", capability: str = "9.0") -> str:
    """A program that answers as `nvidia-smi` does; memory in use is read from a file."""
    (folder / "used").write_text(used)
    program = folder / "smi"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*-lms*) while :; do echo '8000, 90, 650.5, 1755'; echo '9000, 70, [N/A], 1755'; "
        "sleep 0.02; done ;;\n"
        f"*compute_cap*) echo 'Old, but good, {capability}' ;;\n"
        f"*compute-apps*) printf '{pids}' ;;\n"
        f"*memory.used*) cat {folder}/used ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return str(program)


def test_memory_load_and_power_are_sampled_while_a_trial_runs(tmp_path: Path) -> None:
    with watching(["0"], driver(tmp_path)) as use:
        while len(use.busy) < 4:
            time.sleep(0.01)
    seen = use.observed()
    assert seen["gpu_peak_bytes"] == 9000 * 2**20 and 0.7 < seen["gpu_busy"] < 0.9
    assert seen["gpu_power_w"] == 650.5 and seen["gpu_clock_mhz"] == 1755


def test_load_is_that_of_the_time_on_the_clock_and_memory_that_of_all_time() -> None:
    use = GpuUse()
    use.add("9000, 10, 100, 1000")
    use.opened_s -= 60.0
    use.add("8000, 90, 600, 1800")
    seen = use.observed(after_s=30.0)
    assert seen == {
        **{"gpu_peak_bytes": 9000 * 2**20, "gpu_busy": 0.9},
        **{"gpu_power_w": 600.0, "gpu_clock_mhz": 1800.0},
    }
    assert use.observed()["gpu_busy"] == 0.5


def test_without_gpus_or_driver_nothing_is_observed() -> None:
    for gpus, program in (([], "sh"), (["0"], "no-such-program")):
        with watching(gpus, program) as use:
            pass
        assert use.observed() == {}
        require_free(gpus, program=program)
        require_bfloat16(gpus, program)


def test_lines_that_make_no_sense_are_left_out() -> None:
    use = GpuUse()
    for line in ("", "No devices were found", "1, 2", "a, b, c, d"):
        use.add(line)
    assert use.observed() == {}


def test_a_gpu_that_others_use_is_refused_by_name_of_the_process(tmp_path: Path) -> None:
    program = driver(tmp_path, used="30000", pids=f"4242\\n{os.getpid()}\\n")
    with pytest.raises(
        SandboxUnavailable, match=r"GPU 0 has 29.3 GiB in use, held by process 4242"
    ):
        require_free(["0"], program=program, within_s=0.05)
    require_free(["0"], program=driver(tmp_path), within_s=0.05)


def test_memory_that_is_still_being_given_back_is_waited_for(tmp_path: Path) -> None:
    program = driver(tmp_path, used="30000")
    smi = Path(program)
    smi.write_text(
        smi.read_text().replace(
            f"cat {tmp_path}/used", f"cat {tmp_path}/used; echo 9 > {tmp_path}/used"
        )
    )
    require_free(["0"], program=program, within_s=30)
    assert (tmp_path / "used").read_text().strip() == "9"


def test_a_gpu_without_bfloat16_is_refused(tmp_path: Path) -> None:
    require_bfloat16(["0"], driver(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"Old, but good.*7\.5.*no bfloat16"):
        require_bfloat16(["0"], driver(tmp_path, capability="7.5"))
