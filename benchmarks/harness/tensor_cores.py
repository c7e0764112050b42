"""The share of time in which the tensor cores of some GPUs worked, by the GPUs' own counters.

It is what can be seen of the utilisation of floating-point operations (MFU) without believing a
program's count of them: an upper bound, since work that is repeated or thrown away counts too.
Hopper and later have the counters (GPM of NVML). Without the package `nvidia-ml-py`, the driver or
the permission nothing is read, and nothing is missing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from statistics import fmean
from typing import Any

LIBRARY = "pynvml"  # the module of nvidia-ml-py


class TensorCores:
    """Counters of some GPUs; each reading covers the time since the one before."""

    def __init__(self, gpus: Sequence[str], library: str = LIBRARY) -> None:
        self._nvml: Any = None
        self._watched: list[list[Any]] = []
        try:
            nvml = importlib.import_module(library)
            nvml.nvmlInit()
        except Exception:  # no package, no driver: both have exceptions of their own
            return
        self._nvml = nvml
        for gpu in gpus:
            try:
                self._watched.append(self._begin(gpu))
            except nvml.NVMLError:
                continue

    def read(self) -> float | None:
        """Share of time, 0 to 1, as a mean over the GPUs; `None` where none of them can say."""
        shares = [share for watched in self._watched if (share := self._share(watched)) is not None]
        return fmean(shares) if shares else None

    def close(self) -> None:
        """Give the samples and the library back."""
        if self._nvml is None:
            return
        for _, before, after in self._watched:
            self._free(before, after)
        self._watched = []
        self._nvml.nvmlShutdown()
        self._nvml = None

    def _begin(self, gpu: str) -> list[Any]:
        """A GPU, its first sample and the room for the next."""
        nvml = self._nvml
        find = nvml.nvmlDeviceGetHandleByIndex if gpu.isdigit() else nvml.nvmlDeviceGetHandleByUUID
        device = find(int(gpu) if gpu.isdigit() else gpu)
        before, after = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        try:
            nvml.nvmlGpmSampleGet(device, before)
        except nvml.NVMLError:
            self._free(before, after)
            raise
        return [device, before, after]

    def _free(self, *samples: Any) -> None:
        for sample in samples:
            self._nvml.nvmlGpmSampleFree(sample)

    def _share(self, watched: list[Any]) -> float | None:
        nvml = self._nvml
        device, before, after = watched
        wanted = nvml.c_nvmlGpmMetricsGet_t()
        wanted.version = nvml.NVML_GPM_METRICS_GET_VERSION
        wanted.numMetrics = 1
        wanted.metrics[0].metricId = nvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL
        try:
            wanted.sample1, wanted.sample2 = before, nvml.nvmlGpmSampleGet(device, after)
            nvml.nvmlGpmMetricsGet(wanted)
        except nvml.NVMLError:
            return None
        watched[1:] = after, before
        metric = wanted.metrics[0]
        return metric.value / 100 if metric.nvmlReturn == nvml.NVML_SUCCESS else None
