"""What tests in several files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from novum.lab.run import RunFolder

if TYPE_CHECKING:
    from novum.benchmarks.kernels.roofline import Ceilings


DRAW = os.environ.get("TEST_DRAW", "")
"""Another text, other draws: `for i in 1 2 3; do TEST_DRAW=$i make test; done`."""


def nonce_of(name: str) -> str:
    """The nonce of a test's run: the same noise each time."""
    return sha256(f"{DRAW}{name}".encode()).hexdigest()


@pytest.fixture(scope="session", autouse=True)
def _same_draws_each_time() -> Iterator[None]:
    """Runs that are made in this process draw their hidden seeds from their names."""
    create = RunFolder.create

    def create_again(runs: Path, name: str, **given: Any) -> RunFolder:
        return create(runs, name, **{"nonce": nonce_of(name)} | given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "create", create_again)
        yield


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
