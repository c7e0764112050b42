"""Measures what a device can do: copy and read bandwidth, matrix rates, and the cost of an empty
call.

    python -m novum.benchmarks.kernels.ceilings DEVICE THREADS     prints one JSON object

Runs in a process of its own, before any candidate. Clocks are read and recorded, never set.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novum.benchmarks.kernels.roofline import Ceilings

if TYPE_CHECKING:
    import torch

CPU_COPY_BYTES = (512 << 10, 4 << 20, 64 << 20)
"""The small workloads of a CPU live in its caches, which are not flushed: the best size counts."""
GPU_COPY_BYTES = 4 << 30
CPU_MATMUL = 512
GPU_PRODUCTS = ((8192, 4096, 4096), (4096, 4096, 4096), (8192, 8192, 8192))
"""Rows, inner and columns of matrix products: the quickest counts, which it is differs by type."""
REPEATS = 9
WRITTEN_BYTES = 1 << 30
"""Written before a product on a GPU. One product after the other meets the power limit, at a lower
clock than a candidate has, whose calls come after a flush; after a pause the clock has gone down.
Either is a ceiling that kernels exceed: on one H100 the quickest product of bfloat16 ran at 656
TFLOP/s after 50 ms of rest, at 779 one after the other and at 799 after a write, and so did gemm.
"""
FLUSH_AT_LEAST = 64 << 20


def measure(device: str) -> Ceilings:
    """Measure one device; a few seconds on a GPU, under ten on a CPU core."""
    return measure_cpu() if device == "cpu" else measure_gpu(device)


def measure_cpu() -> Ceilings:
    """Ceilings of the cores that PyTorch may use here."""
    import torch

    copy = read = 0.0
    for size in CPU_COPY_BYTES:
        source = torch.ones(size // 4)
        target = torch.empty_like(source)
        copy = max(copy, 2 * size / copy_s(source, target))
        read = max(read, size / sum_s(source))
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(CPU_MATMUL, CPU_MATMUL).to(dtype)
        product = partial(torch.matmul, a, b := a.clone())
        rates[name_of(dtype)] = max(product_rate(a, b, partial(timed, product)) for _ in range(5))
    return Ceilings(
        device=cpu_name(),
        copy_bytes_per_s=copy,
        read_bytes_per_s=max(copy, read),
        matmul_flops_per_s=rates,
        empty_call_s=best(lambda: timed(lambda: None)),
        cache_bytes=cpu_cache_bytes(),
        details={"threads": torch.get_num_threads(), "torch": torch.__version__},
    )


def copy_s(source: torch.Tensor, target: torch.Tensor) -> float:
    """Seconds of the quickest copy."""
    return min(best(lambda: timed(lambda: target.copy_(source))) for _ in range(3))


def sum_s(source: torch.Tensor) -> float:
    """Seconds of the quickest sum."""
    return min(best(lambda: timed(lambda: source.sum())) for _ in range(3))


def measure_gpu(device: str) -> Ceilings:
    """Ceilings of one CUDA device, with the same events as candidates are timed with."""
    import torch

    torch.cuda.set_device(device)
    properties = torch.cuda.get_device_properties(device)
    before = clocks()
    source = torch.ones(GPU_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    wide = source.view(torch.float32)
    moved_s = best(lambda: event_timed(lambda: target.copy_(source)))
    read_s = best(lambda: event_timed(lambda: wide.sum()))
    flush = torch.empty(2 * properties.L2_cache_size, dtype=torch.uint8, device=device)
    rates = {
        name_of(dtype): fastest_product(device, dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    }
    rates |= narrow_rates(device)
    torch.backends.cuda.matmul.allow_tf32 = True
    tf32 = fastest_product(device, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = False
    after = clocks()
    return Ceilings(
        device=properties.name,
        copy_bytes_per_s=2 * GPU_COPY_BYTES / moved_s,
        read_bytes_per_s=max(GPU_COPY_BYTES / read_s, 2 * GPU_COPY_BYTES / moved_s),
        matmul_flops_per_s=rates,
        empty_call_s=best(lambda: event_timed(lambda: None, flush)),
        cache_bytes=properties.L2_cache_size,
        details={
            "tf32_flops_per_s": tf32,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "multiprocessors": properties.multi_processor_count,
            "clocks_before": before,
            "clocks_after": after,
        },
    )


def fastest_product(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the quickest product of two matrices of a type."""
    import torch

    def rate(rows: int, inner: int, columns: int) -> float:
        a = torch.randn(rows, inner, device=device).to(dtype)
        b = torch.randn(inner, columns, device=device).to(dtype)
        return product_rate(a, b, after_a_write(device, lambda: a @ b))

    return max(rate(*shape) for shape in GPU_PRODUCTS)


def narrow_rates(device: str) -> dict[str, float]:
    """Rates of int8 and float8 products where the device has them."""
    import torch

    rates: dict[str, float] = {}
    one = torch.ones((), device=device)

    def narrow(rows: int, inner: int, columns: int) -> None:
        a = torch.randint(-8, 8, (rows, inner), device=device, dtype=torch.int8)
        b = torch.randint(-8, 8, (columns, inner), device=device, dtype=torch.int8).t()
        x, y = a.to(torch.float8_e4m3fn), b.t().to(torch.float8_e4m3fn).t()

        def scaled() -> Any:
            return torch._scaled_mm(x, y, one, one, out_dtype=torch.bfloat16)

        products = {"int8": lambda: torch._int_mm(a, b), "float8_e4m3fn": scaled}
        for name, product in products.items():
            rate = product_rate(a, b, after_a_write(device, product))
            rates[name] = max(rate, rates.get(name, 0.0))

    with suppress(RuntimeError, AttributeError):
        for shape in GPU_PRODUCTS:
            narrow(*shape)
    return rates


def product_rate(a: torch.Tensor, b: torch.Tensor, measurement: Callable[[], float]) -> float:
    """FLOP/s of the product of two matrices, by the quickest of several measurements of it."""
    return 2 * a.shape[0] * a.shape[1] * b.shape[1] / best(measurement)


def timed(function: Callable[[], Any]) -> float:
    """Seconds of one call on this thread."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def event_timed(function: Callable[[], Any], flush: torch.Tensor | None = None) -> float:
    """Seconds of one call between two events of the current stream."""
    import torch

    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize()
    if flush is not None:
        flush.zero_()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def after_a_write(device: str, function: Callable[[], Any]) -> Callable[[], float]:
    """A measurement of one call, with a long write before it."""
    import torch

    written = torch.empty(WRITTEN_BYTES, dtype=torch.uint8, device=device)
    return lambda: event_timed(function, written)


def best(measurement: Callable[[], float]) -> float:
    """The quickest of several: a ceiling is what the device can do, not what it does on average."""
    measurement()
    return min(measurement() for _ in range(REPEATS))


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def clocks() -> dict[str, str]:
    """Clocks, power and temperature as the driver reports them; empty where it does not."""
    fields = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active"
    try:
        text = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = text.strip().splitlines()[0].split(", ") if text.strip() else []
    return dict(zip(fields.split(","), values, strict=False))


def cpu_name() -> str:
    """Model name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "cpu"


def cpu_cache_bytes() -> int:
    """The largest cache of the first core."""
    sizes = [FLUSH_AT_LEAST // 2]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text.endswith("K"):
            sizes.append(int(text[:-1]) << 10)
    return max(sizes)


if __name__ == "__main__":
    import torch

    if sys.argv[1] != "cpu" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU here")
    torch.set_num_threads(int(sys.argv[2]))
    print(json.dumps(measure(sys.argv[1]).model_dump()))
