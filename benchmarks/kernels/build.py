"""The compile stage: C++ and CUDA sources to one extension module, in a sandbox of its own.

The build sees the sources, the compilers and nothing else, no device either; only the module comes
out. Flags outside the list are refused: a flag can read files (`@file`, `-include`), run programs
(`-fplugin`) or inject code at load time (`-Wl,...`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from novum.benchmarks.kernels.parties import Launch
from novum.benchmarks.kernels.solution import CompileOptions, Solution
from novum.sandboxes.protocol import Confinement, ExitCause, Limits, Mount

MODULE = "novum_kernel"
USUAL_TOOLKIT = Path("/usr/local/cuda")
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
        r"(-gencode|--?generate-code)=arch=compute_\d{2,3}[af]?,code=(sm|compute)_\d{2,3}[af]?",
        r"-Xptxas=(-O[0-3]|-v|-warn-spills|-dlcm=(ca|cg))|-D[A-Za-z_]\w*(=\w{0,40})?",
        r"-l(cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|cusparse|cusolver|nvrtc|m|stdc\+\+)",
    )
)

_DRIVER = """
import glob, json, shutil, sys
import torch
from torch.utils.cpp_extension import load
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())
if job["with_cuda"] and not torch.version.cuda:
    sys.exit("the PyTorch of this machine is built without CUDA: it cannot load CUDA C++")
try:
    load(name=job["name"], sources=job["sources"], extra_cflags=job["cflags"],
         extra_cuda_cflags=job["cuda_cflags"],
         extra_ldflags=job["ld_flags"], extra_include_paths=job["include"],
         build_directory=job["build"],
         with_cuda=job["with_cuda"], is_python_module=False)
    made = glob.glob(job["build"] + "/" + job["name"] + "*.so")
except Exception as error:
    made = glob.glob(job["build"] + "/" + job["name"] + "*.so")
    if not made:
        sys.exit(str(error))
    # what was linked for a device need not load in a place without one
shutil.copy(made[0], job["out"])
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


def find_toolkit() -> Path | None:
    """Folder of the CUDA compiler: from `CUDA_HOME`, else of the `nvcc` that is found first."""
    if named := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return Path(named)
    if found := shutil.which("nvcc"):
        return Path(found).resolve().parents[1]
    return USUAL_TOOLKIT if (USUAL_TOOLKIT / "bin" / "nvcc").is_file() else None


def toolkit_of_machine() -> Path:
    """The CUDA compiler's folder.

    Raises:
        BuildFailed: there is none.
    """
    folder = find_toolkit()
    if folder is None or not (folder / "bin" / "nvcc").is_file():
        where = f"there is no nvcc in {folder}/bin" if folder else "there is no nvcc on PATH"
        raise BuildFailed(
            f"CUDA C++ cannot be compiled on this machine: {where}.\n"
            "Install the CUDA toolkit, or name its folder in CUDA_HOME. Python solutions need none."
        )
    return folder


def build(solution: Solution, launch: Launch, architecture: str = "") -> dict[str, bytes]:
    """Compile a C++ solution; gives the files that the worker needs.

    `architecture` is the device's compute capability (`9.0`), for solutions that name none.

    Raises:
        BuildFailed: see the class; the message ends with what the compiler said.
    """
    options = solution.spec.compile_options or CompileOptions()
    check_flags(options)
    has_cuda = any(name.endswith(".cu") for name in solution.files)
    env = {"MAX_JOBS": "8"}
    toolkits: tuple[Mount, ...] = ()
    stubs: list[str] = []
    if has_cuda:
        home = toolkit_of_machine()
        env |= {"CUDA_HOME": str(home), "TORCH_CUDA_ARCH_LIST": architecture}
        toolkits = (Mount(home, home),)
        stubs = [f"-L{home}/lib64/stubs"]
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
        job = {
            "name": MODULE,
            "sources": [str(code / "sources" / name) for name in compiled],
            "cflags": ["-O3", *options.cflags],
            "cuda_cflags": list(options.cuda_cflags) if has_cuda else [],
            "ld_flags": [*stubs, *options.ld_flags]
            if has_cuda
            else [f for f in options.ld_flags if f == "-lm"],
            "include": [str(code / "sources")],
            "build": str(work / "build"),
            "with_cuda": has_cuda,
            "out": str(work / f"{MODULE}.so"),
        }
        (code / "job.json").write_text(json.dumps(job))
        (code / "driver.py").write_text(_DRIVER)
        process = launch(
            Confinement(
                argv=("python", str(code / "driver.py"), str(code / "job.json")),
                cwd=work,
                mounts=(Mount(code, code), Mount(work, work, writable=True), *toolkits),
                env=env | {"HOME": str(work), "TORCH_EXTENSIONS_DIR": str(work)},
                limits=BUILD,
            )
        )
        end = process.wait(BUILD.wall_s + 30)
        if end is None or end.cause is not ExitCause.EXITED or end.code != 0:
            said = f"{end.stdout}\n{end.stderr}"[-2500:] if end is not None else "no answer"
            raise BuildFailed(f"the build failed: {said.strip()}")
        module = work / f"{MODULE}.so"
        if module.is_symlink() or not module.is_file() or module.stat().st_size > LARGEST_MODULE:
            raise BuildFailed("the build left no module of a reasonable size")
        return {f"{MODULE}.so": module.read_bytes()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
