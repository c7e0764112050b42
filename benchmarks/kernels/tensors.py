"""Tensors in shared memory, and the two operations that worker and referee must do alike.

PyTorch and the standard library only: this file is copied next to the worker into its sandbox.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ALIGN = 256
POISON = 0xFF
"""Every byte of an output before the call: NaN as a float, -1 as an integer, never a right answer
by chance.
"""
SKETCH = 65521
"""Length of the random vector of a sketch; a prime, so that rows of common sizes do not line up."""

PERIOD = 4099
"""How many factors an input is multiplied by in turn; a prime for the same reason."""
Slot = dict[str, Any]
"""name, dtype (PyTorch's name), shape, offset, nbytes; or name and value of a scalar."""


def layout(specs: Sequence[tuple[str, str, tuple[int, ...], int]]) -> tuple[list[Slot], int]:
    """Places for tensors (name, dtype, shape, bytes of an element) in one block, and its size."""
    slots: list[Slot] = []
    offset = 0
    for name, dtype, shape, item in specs:
        nbytes = item * math.prod(shape)
        slots.append(
            {"name": name, "dtype": dtype, "shape": list(shape), "offset": offset, "nbytes": nbytes}
        )
        offset += -(-nbytes // ALIGN) * ALIGN
    return slots, max(offset, ALIGN)


def view(block: mmap.mmap, slot: Slot) -> torch.Tensor:
    """The tensor in its place; it shares the block's memory."""
    import torch

    dtype = getattr(torch, slot["dtype"])
    shape = tuple(slot["shape"])
    if not slot["nbytes"]:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(block, dtype=torch.uint8, count=slot["nbytes"], offset=slot["offset"])
    return raw.view(dtype).view(shape)


def poisoned(slot: Slot, device: str) -> torch.Tensor:
    """A fresh output tensor whose bytes are all poison."""
    import torch

    dtype = getattr(torch, slot["dtype"])
    raw = torch.full((max(slot["nbytes"], 1),), POISON, dtype=torch.uint8, device=device)
    return raw[: slot["nbytes"]].view(dtype).view(tuple(slot["shape"]))


Change = Any
"""What makes an input new in one call: factors, a distance to shift it by, or nothing."""


def change_of(tensor: torch.Tensor, draw: int, place: int) -> Change:
    """The change of an input at a place in one call, from a secret number of that call.

    Numbers wider than a byte get a factor each, between 0.8 and 1: signs, zeros and magnitudes
    stay, and no call's result follows from another's, as it would if all were scaled alike.
    Narrower ones have no room for that and are shifted. Indices may promise an order; they stay.
    """
    import torch

    secret = torch.Generator().manual_seed(draw + place)
    if tensor.is_floating_point() and tensor.element_size() > 1:
        factors = 1 - 0.2 * torch.rand(PERIOD, generator=secret)
        return factors.to(tensor.dtype).to(tensor.device)
    if tensor.element_size() == 1 and tensor.dtype != torch.bool and tensor.numel():
        return int(torch.randint(tensor.numel(), (), generator=secret))
    return None


def perturbed(tensor: torch.Tensor, change: Change) -> torch.Tensor:
    """A changed copy at a fresh address."""
    import torch

    target = torch.empty_like(tensor)
    fill(target, tensor, change)
    return target


HALF_BYTES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the lower three bits of a float4_e2m1 stand for; the fourth is the sign."""


def numbers(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor's numbers, flat, in a type that has arithmetic (float32 unless another is named).

    Pairs of four-bit numbers are taken apart, the lower half of a byte first.
    """
    import torch

    flat = tensor.reshape(-1)
    if tensor.dtype == getattr(torch, "float4_e2m1fn_x2", None):
        table = torch.tensor([*HALF_BYTES, *(-x for x in HALF_BYTES)], device=tensor.device)
        raw = flat.view(torch.uint8)
        flat = table[torch.stack((raw & 15, raw >> 4), dim=-1).reshape(-1).to(torch.int64)]
    return flat.to(dtype or torch.float32)


def fill(target: torch.Tensor, source: torch.Tensor, change: Change) -> None:
    """Write `perturbed(source, change)` into a tensor that is there already; both contiguous."""
    import torch

    if isinstance(change, torch.Tensor):
        old, new = source.view(-1), target.view(-1)
        whole = old.numel() // PERIOD * PERIOD
        if whole:
            rows = new[:whole].view(-1, PERIOD)
            torch.mul(old[:whole].view(-1, PERIOD), change, out=rows)
        torch.mul(old[whole:], change[: old.numel() - whole], out=new[whole:])
    elif isinstance(change, int):
        old, new = source.view(torch.uint8).view(-1), target.view(torch.uint8).view(-1)
        new[change:].copy_(old[: old.numel() - change])
        new[:change].copy_(old[old.numel() - change :])
    else:
        target.copy_(source)


def sketch_vector(seed: int, device: str) -> torch.Tensor:
    """The random vector of a sketch, equal in every process on one kind of device."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SKETCH, generator=generator, dtype=torch.float64).to(device)


def sketch(tensor: torch.Tensor, vector: torch.Tensor) -> float:
    """A random projection of a tensor to one number, in float64; NaN where it holds one."""
    import torch

    flat = tensor.reshape(-1)
    if not flat.is_floating_point() or flat.element_size() == 1:
        flat = numbers(tensor)
    whole = flat.numel() // SKETCH * SKETCH
    total = vector.new_zeros(())
    if whole:
        total = flat[:whole].view(-1, SKETCH).sum(0, dtype=torch.float64) @ vector
    rest = flat[whole:].to(torch.float64)
    return float(total + rest @ vector[: rest.numel()])


def is_usable(device: str) -> bool:
    """Whether this process can still use the device: an error in a kernel spoils it for good."""
    import torch

    try:
        torch.zeros(1, device=device).item()
    except RuntimeError:
        return False
    return True


def tidy(device: str, keep_bytes: int = 0) -> None:
    """Give cached device memory back where it is more than `keep_bytes`, so that other processes
    on the device can have it.
    """
    if device != "cpu":
        import torch

        if torch.cuda.memory_reserved() > keep_bytes:
            torch.cuda.empty_cache()
