"""The devices of one machine, the evaluators on them, and the clock that bounds them all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter

from novum.benchmarks.kernels.evaluator import Evaluator
from novum.benchmarks.kernels.gate import Gate
from novum.benchmarks.kernels.parties import Launch, RefereeProcess, python_path
from novum.benchmarks.kernels.plan import Plan
from novum.benchmarks.kernels.roofline import Ceilings
from novum.sandboxes.protocol import Limits

Job = TypeVar("Job")
KEPT_VARIABLES = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_HOME",
    "CC",
    "CXX",
    "TRITON_INTERPRET",
    "NCCL_NVLS_ENABLE",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST",
    "NVSHMEM_DISABLE_NVLS",
)
GPU_LIMITS = Limits(
    wall_s=7200,
    memory_bytes=400 << 30,
    pids=16384,
    file_bytes=64 << 30,
    disk_bytes=64 << 30,
    output_bytes=1 << 20,
)
PAIRS = 2
"""See `Plan`. On a processor each pair is timed while its own inputs are warm."""
CEILINGS_S = 300
_CEILINGS = TypeAdapter(dict[str, Ceilings])


class Settings(BaseModel, frozen=True):
    """How a campaign measures, whatever it measures."""

    gpus: tuple[str, ...] = ()
    """Devices by index; none means the processor."""
    parallel: int = 8
    """Problems prepared side by side on each device."""
    compilers: int = 0
    """Things compiled side by side on each device; as many as problems, where 0."""
    seconds: float = 480.0
    """No new problem is begun after this."""
    rounds: int = 10
    processes: int = 5
    calls: int = 15
    early: bool = True
    """See `Plan`."""
    cache: Path = Path(tempfile.gettempdir()) / "novum-kernels"

    @property
    def device(self) -> str:
        """The device as every process sees it: each sees one."""
        return "cuda:0" if self.gpus else "cpu"

    def plan(self, gpu: str) -> Plan:
        """The plan for one device."""
        kept = {k: os.environ[k] for k in KEPT_VARIABLES if k in os.environ}
        threads = 2 if self.gpus else 1
        return Plan(
            device=self.device,
            rounds=self.rounds,
            processes=self.processes,
            calls=self.calls,
            warmups=1,
            threads=threads,
            early=self.early,
            profile=bool(self.gpus),
            pairs=PAIRS if self.gpus else 1,
            load_s=90,
            stage_s=90,
            reference_s=90,
            call_s=40,
            compile_threads=4 if self.gpus else 1,
            limits=GPU_LIMITS,
            gpus=(gpu,) if self.gpus else (),
            env=kept | {"OMP_NUM_THREADS": str(threads)},
            cache=self.cache / ("gpu" if self.gpus else "cpu"),
        )


@dataclass
class Machine:
    """One device with its gate; evaluators are made as threads need them and kept."""

    gpu: str
    plan: Plan
    launch: Launch
    ceilings: Ceilings
    stack: ExitStack
    gate: Gate = field(default_factory=Gate)
    _idle: list[Evaluator] = field(default_factory=list)
    _owned: dict[int, ExitStack] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> Evaluator:
        """An evaluator for one thread, with its own referee and sandboxes."""
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if not found.is_broken:
                    return found
        env = {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}
        kept = {k: v for k, v in self.plan.env.items() if k != "PATH"}
        referee = RefereeProcess(self.plan.device, self.plan.threads, kept | env)
        made = Evaluator(self.plan, self.launch, referee, self.ceilings, self.gate)
        with self._lock:
            owned = self._owned[id(made)] = self.stack.enter_context(ExitStack())
            owned.enter_context(referee)
            owned.enter_context(made)
        return made

    def give(self, evaluator: Evaluator) -> None:
        """Hand an evaluator back."""
        with self._lock:
            self._idle.append(evaluator)

    def keep(self, count: int) -> None:
        """End all idle evaluators but so many: their referees hold memory of the device."""
        with self._lock:
            while len(self._idle) > count:
                self._owned.pop(id(self._idle.pop(0))).close()


class Fleet:
    """All devices; a context manager that ends every process."""

    def __init__(self, out: Path, settings: Settings, launch: Launch) -> None:
        self.out = out
        self.settings = settings
        self.began_s = time.monotonic()
        self.lock = threading.Lock()
        self._stack = ExitStack()
        out.mkdir(parents=True, exist_ok=True)
        names = settings.gpus or ("",)
        ceilings = self._ceilings(names)
        self.machines = [
            Machine(gpu, settings.plan(gpu), launch, ceilings[gpu], self._stack) for gpu in names
        ]

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def left_s(self) -> float:
        """Seconds until nothing new is begun."""
        return self.settings.seconds - (time.monotonic() - self.began_s)

    def say(self, text: str) -> None:
        """One line of progress with its time."""
        print(f"[{time.monotonic() - self.began_s:6.1f}] {text}", flush=True)

    def each(
        self,
        jobs: Sequence[Job],
        work: Callable[[Evaluator, Job], None],
        until_s: float = 0.0,
        parallel: int = 0,
        **changes: object,
    ) -> list[Job]:
        """Run `work` on every job, several side by side on each device (as many as problems, where
        `parallel` says nothing else); `changes` are of the plan.

        Gives the jobs that were not begun because only `until_s` seconds were left.
        """
        queue = deque(jobs)
        threads = [
            threading.Thread(target=self._serve, args=(machine, queue, work, until_s, changes))
            for _ in range(min(parallel or self.settings.parallel, len(jobs)))
            for machine in self.machines
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return list(queue)

    def _serve(
        self,
        machine: Machine,
        queue: deque[Job],
        work: Callable[[Evaluator, Job], None],
        until_s: float,
        changes: Mapping[str, object],
    ) -> None:
        evaluator: Evaluator | None = None
        while self.left_s > until_s:
            with self.lock:
                if not queue:
                    break
                job = queue.popleft()
            try:
                if evaluator is None or evaluator.is_broken:
                    evaluator = machine.take()
                plan = replace(machine.plan, **changes)  # type: ignore[arg-type]
                with evaluator.under(plan):
                    work(evaluator, job)
            except Exception:
                self.say(f"{getattr(job, 'name', job)}: {traceback.format_exc()[-1200:]}")
        if evaluator is not None:
            machine.give(evaluator)

    def _ceilings(self, gpus: Sequence[str]) -> dict[str, Ceilings]:
        """Ceilings of every device, measured at once in processes of their own, or known."""
        path = self.out / "ceilings.json"
        known = _CEILINGS.validate_json(path.read_bytes()) if path.is_file() else {}
        keys = {gpu: identity(gpu) for gpu in gpus}
        missing = [gpu for gpu in gpus if keys[gpu] not in known]
        started = [(gpu, self._measure(gpu)) for gpu in missing]
        for gpu, process in started:
            said, wrong = process.communicate(timeout=CEILINGS_S)
            if process.returncode:
                raise SystemExit(f"the ceilings could not be measured: {wrong[-2000:]}")
            found = Ceilings.model_validate_json(said.strip().splitlines()[-1])
            known[keys[gpu]] = found
            self.say(f"ceilings {gpu} {found.model_dump_json()}")
        path.write_bytes(_CEILINGS.dump_json(known, indent=1))
        return {gpu: known[keys[gpu]] for gpu in gpus}

    def _measure(self, gpu: str) -> subprocess.Popen[str]:
        threads = "2" if gpu else "1"
        argv = [sys.executable, "-m", "novum.benchmarks.kernels.ceilings"]
        env = dict(os.environ) | {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": threads}
        return subprocess.Popen(
            [*argv, self.settings.device, threads],
            env=env | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def identity(gpu: str) -> str:
    """A name that no other device has; the host's where there is no driver to ask."""
    if gpu:
        try:
            argv = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader", "-i", gpu]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return f"{os.uname().nodename} {gpu or 'cpu'}"
