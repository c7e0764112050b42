"""What tests in several files share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from novum.benchmarks.kernels.roofline import Ceilings


@pytest.fixture(scope="session")
def ceilings() -> Ceilings:
    """Speeds that no processor of a test reaches, so that no time there is impossible."""
    from novum.benchmarks.kernels.roofline import Ceilings

    return Ceilings(
        device="a test's processor",
        copy_bytes_per_s=1e13,
        read_bytes_per_s=1e13,
        matmul_flops_per_s={"float32": 1e15},
        empty_call_s=1e-9,
        cache_bytes=1 << 20,
    )
