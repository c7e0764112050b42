"""Readings of the tensor cores' counters, with a library that answers as NVIDIA's does."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from novum.benchmarks.harness.tensor_cores import TensorCores

GPUS = ("GPU-a", "1")


class NVMLError(Exception):
    pass


class Driver(ModuleType):
    """Two GPUs whose tensor cores work 30 and 50 % of the time; a GPU may be without counters."""

    NVMLError = NVMLError
    NVML_SUCCESS = 0
    NVML_GPM_METRICS_GET_VERSION = 1
    NVML_GPM_METRIC_ANY_TENSOR_UTIL = 5

    def __init__(self) -> None:
        super().__init__("a_driver")
        self.shares = {"GPU-a": 0.3, 1: 0.5}
        self.ticks = 0
        self.n_held = 0
        self.n_opened = 0
        self.old: set[object] = set()

    def nvmlInit(self) -> None:
        self.n_opened += 1

    def nvmlShutdown(self) -> None:
        self.n_opened -= 1

    def nvmlDeviceGetHandleByUUID(self, name: str) -> object:
        return self._known(name)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:
        return self._known(index)

    def _known(self, name: str | int) -> object:
        if name not in self.shares:
            raise NVMLError("not found")
        return name

    def nvmlGpmSampleAlloc(self) -> SimpleNamespace:
        self.n_held += 1
        return SimpleNamespace(at=None, busy=None)

    def nvmlGpmSampleFree(self, sample: SimpleNamespace) -> None:
        self.n_held -= 1

    def nvmlGpmSampleGet(self, device: str | int, sample: SimpleNamespace) -> SimpleNamespace:
        if device in self.old:
            raise NVMLError("not supported")
        self.ticks += 1
        sample.at, sample.busy = self.ticks, self.ticks * self.shares[device]
        return sample

    def c_nvmlGpmMetricsGet_t(self) -> SimpleNamespace:
        metric = SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0)
        return SimpleNamespace(metrics=[metric])

    def nvmlGpmMetricsGet(self, wanted: SimpleNamespace) -> None:
        assert wanted.metrics[0].metricId == 5 and wanted.numMetrics == wanted.version == 1
        first, second = wanted.sample1, wanted.sample2
        assert first.at < second.at, "a reading covers the time since the one before"
        share = (second.busy - first.busy) / (second.at - first.at)
        wanted.metrics[0].value = 100 * share


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "a_driver", made)
    return made


def test_readings_are_means_over_the_gpus_and_everything_is_given_back(driver: Driver) -> None:
    cores = TensorCores(GPUS, "a_driver")
    assert [cores.read() for _ in range(3)] == pytest.approx([0.4] * 3)
    cores.close()
    cores.close()
    assert driver.n_held == driver.n_opened == 0 and cores.read() is None


def test_gpus_without_counters_are_left_out(driver: Driver) -> None:
    cores = TensorCores((*GPUS, "GPU-of-another-host"), "a_driver")
    driver.old.add(1)
    assert cores.read() == pytest.approx(0.3)
    driver.old.add("GPU-a")
    assert cores.read() is None
    cores.close()
    cores = TensorCores(GPUS, "a_driver")
    assert cores.read() is None and driver.n_held == 0
    cores.close()


def test_without_library_or_driver_nothing_is_read(driver: Driver) -> None:
    def fail() -> None:
        raise NVMLError("driver not loaded")

    setattr(driver, "nvmlInit", fail)  # noqa: B010
    for library in ("a_driver", "no_such_library"):
        cores = TensorCores(GPUS, library)
        assert cores.read() is None
        cores.close()
