"""OpenEvolve itself on a landscape, in a process of its own.

Its database, islands, prompts and process pool are its defaults, with one worker; only trials and
the language model are played (`bench.py`), and whole programs are asked for in place of diffs. It
ends when the same trials are spent that the other policies have. It sets up logging and signal
handlers for its whole process and leaves them, hence the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from novum.errors import OperatorError, UsageError
from novum.evals.suites.rivals.bench import Bench, read, served, write
from novum.evals.suites.simulated.campaign import Outcome
from novum.evals.suites.simulated.landscapes import CRASH_COST
from novum.evals.suites.surrogate.named import truth

NAME = "openevolve"
START_S, TRIAL_S = 120.0, 5.0
"""Patience for the start and for each trial, in seconds, on a busy machine."""
POLL_S = 0.02
EVALUATOR = """
import json
from urllib.request import ProxyHandler, Request, build_opener


def evaluate(program_path, url):
    with open(program_path) as file:
        asked = json.dumps({"program": file.read()}).encode()
    opener = build_opener(ProxyHandler({}))
    with opener.open(Request(url, asked), timeout=60) as reply:
        return json.load(reply)
"""


def campaign(name: str, budget: int, repeat: int) -> Outcome:
    """One search by OpenEvolve on the landscape of a name.

    Raises:
        UsageError: OpenEvolve is not installed.
        OperatorError: Its process failed or did not end.
    """
    if find_spec("openevolve") is None:
        raise UsageError(
            "OpenEvolve is not installed; `pip install 'novum[openevolve]'` brings it for this "
            "comparison."
        )
    command = [sys.executable, "-m", __name__, name, str(budget), str(repeat)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1"
    patience = START_S + TRIAL_S * budget
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, env=environment
        )
    except subprocess.TimeoutExpired as late:
        raise OperatorError(f"OpenEvolve did not end within {patience:.0f} s.") from late
    if done.returncode:
        raise OperatorError(f"OpenEvolve failed:\n{done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str]) -> int:
    """Play one campaign and print its outcome as a line of JSON."""
    name, budget, repeat = arguments[0], int(arguments[1]), int(arguments[2])
    landscape = truth(name, repeat)
    rng = Random(f"{name}/{landscape.seed}/{repeat}/{budget}/{NAME}")
    bench = Bench(landscape, budget, rng)
    with served(bench) as url, tempfile.TemporaryDirectory(prefix="novum-openevolve-") as folder:
        program, wall_s, cpu_s = asyncio.run(_evolve(bench, url, Path(folder), repeat))
    ideas = read(program.code)
    gain = float(landscape.value(ideas))
    n_ideas = max(bench.n_measured - 1, 1)
    outcome = Outcome(
        policy=NAME,
        landscape=name,
        budget=budget,
        seed=repeat,
        true_gain=gain,
        claimed=program.metrics["combined_score"] - (bench.start or 0.0) if ideas else None,
        n_kept=bench.n_kept,
        n_false_kept=bench.n_false_kept,
        cost=bench.cost,
        n_ideas=bench.n_measured - 1,
        head_gain=gain,
        own_ms=1e3 * (wall_s - bench.busy_s) / n_ideas,
        own_cpu_ms=1e3 * (cpu_s - bench.busy_cpu_s) / n_ideas,
    )
    print(json.dumps({name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}))
    return 0


async def _evolve(bench: Bench, url: str, folder: Path, seed: int) -> tuple[Any, float, float]:
    """Its best program, and the seconds and CPU seconds of its run and its worker."""
    from openevolve import OpenEvolve

    (folder / "program.py").write_text(write(frozenset()))
    (folder / "evaluator.py").write_text(EVALUATOR)
    evolution = OpenEvolve(
        str(folder / "program.py"), str(folder / "evaluator.py"), settings(url, seed), str(folder)
    )
    wall, cpu = time.perf_counter(), _cpu_s()
    stop = asyncio.create_task(_stop_once_spent(evolution, bench))
    # The most programs that a budget can pay for; the budget ends the run before.
    program = await evolution.run(iterations=int(bench.budget / CRASH_COST))
    stop.cancel()
    return program, time.perf_counter() - wall, _cpu_s() - cpu


def settings(url: str, seed: int) -> Any:
    """Its defaults but for what the comparison needs: an `openevolve.config.Config`."""
    from openevolve.config import Config

    return Config.from_dict(
        {
            "random_seed": seed,
            "language": "python",
            "diff_based_evolution": False,
            "max_code_length": 1_000_000,  # the list of ideas may grow
            "llm": {
                "api_base": f"{url}/v1",
                "api_key": "none",
                "models": [{"name": "stub"}],
                "retries": 0,
            },
            "evaluator": {
                "cascade_evaluation": False,
                "parallel_evaluations": 1,
                "evaluator_args": {"url": f"{url}/measure"},
            },
        }
    )


async def _stop_once_spent(evolution: Any, bench: Bench) -> None:
    """End the run when the budget is spent and the last trial has reached its database."""
    while not bench.is_spent:
        await asyncio.sleep(POLL_S)
    while evolution.database.last_iteration < bench.n_measured - 1:
        await asyncio.sleep(POLL_S)
    if evolution.parallel_controller is not None:
        evolution.parallel_controller.request_shutdown()


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(x.ru_utime + x.ru_stime for x in used)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
