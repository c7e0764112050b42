"""Start the workers of one trial side by side, as torchrun does; end them all when one is lost.

    python launch.py N PROGRAM [WORD ...]

Worker `i` sees `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` (the loopback of
the sandbox), its share of the cores, and as many threads as it has cores. This file is copied into
the sandbox; it needs the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

POLL_S = 0.02
LAST_WORDS_S = 1.0  # a worker that met the same end says why before it is killed


def main(words: list[str]) -> int:
    """Run the workers; 0 when all of them ended well."""
    n_workers, program = int(words[0]), words[1:]
    cores = sorted(os.sched_getaffinity(0))
    port = _free_port()
    workers = []
    for rank in range(n_workers):
        _pin(_share(cores, rank, n_workers))  # a child inherits it
        env = os.environ | _variables(rank, n_workers, port, len(cores))
        workers.append(subprocess.Popen([sys.executable, *program], env=env))
    _pin(cores)
    lost = _watch(workers)
    if lost is None:
        return 0
    deadline = time.monotonic() + LAST_WORDS_S
    while time.monotonic() < deadline and any(w.poll() is None for w in workers):
        time.sleep(POLL_S)
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()
    print(f"worker {lost} of {n_workers} was lost: {_end(workers[lost])}", file=sys.stderr)
    return 1


def _watch(workers: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all have ended, or one has ended badly: its rank."""
    while True:
        codes = [worker.poll() for worker in workers]
        # who was killed goes first: the others fail because it is gone
        bad = [(code > 0, rank) for rank, code in enumerate(codes) if code]
        if bad:
            return min(bad)[1]
        if all(code == 0 for code in codes):
            return None
        time.sleep(POLL_S)


def _variables(rank: int, n_workers: int, port: int, n_cores: int) -> dict[str, str]:
    threads = str(max(1, n_cores // n_workers))
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_workers),
        "LOCAL_WORLD_SIZE": str(n_workers),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "NCCL_IB_DISABLE": "1",
        "NCCL_NVLS_ENABLE": "0",  # multicast needs devices that a sandbox does not pass on
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _share(cores: list[int], rank: int, n_workers: int) -> list[int]:
    """Cores of a worker; all of them where there are fewer than workers."""
    each = len(cores) // n_workers
    return cores[rank * each : (rank + 1) * each] or cores


def _pin(cores: list[int]) -> None:
    with contextlib.suppress(OSError):  # a sandbox may have pinned the trial and forbid the rest
        os.sched_setaffinity(0, cores)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _end(worker: subprocess.Popen[bytes]) -> str:
    code = worker.returncode
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
