"""The campaign on a bare node: checks, the verified table, going on, tuning, and the page."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from novum.benchmarks.kernels import wire
from novum.benchmarks.kernels.autotune import declared, settings_around
from novum.benchmarks.kernels.campaign.__main__ import files_of, in_order, main, parse
from novum.benchmarks.kernels.campaign.fleet import Fleet, Settings
from novum.benchmarks.kernels.campaign.records import read_records
from novum.benchmarks.kernels.phases import Phases
from novum.benchmarks.kernels.problem import SHIPPED, load_problems
from novum.benchmarks.kernels.timed import union
from novum.sandboxes.registry import find_sandbox

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch: pip install 'novum[train]'"
)
EAGER = Path(__file__).parents[1] / "benchmarks" / "kernels" / "start" / "eager"
QUICK = ["--gpus", "cpu", "--rounds", "2", "--processes", "1", "--calls", "3"]


@needs_torch
@pytest.mark.slow
def test_a_campaign_scores_goes_on_where_it_stopped_and_publishes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["score", str(out), *QUICK, "--solutions", str(EAGER), "--cache", str(tmp_path / "c")]
    assert main([*words, "--select", "newton_schulz"]) == 0
    (first,) = read_records(out / "results").values()
    assert [row.status for row in first.rows] == ["PASSED", "PASSED"]
    assert 0 < first.score <= 1 and first.overhead_s > 0
    assert {"start", "inputs", "rounds", "timing", "compare"} <= set(first.phases)
    capsys.readouterr()
    assert main([*words, "--select", "newton_schulz,topk_routing"]) == 0
    records = read_records(out / "results")
    assert set(records) == {"newton_schulz", "topk_routing"}
    assert records["newton_schulz"].at == first.at, "what was done is not done again"
    assert "1 of 2 problems are done" in capsys.readouterr().out
    page = tmp_path / "page"
    assert main(["publish", str(out), "--to", str(page)]) == 0
    text = (page / "README.md").read_text()
    assert "Nothing here is confirmed yet" in text and "Mean score" not in text
    capsys.readouterr()
    again = ["confirm", str(out), *QUICK, "--cache", str(tmp_path / "c")]
    assert main([*again, "--select", "newton_schulz"]) == 0
    second = read_records(out / "confirmed")["newton_schulz"]
    assert second.digest == first.digest and second.nonce != first.nonce
    assert main([*again, "--select", "newton_schulz,gemm"]) == 1
    assert "gemm: there is no whole result to confirm" in capsys.readouterr().out
    assert read_records(out / "confirmed")["newton_schulz"].at == second.at
    assert main(["publish", str(out), "--to", str(page)]) == 0
    text = (page / "README.md").read_text()
    assert f"Mean score **{second.score:.4f}** over 1 of 2 problems" in text
    assert (
        f"**Not confirmed: topk_routing**; counted as 0, the mean is {second.score / 2:.4f}" in text
    )
    assert "**not confirmed**" in text, "nor is its line a score"
    kept = json.loads((page / "evidence" / "newton_schulz.json").read_text())
    assert kept["nonce"] == second.nonce
    assert (page / "evidence" / "first" / "newton_schulz.json").is_file()
    assert "| newton_schulz | m=64, n=128 |" in text and "Mean score" in text
    assert (page / "solutions" / "topk_routing.py").read_bytes() == (
        EAGER / "topk_routing.py"
    ).read_bytes()
    lines = (page / "traces.jsonl").read_text().splitlines()
    assert len(lines) == 4 and json.loads(lines[0])["evaluation"]["status"] == "PASSED"


@needs_torch
@pytest.mark.slow
def test_evaluators_that_only_compiled_are_ended_and_the_others_go_on(tmp_path: Path) -> None:
    (problem,) = load_problems(SHIPPED, ["rmsnorm"], "cpu")
    settings = Settings(parallel=1, early=False, cache=tmp_path / "cache")
    with Fleet(tmp_path / "out", settings, find_sandbox("process").start) as fleet:
        (machine,) = fleet.machines
        both = [machine.take() for _ in range(2)]
        for evaluator in both:
            evaluator.station.open(problem)
            machine.give(evaluator)
        machine.keep(settings.parallel)
        ended, kept = both
        assert ended.is_broken and not kept.is_broken
        assert machine.take() is kept
        assert kept.bounds(problem)


@needs_torch
@pytest.mark.slow
def test_a_check_names_what_is_broken_in_a_few_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "solutions"
    broken.mkdir()
    (broken / "gemm.py").write_text("def run(a, b):\n    raise RuntimeError('not yet')\n")
    (broken / "rope.py").write_text("def run(")
    words = ["--solutions", str(broken), "--select", "gemm,rope", "--cache", str(tmp_path / "c")]
    assert main(["check", str(tmp_path / "out"), *QUICK, *words]) == 1
    said = capsys.readouterr().out
    assert "RuntimeError: not yet" in said and "not Python" in said
    assert "bad: gemm, rope" in said
    kept = json.loads((tmp_path / "out" / "check.json").read_text())
    assert {row["status"] for row in kept["gemm"]} == {"RUNTIME_ERROR"}


def test_problems_come_in_the_order_that_was_asked_for() -> None:
    problems = load_problems(select=["gemm", "rope", "softmax"])
    assert [p.name for p in in_order(problems, ["softmax", ""])] == ["softmax", "gemm", "rope"]


def test_a_later_folder_replaces_all_files_of_a_problem(tmp_path: Path) -> None:
    for name in ("old/gemm.py", "old/rope.py", "new/gemm.cu"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert set(files_of(f"{tmp_path}/old,{tmp_path}/new")) == {"rope.py", "gemm.cu"}
    with pytest.raises(SystemExit, match="no folder"):
        files_of(f"{tmp_path}/other")


def test_a_source_may_name_the_values_that_are_tried() -> None:
    source = 'BLOCK = 64\nWARPS = 4\nTUNE = {"BLOCK": (64, 128), "WARPS": [8], "OTHER": (1,)}\n'
    assert declared(source) == {"BLOCK": (64, 128), "WARPS": (8,)}
    assert settings_around(source, {}) == [{}, {"BLOCK": 128}, {"WARPS": 8}]
    assert settings_around(source, {"WARPS": 8}) == [{"WARPS": 8}, {"WARPS": 8, "BLOCK": 128}]
    assert {"WARPS": 8} in settings_around("WARPS = 4\n", {})
    assert declared("TUNE = {'A': open('x')}\n") == {}


def test_inner_phases_are_not_counted_twice() -> None:
    phases = Phases()
    with phases.phase("compare"), phases.phase("wait"):
        pass
    assert set(phases.seconds) == {"compare", "wait"}
    assert all(seconds >= 0 for seconds in phases.seconds.values())


def test_busy_time_counts_overlapping_kernels_once() -> None:
    assert union([(0, 4), (2, 5), (7, 8), (7.5, 7.75)]) == 6
    assert union([]) == 0


def test_mapped_memory_is_found_again_and_an_old_mapping_makes_room() -> None:
    maps = wire.Maps(most=2)
    memories = [wire.shared_memory(4096) for _ in range(3)]
    first = maps.get(memories[0], writable=True)
    first[0] = 7
    assert maps.get(memories[0], writable=True) is first
    for memory in memories[1:]:
        maps.get(memory, writable=True)
    again = maps.get(memories[0], writable=True)
    assert again is not first and again[0] == 7
    wire.close_all(memories)


def test_a_campaign_measures_cuda_solutions_in_place_of_triton_ones() -> None:
    from novum.benchmarks.kernels.build import check_flags
    from novum.benchmarks.kernels.candidate import solution_of
    from novum.benchmarks.kernels.solution import CompileOptions

    files = files_of(parse(["score", "out"]).solutions)
    for problem in load_problems(SHIPPED, ["*"], "cuda"):
        solution = solution_of(problem, files)
        assert solution.spec.is_cpp == (problem.name in {"layernorm", "rmsnorm", "quantize_int8"})
        if solution.spec.is_cpp:
            assert solution.spec.destination_passing_style
            check_flags(solution.spec.compile_options or CompileOptions())
            source = solution.files[solution.spec.entry_file].decode()
            sizes = problem.definition.sizes(problem.workloads[0].axes)
            assert f"constexpr int HIDDEN = {sizes['hidden']};" in source
