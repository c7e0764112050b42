"""Rules that only this pack needs: what a kernel has no business doing."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from novum.benchmarks.kernels.runner import OWN
from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, CONFIRM, NOTE, Found, Mention, Rule

MODES = Mention(("torch.utils._python_dispatch.", "torch.overrides."))
DISPATCH = frozenset(("__torch_dispatch__", "__torch_function__"))


def _modes(module: Module, program: Program) -> Iterable[Found]:
    yield from MODES(module, program)
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef) and node.name in DISPATCH:
            yield Found(node.lineno, f"defines {node.name}")
    for line, text in module.texts:
        if text in DISPATCH or "torch_dispatch_stack" in text or "torch_function_stack" in text:
            yield Found(line, f"names {text[:60]}")
    for line, name in module.mentions:
        if "torch_dispatch_stack" in name or "torch_function_stack" in name:
            yield Found(line, f"uses {name}")


LATER = Mention(
    (
        "signal.",
        "weakref.finalize",
        "gc.enable",
        "gc.set_threshold",
        "gc.set_debug",
        "atexit.",
        "sys.setswitchinterval",
    )
)


def _later(module: Module, program: Program) -> Iterable[Found]:
    yield from LATER(module, program)
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef) and node.name == "__del__":
            yield Found(node.lineno, "defines __del__")
    yield from (Found(line, "names __del__") for line, text in module.texts if text == "__del__")


RULES = (
    Rule(
        "kernels-insides",
        BLOCK,
        "reaches for the modules that measure in its own process",
        "none: a solution is handed tensors; files of its own need other names",
        python=Mention((*(f"{name}." for name in OWN), "__main__.")),
    ),
    Rule(
        "kernels-modes",
        BLOCK,
        "gives operations of PyTorch another meaning, so that work can be put off until it is read",
        "none: a solution computes when it is called",
        python=_modes,
    ),
    Rule(
        "kernels-later",
        BLOCK,
        "has work done when an object ends or a signal comes, after the call that it belongs to",
        "none: to switch the collector off or to collect is free",
        python=_later,
    ),
    Rule(
        "kernels-threads",
        BLOCK,
        "has threads or processes of its own, which work when no call of it is timed",
        "none: a call returns when its work is done or launched; locks are free",
        python=Mention(
            (
                "threading.Thread",
                "threading.Timer",
                "_thread.",
                "concurrent.futures.",
                "multiprocessing.",
                "torch.multiprocessing.",
                "joblib.",
                "asyncio.",
                "torch.jit.fork",
                "torch.jit._fork",
                "torch.cuda.set_stream",
            )
        ),
    ),
    Rule(
        "kernels-timer",
        CONFIRM,
        "mentions the events and the synchronisation that the timed calls rest on",
        "a solution that orders streams needs events of its own",
        python=Mention(
            (
                "torch.cuda.Event",
                "torch.cuda.synchronize",
                "torch.cuda.Stream",
                "torch.cuda.stream",
                "torch.cuda.graph",
                "torch.cuda.CUDAGraph",
                "time.perf_counter",
            )
        ),
    ),
    Rule(
        "kernels-address",
        CONFIRM,
        "looks at where a tensor lies, as a cache of results by address would",
        "a launch through the driver's own interface passes raw pointers",
        python=Mention(("data_ptr", "torch.Tensor.data_ptr", "untyped_storage")),
    ),
    Rule(
        "kernels-narrow",
        NOTE,
        "mentions a type of eight bits or TensorFloat-32, where the tolerance may not allow it",
        "quantisation problems ask for such types; elsewhere the hidden inputs decide",
        python=Mention(
            (
                "torch.float8_e4m3fn",
                "torch.float8_e5m2",
                "torch.backends.cuda.matmul.allow_tf32",
                "triton.language.float8e4nv",
                "tl.float8e4nv",
            )
        ),
    ),
)
