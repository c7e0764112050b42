"""Arrays in memory that other processes map: sealed data to read, buffers to exchange."""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from novum.benchmarks.protocol import Array

KINDS = "biufc"  # plain numbers: no objects, no strings, nothing that is executed when it is read
_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
CHUNK = 1 << 24


@dataclass(frozen=True)
class SealedArray:
    """An array in memory that nobody can change any more, whoever holds its descriptor."""

    fd: int
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def describe(self, name: str) -> dict[str, Any]:
        """What the other side needs to map it."""
        return {
            "name": name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "offset": self.offset,
        }

    def close(self) -> None:
        os.close(self.fd)


def seal_array(array: Array) -> SealedArray:
    """A sealed copy of an array in memory."""
    array = np.ascontiguousarray(array)
    _check_kind(array.dtype)
    fd = os.memfd_create("novum-data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _write(fd, array.data.cast("B") if array.size else memoryview(b""))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | _FIXED_SIZE)
    except BaseException:
        os.close(fd)
        raise
    return SealedArray(fd, array.dtype.str, array.shape, 0)


def seal_file(path: Path) -> SealedArray:
    """A sealed copy of a `.npy` file.

    A read-only descriptor of the file itself would not do: its owner can open it again for writing
    by way of /proc/self/fd, also from inside a sandbox that runs as that owner.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = read(file)
        _check_kind(dtype)
        if is_fortran and len(shape) > 1:
            raise ValueError(f"{path} is stored by columns; save it in C order")
        fd = os.memfd_create("novum-data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            while chunk := file.read(CHUNK):
                _write(fd, memoryview(chunk))
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | _FIXED_SIZE)
            if os.fstat(fd).st_size < math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{path} is shorter than its header says")
        except BaseException:
            os.close(fd)
            raise
    return SealedArray(fd, dtype.str, shape, 0)


class DataStore:
    """Sealed copies of files, shared by all trials of this process."""

    def __init__(self) -> None:
        self._sealed: dict[Path, tuple[tuple[int, ...], SealedArray]] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> SealedArray:
        """The sealed copy of a file, made anew when the file has changed; the caller closes it."""
        status = path.stat()
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            if path in self._sealed:
                known, sealed = self._sealed[path]
                if known == identity:
                    return replace(sealed, fd=os.dup(sealed.fd))
                sealed.close()
                del self._sealed[path]
            sealed = seal_file(path)
            self._sealed[path] = identity, sealed
            return replace(sealed, fd=os.dup(sealed.fd))

    def close(self) -> None:
        """Give the memory back; what was handed out stays valid."""
        with self._lock:
            for _, sealed in self._sealed.values():
                sealed.close()
            self._sealed.clear()


class Buffer:
    """Memory of fixed size that two processes write and read.

    The other process can change the bytes at any time but not the size, so that reading them never
    faults; copy first, look at the copy afterwards.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = max(n_bytes, mmap.PAGESIZE)
        self.fd = os.memfd_create("novum-buffer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.n_bytes)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _FIXED_SIZE)
        self._memory = mmap.mmap(self.fd, self.n_bytes)
        self.is_pinned = False

    def view(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        """The first bytes as an array."""
        count = math.prod(shape)
        return np.frombuffer(self._memory, dtype, count).reshape(shape)

    def close(self) -> None:
        """Give the memory back; no view may be in use."""
        self._memory.close()
        os.close(self.fd)


def describe(array: Array) -> dict[str, Any]:
    """Type and shape of an array that lies in a buffer."""
    return described(array.dtype, array.shape)


def described(dtype: np.dtype[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Type and shape of an array that will lie in a buffer."""
    _check_kind(dtype)
    return {"dtype": dtype.str, "shape": list(shape)}


@contextlib.contextmanager
def sealed_arrays(
    arrays: Mapping[str, Array | Path], store: DataStore
) -> Iterator[dict[str, SealedArray]]:
    """Sealed copies by name, closed again at the end."""
    with contextlib.ExitStack() as stack:
        sealed = {}
        for name, array in arrays.items():
            sealed[name] = store.get(array) if isinstance(array, Path) else seal_array(array)
            stack.callback(sealed[name].close)
        yield sealed


def _check_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in KINDS:
        raise ValueError(f"arrays of {dtype} cannot be handed over, only plain numbers")


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
