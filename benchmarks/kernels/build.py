"""The compile stage: C++ and CUDA sources to one extension module, in a sandbox of its own.

The build sees the sources and nothing else, no device either; only the module comes out. Flags
outside the list are refused:
a flag can read files (`@file`, `-include`), run programs (`-fplugin`) or inject code at load
time (`-Wl,...`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from novum.benchmarks.kernels.parties import Launch
from novum.benchmarks.kernels.solution import CompileOptions, Solution
from novum.sandboxes.protocol import Confinement, ExitCause, Limits, Mount

MODULE = "novum_kernel"
BUILD = Limits(wall_s=600, memory_bytes=16 << 30, pids=256, file_bytes=1 << 30)
LARGEST_MODULE = 256 << 20

ALLOWED = tuple(
    re.compile(pattern)
    for pattern in (
        r"-O[0-3s]|-Ofast|-g|-w|-Wall|-Wextra|-fPIC|-funroll-loops|-ffast-math|-fno-[a-z-]+|-fopenmp",
        r"-std=(c|gnu)\+\+(14|17|20|23)",
        r"-march=native|-mtune=native|-mavx\w*|-mfma",
        r"--?use_fast_math|--?extra-device-vectorization|--?expt-(relaxed-constexpr|extended-lambda)",
        r"--?maxrregcount=\d{1,3}|--?default-stream=(legacy|per-thread)|--?ftz=(true|false)",
        r"--?prec-(div|sqrt)=(true|false)|--?fmad=(true|false)|--?restrict|-lineinfo|--?threads=\d{1,2}",
        r"-arch=sm_\d{2,3}[af]?|--?gpu-architecture=sm_\d{2,3}[af]?",
        r"--?generate-code=arch=compute_\d{2,3}[af]?,code=(sm|compute)_\d{2,3}[af]?",
        r"-Xptxas=(-O[0-3]|-v|-warn-spills|-dlcm=(ca|cg))|-D[A-Za-z_]\w*(=\w{0,40})?",
        r"-l(cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusparse|cusolver|nvrtc|m|stdc\+\+)",
    )
)

_DRIVER = """
import glob, json, shutil, sys
from torch.utils.cpp_extension import load
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())
load(name=job["name"], sources=job["sources"], extra_cflags=job["cflags"],
     extra_cuda_cflags=job["cuda_cflags"],
     extra_ldflags=job["ld_flags"], extra_include_paths=job["include"],
     build_directory=job["build"],
     with_cuda=job["with_cuda"], is_python_module=False, verbose=True)
shutil.copy(glob.glob(job["build"] + "/" + job["name"] + "*.so")[0], job["out"])
"""


class BuildFailed(Exception):
    """The sources do not compile, or ask for what the stage does not allow."""


def check_flags(options: CompileOptions) -> None:
    """Refuse flags that are not on the list.

    Raises:
        BuildFailed: one is not; the message names it.
    """
    for flag in (*options.cflags, *options.cuda_cflags, *options.ld_flags):
        if not any(pattern.fullmatch(flag) for pattern in ALLOWED):
            raise BuildFailed(f"the compile flag {flag!r} is not allowed")


def toolkit() -> dict[str, str]:
    """Where the CUDA compiler is, and the compute capabilities of the devices that are here.

    The stage sees neither: its search path is short and its devices are hidden, and PyTorch does
    not build for no device.
    """
    nvcc = shutil.which("nvcc")
    home = os.environ.get("CUDA_HOME") or (
        str(Path(nvcc).resolve().parents[1]) if nvcc else "/usr/local/cuda"
    )
    found = {"CUDA_HOME": home, "LIBRARY_PATH": f"{home}/lib64/stubs"}
    try:
        query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return found
    capabilities = sorted({line.strip() for line in said.splitlines() if line.strip()})
    return found | {"TORCH_CUDA_ARCH_LIST": ";".join(capabilities)} if capabilities else found


def build(solution: Solution, launch: Launch) -> dict[str, bytes]:
    """Compile a C++ solution; gives the files that the worker needs.

    Raises:
        BuildFailed: see the class; the message ends with what the compiler said.
    """
    import json

    options = solution.spec.compile_options or CompileOptions()
    check_flags(options)
    folder = Path(tempfile.mkdtemp(prefix="nb-"))
    try:
        code, work = folder / "code", folder / "work"
        for name, content in solution.files.items():
            path = code / "sources" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        work.mkdir()
        work.chmod(0o777)
        (work / "build").mkdir()
        (work / "build").chmod(0o777)
        compiled = [
            p for p in sorted(solution.files) if p.endswith((".cu", ".cpp", ".cc", ".cxx", ".c"))
        ]
        has_cuda = any(name.endswith(".cu") for name in compiled)
        job = {
            "name": MODULE,
            "sources": [str(code / "sources" / name) for name in compiled],
            "cflags": ["-O3", *options.cflags],
            "cuda_cflags": list(options.cuda_cflags) if has_cuda else [],
            "ld_flags": list(options.ld_flags)
            if has_cuda
            else [f for f in options.ld_flags if f == "-lm"],
            "include": [str(code / "sources")],
            "build": str(work / "build"),
            "with_cuda": has_cuda,
            "out": str(work / f"{MODULE}.so"),
        }
        environment = {"HOME": str(work), "MAX_JOBS": "8", "TORCH_EXTENSIONS_DIR": str(work)}
        if has_cuda:
            environment |= toolkit()
        (code / "job.json").write_text(json.dumps(job))
        (code / "driver.py").write_text(_DRIVER)
        process = launch(
            Confinement(
                argv=("python", str(code / "driver.py"), str(code / "job.json")),
                cwd=work,
                mounts=(Mount(code, code), Mount(work, work, writable=True)),
                env=environment,
                limits=BUILD,
            )
        )
        end = process.wait(BUILD.wall_s + 30)
        if end is None or end.cause is not ExitCause.EXITED or end.code != 0:
            said = f"{end.stdout}\n{end.stderr}"[-2500:] if end is not None else "no answer"
            raise BuildFailed(f"the build failed: {said}")
        module = work / f"{MODULE}.so"
        if module.is_symlink() or not module.is_file() or module.stat().st_size > LARGEST_MODULE:
            raise BuildFailed("the build left no module of a reasonable size")
        return {f"{MODULE}.so": module.read_bytes()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
