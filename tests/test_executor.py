"""Slots own cores, work waits its turn, and cancellation kills."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from novum.agents import runner
from novum.benchmarks.pack import load_pack
from novum.errors import GpuBusy, UsageError
from novum.sandboxes import Confinement, Exit, ExitCause
from novum.sandboxes import executor as executors
from novum.sandboxes.executor import Executor, make_slots, physical_cores
from novum.sandboxes.process import ProcessSandbox
from novum.sandboxes.slots import Slot, Stop
from novum.sandboxes.turns import take_turn


def test_slots_never_share_a_core() -> None:
    slots = make_slots(2, cores=range(7))
    assert [slot.cores for slot in slots] == [(0, 1), (2, 3), (4, 5)]
    with pytest.raises(UsageError, match="3 do"):
        make_slots(2, n_slots=4, cores=range(7))
    with pytest.raises(UsageError, match="do not fit"):
        make_slots(8, cores=range(4))


def test_slots_never_share_a_gpu() -> None:
    slots = make_slots(1, 2, cores=range(16), gpus=["a", "b", "c", "d", "e"])
    assert [slot.gpus for slot in slots] == [("a", "b"), ("c", "d")]


def test_siblings_of_one_physical_core_count_once(tmp_path: Path) -> None:
    for core in range(256):
        folder = tmp_path / f"cpu{core}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("all-one\n")
    assert len(physical_cores(tmp_path)) == 1
    assert len(physical_cores(tmp_path / "nothing")) >= 1


async def test_no_more_jobs_run_than_there_are_slots_and_each_has_its_own() -> None:
    lock, running, most, seen = threading.Lock(), set[int](), [0], list[int]()
    pair = threading.Barrier(2)  # each job meets one that runs beside it, however slow the start

    def work(slot: Slot) -> int:
        with lock:
            assert slot.index not in running
            running.add(slot.index)
            most[0] = max(most[0], len(running))
        pair.wait(120)
        with lock:
            running.remove(slot.index)
            seen.append(slot.index)
        return slot.cores[0]

    async with Executor(make_slots(1, cores=[4, 5])) as executor:
        cores = await asyncio.gather(*(executor.run(work) for _ in range(10)))
    assert most == [2]
    assert set(cores) == {4, 5} and len(seen) == 10


async def test_jobs_start_in_the_order_in_which_they_came() -> None:
    order: list[int] = []

    def work(i: int) -> Callable[[Slot], None]:
        return lambda _: order.append(i)

    async with Executor([Slot()]) as executor:
        await asyncio.gather(*(executor.run(work(i)) for i in range(20)))
    assert order == list(range(20))


async def test_a_gpu_that_another_process_measures_on_is_left_alone_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "take_turn", lambda gpus: take_turn(gpus, tmp_path))
    monkeypatch.setattr(executors, "RETRY_S", 0.02)
    lock = tmp_path / "novum-gpu-a.lock"
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2)"
    hold += "; print('held', flush=True)"
    hold += "; sys.stdin.read()"
    words = [sys.executable, "-c", hold, str(lock)]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdin is not None
    with other:
        assert other.stdout.readline() == "held\n"
        async with Executor(make_slots(1, 1, cores=[0, 1], gpus=["a", "b"])) as executor:
            ran = [await executor.run(lambda slot: slot.gpus[0]) for _ in range(3)]
            assert ran == ["b"] * 3
            go = threading.Event()
            blocked = asyncio.create_task(executor.run(lambda _: go.wait(120)))
            waiting = asyncio.create_task(executor.run(lambda slot: slot.gpus[0]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            other.stdin.close()
            assert await waiting == "a"
            go.set()
            await blocked
    held = take_turn(["a", "b"], tmp_path)
    assert held is not None, "both were given back"
    assert take_turn(["b", "c"], tmp_path) is None
    held.close()
    nowhere = take_turn(["a"], tmp_path / "missing")
    assert nowhere is not None, "a lock that cannot be made keeps nobody out"


async def test_a_trial_goes_to_another_gpu_while_a_stranger_uses_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = load_pack(Path(__file__).parent / "packs" / "toy")
    used: list[tuple[str, ...]] = []

    def require_free(gpus: tuple[str, ...]) -> None:
        used.append(gpus)
        if gpus == ("a",):
            raise GpuBusy("GPU a has 70.0 GiB in use\nEnd them.")

    monkeypatch.setattr(runner, "require_free", require_free)
    monkeypatch.setattr(runner, "BUSY_S", 0.01)
    async with Executor(make_slots(1, 1, cores=[0, 1], gpus=["a", "b"])) as executor:
        profile = pack.profile()
        grader = pack.grader(profile, tmp_path)
        local = runner.LocalRunner(pack, profile, grader, ProcessSandbox(), executor, tmp_path)
        slots: list[int] = []

        def nothing(slot: int) -> None:
            slots.append(slot)

        assert await local.run(nothing, "t1") is None
        assert used == [("a",), ("b",)] and slots == [1]
    async with Executor(make_slots(1, 1, cores=[0], gpus=["a"])) as executor:
        local = runner.LocalRunner(pack, profile, grader, ProcessSandbox(), executor, tmp_path)
        with pytest.raises(GpuBusy, match="GPU a has 70"):
            await local.run(nothing, "t2")
        assert slots == [1], "nothing was recorded"


async def test_the_view_names_what_runs() -> None:
    go = threading.Event()
    async with Executor(make_slots(1, cores=[0, 1])) as executor:
        job = asyncio.create_task(executor.run(lambda _: go.wait(120), label="trial 7"))
        await asyncio.sleep(0)
        assert [view.label for view in executor.slots] == ["trial 7", ""]
        go.set()
        await job
        assert [view.label for view in executor.slots] == ["", ""]


async def test_a_job_that_fails_gives_its_slot_back() -> None:
    def fail(slot: Slot) -> None:
        raise ZeroDivisionError

    async with Executor([Slot()]) as executor:
        with pytest.raises(ZeroDivisionError):
            await executor.run(fail)
        assert await executor.run(lambda _: "next") == "next"


async def test_a_cancelled_job_is_killed_and_its_slot_is_free_only_then() -> None:
    started = threading.Event()
    ended: list[Exit | None] = []

    def work(slot: Slot) -> None:
        code = "import time; time.sleep(300)"
        process = ProcessSandbox().start(Confinement(("python", "-c", code), Path("/")))
        with slot.stop.kills(process):
            started.set()
            ended.append(process.wait())

    async with Executor([Slot()]) as executor:
        job = asyncio.create_task(executor.run(work))
        waiting = asyncio.create_task(executor.run(lambda _: len(ended)))
        await asyncio.to_thread(started.wait, 120)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert await waiting == 1
    assert ended[0] is not None and ended[0].cause is ExitCause.KILLED


async def test_a_cancelled_wait_leaves_the_queue_in_order() -> None:
    go = threading.Event()
    async with Executor([Slot()]) as executor:
        first = asyncio.create_task(executor.run(lambda _: go.wait(120)))
        second = asyncio.create_task(executor.run(lambda _: "second"))
        third = asyncio.create_task(executor.run(lambda _: "third"))
        await asyncio.sleep(0)
        assert executor.n_waiting == 2
        second.cancel()
        go.set()
        await first
        assert await third == "third"
        assert second.cancelled()


def test_a_process_that_starts_after_the_stop_is_killed_too() -> None:
    stop = Stop()
    stop.set()
    code = "import time; time.sleep(300)"
    process = ProcessSandbox().start(Confinement(("python", "-c", code), Path("/")))
    with stop.kills(process):
        ended = process.wait(120)
    assert ended is not None and ended.cause is ExitCause.KILLED
