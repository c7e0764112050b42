"""The form of a candidate's answers, and marks by which later changes are seen.

Copied with `worker.py` into the sandbox: nothing of Novum is importable there.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

Slot = dict[str, Any]
COMPILE_ERRORS = frozenset(
    (
        "CompilationError",
        "CompileTimeAssertionFailure",
        "SyntaxError",
        "PTXASError",
        "OutOfResources",
        "BackendCompilerFailed",
        "InductorError",
    )
)
"""By name, whatever package they come from: Triton's and torch.compile's, some with renamed
parents. A kernel that asks for more registers or shared memory than there is counts among them.
"""


class Refused(Exception):
    """The candidate's answer has the wrong form; `kind` is a status of the format."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def in_order(result: Any, slots: Sequence[Slot], device: str) -> list[Any]:
    """Returned outputs in order, of the right type, shape and dtype.

    Raises:
        Refused: they are not.
    """
    import torch

    names = [slot["name"] for slot in slots]
    found = held_by(result)
    if isinstance(found, dict):
        if set(found) != set(names):
            raise Refused("INCORRECT_SHAPE", f"returned {sorted(map(str, found))}, wanted {names}")
        values = [found[name] for name in names]
    else:
        values = found
    if len(values) != len(slots):
        raise Refused("INCORRECT_SHAPE", f"returned {len(values)} outputs, wanted {names}")
    for i, (value, slot) in enumerate(zip(values, slots, strict=True)):
        want = getattr(torch, slot["dtype"])
        if isinstance(value, (bool, int, float)) and slot["shape"] == []:
            values[i] = value = torch.tensor(value, dtype=want, device=device)
        if type(value) is not torch.Tensor:
            raise Refused(
                "REWARD_HACK", f"{slot['name']} is a {type(value).__name__}, not a plain tensor"
            )
        if list(value.shape) != slot["shape"]:
            raise Refused(
                "INCORRECT_SHAPE", f"{slot['name']} is {list(value.shape)}, wanted {slot['shape']}"
            )
        if value.dtype != want:
            raise Refused("INCORRECT_DTYPE", f"{slot['name']} is {value.dtype}, wanted {want}")
    return values


def refuse_modes() -> None:
    """Refuse a process in which operations mean something else: an output that is computed when it
    is first read looks as if it had always been there.

    Raises:
        Refused: a mode is active.
    """
    import torch
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext

    modes: Callable[[], list[object]] = _get_current_function_mode_stack
    found = torch._C._len_torch_dispatch_stack()
    # a default device is one too, and harmless
    found += sum(type(mode) is not DeviceContext for mode in modes())
    if found:
        raise Refused("REWARD_HACK", "it leaves a mode that gives operations another meaning")


def tensors_in(result: Any) -> list[Any]:
    """The tensors among what a call returned, whatever its form."""
    import torch

    found = held_by(result)
    values = list(found.values()) if isinstance(found, dict) else found
    return [value for value in values if type(value) is torch.Tensor]


def held_by(result: Any) -> dict[Any, Any] | list[Any]:
    """What a container that was returned holds, read past its own methods: a class of one's own
    could compute there, when no clock runs.

    Raises:
        Refused: a name is no plain text.
    """
    kind = type(result)
    if issubclass(kind, dict):
        pairs = list(dict.items(result))
        if not all(type(name) is str for name, _ in pairs):  # another kind has a hash of its own
            raise Refused("INCORRECT_SHAPE", "outputs are named by plain texts")
        return dict(pairs)
    if issubclass(kind, tuple):
        return list(tuple.__iter__(result))
    if issubclass(kind, list):
        return list(list.__iter__(result))
    return [result]


def fingerprint(value: Any) -> Any:
    """A digest of a tensor's bytes, computed where it lies; scalars are their own."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    return tuple(mark(value).tolist())


def mark(value: Any) -> Any:
    """The same as a tensor beside the other: nobody waits for the device.

    Raises:
        Refused: see `refuse_modes`.
    """
    import torch

    refuse_modes()
    raw = value.detach().contiguous().view(-1)
    if not raw.numel():
        return torch.zeros(2, dtype=torch.int64, device=value.device)
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[raw.element_size()]
    bits = raw.view(width)
    odd = bits[1::2].sum(dtype=torch.int64)  # order counts a little
    return torch.stack((bits.sum(dtype=torch.int64), odd))


def shares(out: Any, value: Any) -> bool:
    """Whether two tensors lie in the same storage."""
    if not (hasattr(out, "untyped_storage") and hasattr(value, "untyped_storage")):
        return False
    left, right = out.untyped_storage(), value.untyped_storage()
    return bool(left.nbytes() and left.data_ptr() == right.data_ptr())


def kind_of(error: BaseException) -> str:
    """Which status of the trace format an exception stands for."""
    cause: BaseException | None = error
    while cause is not None:
        if COMPILE_ERRORS & {cls.__name__ for cls in type(cause).__mro__}:
            return "COMPILE_ERROR"
        if "PassManager::run failed" in str(cause):  # Triton's own compiler, which raises no more
            return "COMPILE_ERROR"
        cause = cause.__cause__
    return "RUNTIME_ERROR"


def last_lines(error: BaseException, limit: int = 1500) -> str:
    """The end of a traceback."""
    try:
        return "".join(traceback.format_exception(error))[-limit:]
    except Exception:
        return type(error).__name__
