"""Rules on reaching memory and machine code from Python: ctypes, mmap, private interfaces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, CONFIRM, NOTE, Found, Mention, Rule

KNOWN_LIBRARIES = re.compile(
    r"(^|/)(lib)?(cudart|cuda|nvrtc|cublas|cublasLt|cudnn|curand|cusparse|cusolver|nccl|nvToolsExt|nvtx3"
    r"|gomp|omp|iomp5|mkl_rt|openblas|amdhip64|hiprtc|rocblas|nvjpeg|m)(\W|$)"
)
LOADERS = frozenset(
    """ctypes.CDLL ctypes.PyDLL ctypes.cdll.LoadLibrary ctypes.pydll.LoadLibrary
            ctypes.WinDLL ctypes.LibraryLoader().LoadLibrary ctypes.cdll.__getattr__
            _ctypes.dlopen""".split()
)
MACHINE = frozenset(
    """mprotect ptrace process_vm_writev process_vm_readv dlsym syscall prctl clock_settime
            settimeofday fork vfork setsid mremap memfd_create pthread_create raise execve
            PyFrame_GetLocals _PyFrame_GetState PyEval_SetTrace PyEval_SetProfile
            PyObject_GC_Track""".split()
)


def _libraries(module: Module, _: Program) -> Iterable[Found]:
    for node, functions in module.calls():
        if not functions & LOADERS:
            continue
        if not node.args or isinstance(node.args[0], ast.Constant) and node.args[0].value is None:
            yield Found(node.lineno, "opens the process itself as a library", BLOCK)
            continue
        names = module.names.constants(node.args[0])
        if names is None:
            yield Found(node.lineno, "loads a library that it names at run time", NOTE)
        for name in names or []:
            tier = NOTE if KNOWN_LIBRARIES.search(name) else CONFIRM
            yield Found(node.lineno, f"loads the library {name}", tier)


def _machine_calls(module: Module, _: Program) -> Iterable[Found]:
    uses_ctypes = any(name.startswith(("ctypes", "cffi", "_ctypes")) for _, name in module.mentions)
    if not uses_ctypes:
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in MACHINE:
            yield Found(node.lineno, f"calls {node.attr}")
    for line, text in module.texts:
        if text in MACHINE:
            yield Found(line, f"names {text}")


NATIVE_RULES = (
    Rule(
        "raw-memory",
        BLOCK,
        "reads or writes memory by address",
        "none in Python: tensors have interfaces, and a kernel gets its pointers as arguments",
        Mention(
            tuple(
                """ctypes.memmove ctypes.memset ctypes.string_at ctypes.wstring_at ctypes.pythonapi
            ctypes.py_object ctypes._CFuncPtr ctypes.PYFUNCTYPE ctypes.c_char.from_address
            ctypes.c_ubyte.from_address ctypes.c_void_p.from_address ctypes.c_float.from_address
            ctypes.c_double.from_address ctypes.c_long.from_address ctypes.c_int.from_address
            ctypes.c_uint8.from_address ctypes.c_int64.from_address mmap.PROT_EXEC
            ctypes.Structure.from_address""".split()
            )
        ),
    ),
    Rule(
        "addresses",
        BLOCK,
        "turns a number into a view of memory",
        "none in Python",
        lambda module, _: (
            Found(n.lineno, "from_address")
            for n in module.nodes
            if isinstance(n, ast.Attribute) and n.attr in ("from_address", "from_param_address")
        ),
    ),
    Rule(
        "libraries",
        NOTE,
        "loads a native library",
        "the CUDA runtime and its libraries, or a library that the candidate has built",
        _libraries,
    ),
    Rule(
        "machine-calls",
        BLOCK,
        "calls the operating system below the interpreter",
        "none in a solution",
        _machine_calls,
    ),
    Rule(
        "native-doors",
        CONFIRM,
        "uses interfaces that can reach the memory of the process",
        "stride tricks build windows and Toeplitz matrices; extensions are compiled from sources "
        "that are read as well",
        Mention(
            (
                "cffi.",
                "numpy.ctypeslib.",
                "torch.ops.load_library",
                "torch.classes.load_library",
                "torch.utils.cpp_extension.",
                "numpy.lib.stride_tricks.as_strided",
                "torch.as_strided",
                "mmap.mmap",
                "torch.frombuffer",
                "numpy.frombuffer",
                "torch._C.",
                "numba.",
                "llvmlite.",
                "torch.UntypedStorage.",
                "cupy.cuda.UnownedMemory",
                "readline.",
                "_testcapi.",
                "_testinternalcapi.",
            ),
            but=("torch._C.dtype", "torch._C.device"),
            tiers=dict.fromkeys(
                (
                    "torch.utils.cpp_extension.",
                    "numpy.lib.stride_tricks.as_strided",
                    "mmap.mmap",
                    "torch.as_strided",
                    "torch.frombuffer",
                    "numpy.frombuffer",
                    "torch._C.",
                    "numba.",
                ),
                NOTE,
            )
            | {"_testcapi.": BLOCK, "_testinternalcapi.": BLOCK},
        ),
    ),
)
