"""Hidden inputs: drawn from a secret seed after the candidate is frozen, in families that punish
short cuts.

The base family is what the format asks for. The others keep shapes and types and change the
structure:
a kernel that relies on small numbers, on dense rows or on nothing cancelling is right only on
the base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from novum.benchmarks.kernels.conventions import by_name
from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.dtypes import is_float, item_bytes, torch_dtype
from novum.benchmarks.kernels.safetensors import read_tensor
from novum.benchmarks.kernels.workload import SafetensorsInput, ScalarInput, Workload

if TYPE_CHECKING:
    import torch

FAMILIES = ("large", "small", "integers", "sparse", "constant", "cancelling")


def draw_inputs(
    definition: Definition,
    workload: Workload,
    entry: Callable[..., Mapping[str, Any]] | None,
    *,
    seed: int,
    family: str,
    device: str,
    roots: Sequence[str],
) -> list[Any]:
    """Every input in order; tensors lie on the device.

    Only inputs that the harness itself draws belong to a family: what a definition's own
    function makes
    or a file holds keeps the structure it was given.

    Raises:
        ValueError: an input has the wrong shape or type, or a stored one is missing.
    """
    import torch

    torch.manual_seed(seed)
    sizes = definition.sizes(workload.axes)
    made = entry(dict(sizes) | workload.scalars, torch.device(device)) if entry is not None else {}
    values: list[Any] = []
    for name, spec in definition.inputs.items():
        source = workload.inputs[name]
        shape = definition.shape(spec, sizes)
        if isinstance(source, ScalarInput):
            values.append(source.value)
            continue
        if source.type == "custom":
            value = made[name]
        elif isinstance(source, SafetensorsInput):
            value = read_tensor(roots, source.path, source.tensor_key)
            if value.dtype == torch.uint8:  # bits of a type that the file's writer did not have
                value = value.view(torch_dtype(spec.dtype))
        else:
            value = random_tensor(name, shape or (), spec.dtype, family, sizes, device)
        if shape is None:
            values.append(value.item() if isinstance(value, torch.Tensor) else value)
            continue
        if tuple(value.shape) != shape or value.dtype != torch_dtype(spec.dtype):
            raise ValueError(
                f"input {name} is {tuple(value.shape)} {value.dtype}, wanted {shape} {spec.dtype}"
            )
        values.append(value.to(device).contiguous())
    return values


def random_tensor(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    family: str,
    sizes: Mapping[str, int],
    device: str,
) -> torch.Tensor:
    """One random tensor. Integers are valid indices of every axis; a name may promise more."""
    import torch

    wanted = torch_dtype(dtype)
    if dtype == "bool":
        return torch.rand(shape, device=device) < 0.5
    if not is_float(dtype):
        bound = min([size for size in sizes.values() if size > 0] or [2])
        top = min(bound, 127) if item_bytes(dtype) == 1 else bound
        return torch.randint(0, max(top, 1), shape, device=device).to(wanted)
    if item_bytes(dtype) == 1 and "float4" in dtype:
        return torch.randint(0, 256, shape, device=device, dtype=torch.uint8).view(wanted)
    return by_name(name, in_family(torch.randn(shape, device=device), family)).to(wanted)


def in_family(normal: torch.Tensor, family: str) -> torch.Tensor:
    """Standard normal numbers turned into a member of a family."""
    import torch

    match family:
        case "base":
            return normal
        case "large":  # heavy tails: one number in a hundred is 16 times larger
            return torch.where(torch.rand_like(normal) < 0.01, normal * 16, normal)
        case "small":
            return normal * 2**-10
        case "integers":  # exact in every type, many ties
            return normal.round().clamp(-2, 2)
        case "sparse":  # most numbers and some whole rows are zero
            kept = (torch.rand_like(normal) < 0.1).to(normal.dtype)
            return normal * kept
        case "constant":  # rows without variation
            return normal[..., :1].expand_as(normal).clone() if normal.dim() else normal
        case "cancelling":  # neighbours nearly cancel, so that sums lose their leading digits
            pairs = normal.clone()
            odd = pairs[..., 1::2]
            odd.copy_(-pairs[..., : 2 * odd.shape[-1] : 2] * (1 + 2**-6 * torch.randn_like(odd)))
            return pairs
    raise ValueError(f"no family of inputs is called {family!r}")
