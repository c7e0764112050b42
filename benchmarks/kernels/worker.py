"""Forks processes that run candidate code; judges nothing.

    python worker.py SOCKET DEVICE THREADS [early]

PyTorch is imported once, and where asked what torch.compile and Triton need; each `fork` message
then gives a child with its own connection (and on a GPU its own context) that imports the
candidate. Inputs and outputs travel through shared memory that the evaluator owns.

Copied with the modules it imports into the sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import signal
import socket
import sys
import time

if __package__:
    from novum.benchmarks.kernels import offspring, runner, wire
else:
    import offspring  # type: ignore[import-not-found,no-redef]
    import runner  # type: ignore[import-not-found,no-redef]
    import wire  # type: ignore[import-not-found,no-redef]

GONE_S = 5.0
"""How long a killed child is waited for; one that the device's driver holds may take longer."""
EARLY = (
    "triton",
    "triton.language",
    "torch._dynamo",
    "torch._dynamo.backends",
    "torch._dynamo.repro.after_dynamo",
    "torch._inductor.compile_fx",
    "torch._inductor.choices",
    "torch._inductor.bounds",
    "torch._inductor.kernel_template_choice",
    "torch._inductor.codegen.triton",
    "torch._inductor.codegen.wrapper",
    "torch._inductor.codegen.wrapper_fxir",
    "torch._inductor.codegen.cpp_wrapper_gpu",
    "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.codegen.memory_planning",
    "torch._inductor.fx_passes",
    "torch._inductor.fx_passes.serialized_patterns",
    "torch._functorch._activation_checkpointing",
    "torch._higher_order_ops.passes",
    "torch.export._trace",
    "torch.fx.experimental.validator",
    "torch.distributed.tensor.experimental",
    "torch.profiler",
    "sympy.combinatorics",
    "sympy.physics.units",
)
"""What every process that compiles imports sooner or later, imported once for all of them."""
WHOLE = (
    "torch._dynamo.backends",
    "torch._inductor.fx_passes",
    "torch._inductor.fx_passes.serialized_patterns",
    "torch._functorch._activation_checkpointing",
)
"""Those of which every module is imported."""


def import_early() -> None:
    """Import what children would import; what is not there is left to them."""
    for name in EARLY:
        try:
            found = importlib.import_module(name)
            inner = pkgutil.iter_modules(found.__path__) if name in WHOLE else ()
            for module in inner:
                importlib.import_module(f"{name}.{module.name}")
        except Exception as error:  # another version of PyTorch; the child finds its own way
            print(f"worker: {name} is not imported early: {error!r}"[:200], file=sys.stderr)


def can_fork(device: str) -> bool:
    """Whether a child can use the device; not if an import has touched the driver before it."""
    import torch

    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.zeros(1, device=device)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def compile_with(threads: int) -> None:
    """In how many processes torch.compile may compile from now on."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    config = sys.modules.get("torch._inductor.config")
    if config is not None:
        config.compile_threads = threads  # type: ignore[attr-defined]


def connect(path: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.connect(path)
    return channel


def main(path: str, device: str, threads: int, early: bool) -> None:
    """Import PyTorch, then fork a child for each request until the evaluator hangs up."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to look for a device is not to use it
    os.environ["TORCH_WARM_POOL"] = "0"  # no compile workers before somebody compiles
    import torch

    torch.set_num_threads(threads)
    if early:
        import_early()
        if not can_fork(device):
            print("worker: early imports touch the driver; going without", file=sys.stderr)
            os.execv(sys.executable, [sys.executable, *sys.argv[:4]])
    offspring.adopt()
    own = offspring.children(os.getpid())  # of the libraries, if any
    control = connect(path)
    wire.send(control, {"hello": 0, "torch": torch.__version__})
    children: set[int] = set()
    while True:
        try:
            message, descriptors = wire.receive(control)
        except wire.WireError:
            return
        wire.close_all(descriptors)
        if message.get("do") == "end":
            end(int(message.get("pid", 0)), children)
            if not offspring.end_strays(os.getpid(), own | children, GONE_S):
                return  # and the sandbox ends with whatever this is
            continue
        if message.get("do") in ("pause", "resume"):
            wire.send(control, hold(message["do"] == "pause"))
            continue
        if message.get("do") != "fork":
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            compile_with(int(message.get("compile_threads", 1)))
            code = 1
            try:
                runner.Runner(connect(path), device).serve()
                code = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)  # a candidate's exit handlers and threads are not waited for
        children.add(pid)
        try:
            wire.send(control, {"pid": pid})
        except wire.WireError:
            return


def hold(is_pause: bool) -> dict[str, object]:
    """Stop all children and theirs, or let them go on."""
    try:
        (offspring.pause if is_pause else offspring.resume)(os.getpid())
    except TimeoutError as error:
        return {"error": str(error)}
    return {}


def end(pid: int, children: set[int]) -> None:
    """End a child, whatever it hangs in, and collect it: nothing of it uses the device after."""
    if pid in children:
        children.discard(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + GONE_S
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < until:
                time.sleep(0.002)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "early" in sys.argv[4:])
