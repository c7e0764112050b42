"""The program of the score stage: load what was delivered, and answer from it.

    python serve.py ADDRESS CANDIDATE ARTIFACT ENTRY DEVICE TENSORS

It imports module ENTRY of the folder CANDIDATE, calls `load(ARTIFACT, DEVICE)` and then calls what
came back, or a method of it, with arrays that lie in shared memory; the answer goes into shared
memory too. Candidate code runs in this process and may do as it likes with it: it can spoil its
own answers and nothing else, for inputs, expected values and metric stay with the grader.

TENSORS says what the candidate is given: `numpy` or `torch`. This file is copied into the sandbox;
it needs the standard library and numpy, and torch only where that is asked for.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import socket
import sys
import traceback
from typing import Any

import numpy as np

MESSAGE_BYTES = 1 << 16
MAX_FDS = 16
ERROR_CHARS = 4000
PIN_BYTES = 1 << 24  # below, pinning costs more than one copy


class Memory:
    """Shared buffers by number, as the harness hands them over."""

    def __init__(self) -> None:
        self._maps: dict[int, mmap.mmap] = {}

    def take(self, numbers: list[int], fds: list[int]) -> None:
        """Map new buffers."""
        for number, fd in zip(numbers, fds, strict=True):
            self._maps[number] = mmap.mmap(fd, os.fstat(fd).st_size)
            os.close(fd)

    def view(self, array: dict[str, Any]) -> np.ndarray[Any, Any]:
        """An array at the start of a buffer."""
        shape = tuple(array["shape"])
        flat = np.frombuffer(self._maps[array["buffer"]], array["dtype"], int(np.prod(shape)))
        return flat.reshape(shape)


class NumpyTensors:
    """Hand over numpy arrays and expect numpy arrays."""

    def give(self, array: np.ndarray[Any, Any]) -> Any:
        return array

    def put(self, result: Any, out: np.ndarray[Any, Any]) -> None:
        result = np.asarray(result)
        _check(tuple(result.shape), result.dtype.kind, out)
        np.copyto(out, result, casting="same_kind")


class TorchTensors:
    """Hand over tensors on the device and expect a tensor."""

    def __init__(self, device: str) -> None:
        self._torch = importlib.import_module("torch")
        self._device = device
        self._pinned: dict[int, int] = {}

    def give(self, array: np.ndarray[Any, Any]) -> Any:
        return self._torch.from_numpy(array).to(self._device)

    def put(self, result: Any, out: np.ndarray[Any, Any]) -> None:
        is_float = result.is_floating_point()
        kind = "f" if is_float else "b" if result.dtype is self._torch.bool else "i"
        _check(tuple(result.shape), kind, out)
        target = self._torch.from_numpy(out)
        if result.is_cuda:
            self._pin(target)
        # converted where it lies: across devices torch would do it on one core of the host
        target.copy_(self._narrowed(result.detach(), target.dtype))

    def _narrowed(self, result: Any, dtype: Any) -> Any:
        """The result in another type; what float16 cannot hold, as a mask of -1e9, at its end."""
        narrowed = result.to(dtype)
        if dtype is self._torch.float16 and result.dtype is not dtype:
            largest = self._torch.finfo(dtype).max
            narrowed.clamp_(-largest, largest)
        return narrowed

    def _pin(self, target: Any) -> None:
        """Let the GPU write into a large buffer by itself; where it may not, copies are slower."""
        n_bytes = target.numel() * target.element_size()
        if n_bytes >= PIN_BYTES and self._pinned.get(target.data_ptr(), 0) < n_bytes:
            self._pinned[target.data_ptr()] = n_bytes
            self._torch.cuda.cudart().cudaHostRegister(target.data_ptr(), n_bytes, 0)


def main(words: list[str]) -> int:
    """Serve until the harness closes the connection."""
    address, candidate, artifact, entry, device, tensors = words
    connection = _connect(address)  # before any line of the candidate runs
    sys.path.insert(0, candidate)
    memory, loaded = Memory(), None
    library = _library(tensors, device)
    while True:
        data, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, MAX_FDS)
        if not data:
            return 0
        message = json.loads(data)
        try:
            if message["op"] == "load":
                loaded = _load(candidate, entry, artifact, device)
                library = library or TorchTensors(device)
            else:
                memory.take(message["new"], list(fds))
                assert library is not None
                _call(loaded, message, memory, library)
            answer: dict[str, Any] = {"ok": True}
        except Exception as error:  # whatever the candidate raises is its answer
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:ERROR_CHARS]}
        connection.sendall(json.dumps(answer).encode())


def _library(tensors: str, device: str) -> NumpyTensors | TorchTensors | None:
    """What is needed to hand over tensors, ready before anything is asked; where torch cannot be
    had, the candidate is to say so."""
    if tensors == "numpy":
        return NumpyTensors()
    try:
        library = TorchTensors(device)
        square = library.give(np.zeros((16, 16), np.float32))
        square @ square  # wakes the device and its library of products
        if device != "cpu":  # half of what importing a compiled model takes
            importlib.import_module("torch._dynamo")
    except Exception:
        return None
    return library


def _load(candidate: str, entry: str, artifact: str, device: str) -> Any:
    from pathlib import Path

    os.chdir(candidate)
    return importlib.import_module(entry).load(Path(artifact), device)


def _call(
    loaded: Any, message: dict[str, Any], memory: Memory, library: NumpyTensors | TorchTensors
) -> None:
    function = getattr(loaded, message["name"]) if message["name"] else loaded
    inputs = [library.give(memory.view(array)) for array in message["inputs"]]
    library.put(function(*inputs), memory.view(message["output"]))


def _check(shape: tuple[int, ...], kind: str, out: np.ndarray[Any, Any]) -> None:
    kinds = {"u": "i"}
    if shape != out.shape:
        raise ValueError(f"the answer has shape {shape}, not {out.shape}")
    if kinds.get(kind, kind) != kinds.get(out.dtype.kind, out.dtype.kind):
        raise TypeError(f"the answer holds numbers of kind {kind!r}, not {out.dtype}")


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # by way of its folder, since the path of a socket may not be longer than 107 bytes
    folder = os.open(os.path.dirname(address), os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(address)}")
    finally:
        os.close(folder)
    return connection


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
