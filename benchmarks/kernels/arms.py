"""The sandboxes of both arms, and fresh processes in them with a solution loaded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

from novum.benchmarks.kernels.build import MODULE, build
from novum.benchmarks.kernels.gate import Gate
from novum.benchmarks.kernels.parties import Launch, Party, PartyFailed
from novum.benchmarks.kernels.plan import Plan
from novum.benchmarks.kernels.solution import Solution
from novum.benchmarks.kernels.workers import Workers


class Arms:
    """One sandbox for each arm, started when it is first needed; safe for several threads."""

    def __init__(
        self,
        plan: Plan,
        launch: Launch,
        gate: Gate,
        architecture: Callable[[], str] = lambda: "",
    ) -> None:
        self.plan = plan
        self._launch = launch
        self._gate = gate
        self._architecture = architecture
        self._servers: dict[str, Workers] = {}
        self._built: dict[str, dict[str, bytes]] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """Destroy all sandboxes."""
        for workers in self._servers.values():
            workers.__exit__()
        self._servers.clear()

    def server(self, arm: str) -> Workers:
        """The sandbox of an arm; a new one where the last has died."""
        plan = self.plan
        with self._lock:
            known = self._servers.get(arm)
            if known is not None and not known.is_running:
                self._drop(arm)
                known = None
            if known is None:
                known = self._servers[arm] = Workers(
                    self._launch,
                    device=plan.device,
                    limits=plan.limits,
                    cores=plan.cores,
                    gpus=plan.gpus,
                    env=plan.env,
                    threads=plan.threads,
                    early=plan.early,
                    cache=plan.cache / arm if plan.cache is not None else None,
                )
            return known

    def _drop(self, arm: str) -> None:
        """Take down the sandbox of an arm."""
        self._servers.pop(arm).__exit__()

    def renew(self, arm: str) -> None:
        """Take down the sandbox of an arm with whatever still runs in it."""
        with self._lock:
            if arm in self._servers:
                self._drop(arm)

    def fork(self, arm: str, compile_threads: int = 1) -> Party:
        """A fresh child in the sandbox of an arm.

        A sandbox that an earlier candidate has killed may still be dying. Nothing of the next one
        has run by then, so that one is not to blame: it gets a new sandbox.

        Raises:
            PartyFailed: a new sandbox does not start either.
        """
        has_served = arm in self._servers
        try:
            return self.server(arm).fork(compile_threads)
        except PartyFailed:
            if not has_served:
                raise
        self.renew(arm)
        return self.server(arm).fork(compile_threads)

    @contextmanager
    def paused(self, arm: str) -> Iterator[None]:
        """What runs in the sandbox of an arm stands still.

        Raises:
            PartyFailed: something does not stop, or the sandbox is gone.
        """
        known = self._servers.get(arm)
        with known.paused() if known is not None else nullcontext():
            yield

    def files(self, solution: Solution) -> Mapping[str, bytes]:
        """What a worker needs of a solution; C++ is compiled, once.

        Raises:
            BuildFailed: it cannot be.
        """
        if not solution.spec.is_cpp:
            return solution.files
        key = self._key(solution)
        if key not in self._built:
            self._built[key] = self._compiled(solution, key)
        return self._built[key]

    def _key(self, solution: Solution) -> str:
        """Names what a worker gets of a solution: the format's own digest leaves out the flags."""
        if not solution.spec.is_cpp:
            return solution.digest()
        options = solution.spec.compile_options
        flags = options.model_dump_json() if options is not None else ""
        also = hashlib.sha256(f"{flags} {self._architecture()}".encode()).hexdigest()
        return f"{solution.digest()}-{also[:12]}"

    def _compiled(self, solution: Solution, key: str) -> dict[str, bytes]:
        """The extension module, from the cache where it was built before; no candidate sees it
        there.
        """
        name = f"{MODULE}.so"
        if self.plan.cache is None:
            return build(solution, self._launch, self._architecture())
        path = self.plan.cache / "built" / f"{key}.so"
        if not path.is_file():
            content = build(solution, self._launch, self._architecture())[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            partial.write_bytes(content)
            partial.replace(path)
        return {name: path.read_bytes()}

    def load(self, child: Party, arm: str, solution: Solution, *, free: bool = False) -> None:
        """Import a solution in a child; `free` does not keep others from being timed.

        Raises:
            PartyFailed: it does not import or compile.
        """
        spec = solution.spec
        folder = self.server(arm).add(self._key(solution), self.files(solution))
        message = {
            "do": "load",
            "folder": str(folder),
            "file": f"{MODULE}.so" if spec.is_cpp else spec.entry_file,
            "module": MODULE if spec.is_cpp else "",
            "function": spec.entry_function,
            "returns": not spec.destination_passing_style,
        }
        with self._gate.shared(free):
            child.ask(message, timeout_s=self.plan.load_s)

    def child(self, arm: str, solution: Solution, *, compile_threads: int = 1) -> Party:
        """A fresh process with the solution loaded; it may compile at leisure with more threads.

        Raises:
            PartyFailed: it does not start, import or compile.
        """
        child = self.fork(arm, compile_threads)
        try:
            self.load(child, arm, solution, free=compile_threads > 1)
        except PartyFailed:
            child.close()
            raise
        return child
