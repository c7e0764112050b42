"""The files of SOL-ExecBench: every feature is read, written unchanged, and contradictions are
refused.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.dtypes import DTYPES
from novum.benchmarks.kernels.expressions import ExpressionError, evaluate, holds
from novum.benchmarks.kernels.problem import (
    SHIPPED,
    load_problem,
    load_problems,
    read_workloads,
    write_lines,
)
from novum.benchmarks.kernels.solution import (
    CPP_LANGUAGES,
    CPP_SUFFIXES,
    PYTHON_LANGUAGES,
    Solution,
)
from novum.benchmarks.kernels.trace import Status, Trace
from novum.benchmarks.kernels.workload import Workload
from novum.errors import PackError, UnknownName

names = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
texts = st.none() | st.text(max_size=12)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """A definition with axes of all three kinds, tensors of all types, scalars and 0-d tensors."""
    axes: dict[str, Any] = {"n0": {"type": "var"}}
    for i in range(draw(st.integers(0, 3))):
        axes[f"c{i}"] = {"type": "const", "value": draw(st.integers(0, 64)), "description": None}
    for i in range(draw(st.integers(0, 2))):
        left, right = draw(st.sampled_from(sorted(axes))), draw(st.integers(1, 9))
        sign = draw(st.sampled_from(["+", "*"]))
        axes[f"e{i}"] = {"type": "expr", "expression": f"({left} {sign} {right})"}
    shapes = st.none() | st.lists(st.sampled_from([*sorted(axes), "3"]), max_size=3)
    tensor = st.fixed_dictionaries(
        {"shape": shapes, "dtype": st.sampled_from(DTYPES)}, optional={"description": texts}
    )
    inputs = {f"x_{k}": v for k, v in draw(st.dictionaries(names, tensor, max_size=3)).items()}
    outputs = {
        f"y_{k}": v for k, v in draw(st.dictionaries(names, tensor, min_size=1, max_size=2)).items()
    }
    code = f"import torch\n\ndef run({', '.join(inputs)}):\n    pass\n"
    if draw(st.booleans()):
        code += "\ndef make(axes, device):\n    return {}\n"
    return {
        "name": draw(names),
        "op_type": draw(st.none() | names),
        "axes": axes,
        "inputs": inputs,
        "outputs": outputs,
        "reference": code,
        "custom_inputs_entrypoint": "make" if "def make" in code else None,
        "constraints": draw(
            st.sampled_from([None, [], ["n0 >= 0"], ["n0 % 1 == 0 and n0 < 10**9"]])
        ),
        "tags": ["status:verified"],
    }


@settings(max_examples=30, deadline=None)
@given(definitions())
def test_a_definition_survives_writing_and_reading(fields: dict[str, Any]) -> None:
    first = Definition.model_validate(fields)
    again = Definition.model_validate_json(first.model_dump_json())
    assert again == first
    assert list(again.inputs) == list(fields["inputs"])
    assert again.model_extra == {"tags": ["status:verified"]}
    sizes = first.sizes({"n0": 7})
    assert sizes["n0"] == 7 and set(sizes) == set(fields["axes"])


sources = st.one_of(
    st.just({"type": "random"}),
    st.builds(
        lambda v: {"type": "scalar", "value": v},
        st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(lambda p, k: {"type": "safetensors", "path": p, "tensor_key": k}, names, names),
)
tolerances = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "max_atol": st.floats(0, 1),
        "max_rtol": st.floats(0, 1),
        "required_matched_ratio": st.floats(0, 1),
        "max_error_cap": st.none() | st.floats(0, 10),
        "allow_negative_inf": st.booleans(),
    },
)


@settings(max_examples=30, deadline=None)
@given(
    st.uuids(),
    st.dictionaries(names, st.integers(0, 1 << 20)),
    st.dictionaries(names, sources),
    tolerances,
)
def test_a_workload_survives_writing_and_reading(
    uuid: object, axes: dict[str, int], inputs: dict[str, Any], tolerance: dict[str, Any] | None
) -> None:
    fields = {"uuid": str(uuid), "axes": axes, "inputs": inputs, "tolerance": tolerance}
    first = Workload.model_validate(fields)
    again = Workload.model_validate_json(first.model_dump_json())
    assert again == first
    for name, source in first.scalars.items():
        assert type(source) is type(inputs[name]["value"])


@settings(max_examples=30, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 50), st.integers(0, 6))
def test_expressions_mean_what_python_means(a: int, b: int, p: int) -> None:
    axes = {"a": a, "b": b, "p": p}
    for text in ("a + b * 2", "-(a - b)", "a // b", "a % b", "b ** p", "max(a, b) + min(a, p)"):
        assert evaluate(text, axes) == eval(text, dict(axes))
    assert evaluate("a * b / b", axes) == a
    for text in ("a < b", "a == a and not a != a", "0 <= p <= 6", "a > b or b >= a"):
        assert holds(text, axes) == eval(text, dict(axes))


@pytest.mark.parametrize(
    "text",
    [
        "a / 3",
        "a // 0",
        "b",
        "a ** 99",
        "a.real",
        "__import__('os')",
        "[1]",
        "a +",
        "'x'",
        "a ** 62 ** 9",
    ],
)
def test_an_expression_that_gives_no_size_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, {"a": 10})


def base() -> dict[str, Any]:
    """A definition that is right."""
    return {
        "name": "add",
        "axes": {"n": {"type": "var"}, "m": {"type": "expr", "expression": "n * 2"}},
        "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
        "outputs": {"y": {"shape": ["m"], "dtype": "float32"}},
        "reference": "def run(x):\n    return x\n",
        "constraints": ["m == 2 * n"],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"reference": "def go(x): pass"}, "no top-level function"),
        ({"reference": "def run(y): pass"}, "the inputs are"),
        ({"reference": "def run("}, "not Python"),
        ({"custom_inputs_entrypoint": "make"}, "custom_inputs_entrypoint"),
        ({"axes": {"n": {"type": "var"}}}, "not defined"),
        (
            {
                "axes": {
                    "n": {"type": "expr", "expression": "m"},
                    "m": {"type": "expr", "expression": "n"},
                }
            },
            "circle",
        ),
        (
            {"axes": {"x": {"type": "var"}, "n": {"type": "var"}, "m": {"type": "var"}}},
            "inputs and axes",
        ),
        ({"outputs": {"x": {"shape": ["n"], "dtype": "float32"}}}, "inputs and outputs"),
        ({"constraints": ["k == 2"]}, "not axes"),
        ({"inputs": {"x": {"shape": ["n"], "dtype": "float31"}}}, "dtype"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        Definition.model_validate(base() | change)


def test_a_constraint_that_fails_and_a_missing_axis_are_named() -> None:
    definition = Definition.model_validate(base() | {"constraints": ["n % 2 == 0"]})
    assert definition.sizes({"n": 4}) == {"n": 4, "m": 8}
    with pytest.raises(ExpressionError, match="n % 2 == 0"):
        definition.sizes({"n": 3})
    with pytest.raises(ExpressionError, match="no value for the axes"):
        definition.sizes({})


def solution(**spec: Any) -> dict[str, Any]:
    """A solution file."""
    fields = {
        "languages": ["triton"],
        "target_hardware": ["B200", "LOCAL"],
        "entry_point": "a.py::run",
    }
    entry = spec.get("entry_point", "a.py::run").split("::")[0]
    return {
        "name": "s",
        "definition": "add",
        "author": "someone",
        "spec": fields | spec,
        "sources": [{"path": entry, "content": "x = 1\n"}],
    }


def test_a_solution_survives_and_older_files_are_read() -> None:
    first = Solution.model_validate(
        solution(destination_passing_style=False, dependencies=["torch"])
    )
    again = Solution.model_validate_json(first.model_dump_json())
    assert again == first and again.digest() == first.digest()
    old = solution(entry_point="k.cu::run")
    del old["spec"]["languages"]
    old["spec"]["language"] = "cuda"
    assert Solution.model_validate(old).spec.is_cpp


@st.composite
def solutions(draw: st.DrawFn) -> dict[str, Any]:
    """A solution in one or more languages of one family, with files beside the entry."""
    is_cpp = draw(st.booleans())
    known = CPP_LANGUAGES if is_cpp else PYTHON_LANGUAGES
    suffix = draw(st.sampled_from(CPP_SUFFIXES)) if is_cpp else ".py"
    entry = f"src/{draw(names)}{suffix}"
    flags = st.lists(names.map(lambda name: f"-D{name}"), max_size=2)
    options = st.fixed_dictionaries(
        {}, optional={"cflags": flags, "cuda_cflags": flags, "ld_flags": flags}
    )
    spec = {
        "languages": draw(st.lists(st.sampled_from(known), min_size=1, unique=True)),
        "target_hardware": draw(st.lists(st.sampled_from(["B200", "LOCAL"]), min_size=1)),
        "entry_point": f"{entry}::{draw(names)}",
        "dependencies": draw(st.lists(names, max_size=2)),
        "destination_passing_style": draw(st.booleans()),
        "binding": draw(st.sampled_from([None, "torch"])),
        "compile_options": draw(st.none() | options),
    }
    others = draw(st.dictionaries(names, st.text(min_size=1, max_size=20), max_size=2))
    sources = [{"path": entry, "content": draw(st.text(min_size=1, max_size=20))}]
    sources += [{"path": f"include/{k}.h", "content": v} for k, v in others.items()]
    found = {"name": draw(names), "definition": "add", "author": draw(names)}
    return found | {"description": draw(texts), "spec": spec, "sources": sources}


@settings(max_examples=40, deadline=None)
@given(solutions())
def test_a_solution_of_any_language_survives_writing_and_reading(fields: dict[str, Any]) -> None:
    first = Solution.model_validate(fields)
    again = Solution.model_validate_json(first.model_dump_json())
    assert again == first and again.digest() == first.digest()
    assert first.spec.is_cpp == (fields["spec"]["languages"][0] in CPP_LANGUAGES)
    assert first.files[first.spec.entry_file].decode() == fields["sources"][0]["content"]
    changed = first.model_copy(update={"name": first.name + "x"})
    assert changed.digest() != first.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"languages": ["triton", "cuda_cpp"]},
        {"languages": []},
        {"languages": ["fortran"]},
        {"entry_point": "a.py"},
        {"entry_point": "a.cu::run"},
        {"languages": ["cuda_cpp"]},
    ],
)
def test_a_solution_that_cannot_be_built_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Solution.model_validate(solution(**change))


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.py", "b/../../a.py", "a\\..\\b.py"])
def test_a_source_outside_of_the_solution_is_refused(path: str) -> None:
    fields = solution()
    fields["sources"].append({"path": path, "content": "x"})
    with pytest.raises(ValidationError, match="leaves the solution"):
        Solution.model_validate(fields)


def trace(status: str, **parts: Any) -> dict[str, Any]:
    """A trace line."""
    evaluation = {"status": status, "environment": {"hardware": "H100"}, "timestamp": "2026-01-01"}
    workload = {"uuid": "u", "axes": {}, "inputs": {}}
    return {
        "definition": "d",
        "workload": workload,
        "solution": "s",
        "evaluation": evaluation | parts,
    }


@pytest.mark.parametrize("status", [s.value for s in Status])
def test_a_trace_has_the_parts_that_its_status_allows(status: str) -> None:
    correct: dict[str, Any] = {"correctness": {"max_absolute_error": 0.5}}
    timed: dict[str, Any] = {
        "performance": {"latency_ms": 1.0, "reference_latency_ms": 2.0, "speedup_factor": 2.0}
    }
    allowed = {"PASSED": correct | timed, "INCORRECT_NUMERICAL": correct}.get(status, {})
    for parts in ({}, correct, timed, correct | timed):
        if parts == allowed:
            line = Trace.model_validate(trace(status, **parts))
            assert Trace.model_validate_json(line.model_dump_json()) == line
        else:
            with pytest.raises(ValidationError):
                Trace.model_validate(trace(status, **parts))


numbers = st.floats(0, 1e9) | st.just(math.inf)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([s.value for s in Status]),
    st.tuples(numbers, numbers, st.booleans(), st.booleans()),
    st.dictionaries(names, st.floats(0, 1e3) | st.text(max_size=5), max_size=3),
)
def test_a_trace_survives_writing_and_reading(
    status: str, errors: tuple[float, float, bool, bool], more: dict[str, Any]
) -> None:
    keys = ("max_relative_error", "max_absolute_error", "has_nan", "has_inf")
    correct: dict[str, Any] = {"correctness": dict(zip(keys, errors, strict=True))}
    correct["correctness"]["extra"] = more
    timed = {
        "performance": {"latency_ms": 1.5, "speedup_factor": 2.0}
        | {"p_" + k: v for k, v in more.items()}
    }
    parts = {"PASSED": correct | timed, "INCORRECT_NUMERICAL": correct}.get(status, {})
    first = Trace.model_validate(trace(status, **parts))
    assert Trace.model_validate_json(first.model_dump_json()) == first


def test_older_traces_with_nan_are_read_and_negative_errors_are_refused() -> None:
    line = trace("INCORRECT_NUMERICAL", correctness={"max_absolute_error": "NaN"})
    found = Trace.model_validate(line).evaluation
    assert found is not None and found.correctness is not None
    assert math.isnan(found.correctness.max_absolute_error)
    with pytest.raises(ValidationError, match="not negative"):
        Trace.model_validate(trace("INCORRECT_NUMERICAL", correctness={"max_absolute_error": -1}))


def test_every_shipped_problem_is_whole() -> None:
    problems = load_problems()
    assert len(problems) >= 24
    for problem in problems:
        assert len(problem.workloads) >= 3, problem.name
        assert problem.definition.reference == (problem.folder / "reference.py").read_text()
        for workload in (*problem.workloads, *load_problem(problem.folder, "cpu").workloads):
            assert workload.tolerance.max_error_cap is not None, problem.name
    assert [p.name for p in load_problems(select=["rope"])] == ["rope"]
    with pytest.raises(UnknownName, match="rmsnorm"):
        load_problems(select=["nothing"])


def write_problem(folder: Path, lines: list[dict[str, Any]]) -> Path:
    """A problem of somebody else's, in a subset of a benchmark."""
    folder.mkdir(parents=True)
    (folder / "definition.json").write_text(json.dumps(base()))
    (folder / "workload.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_a_folder_of_the_format_is_a_benchmark_as_it_is(tmp_path: Path) -> None:
    line = {"uuid": "u", "axes": {"n": 4}, "inputs": {"x": {"type": "random"}}}
    write_problem(tmp_path / "L1" / "add", [line])
    write_problem(
        tmp_path / "L2" / "add2",
        [{"definition": "add", "workload": line, "solution": None, "evaluation": None}],
    )
    assert [p.name for p in load_problems(tmp_path)] == ["add", "add2"]
    assert [p.name for p in load_problems(tmp_path, ["L2/*"])] == ["add2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"uuid": "u", "axes": {}, "inputs": {"x": {"type": "random"}}}, "no value for the axes"),
        ({"uuid": "u", "axes": {"n": 4}, "inputs": {}}, "no source for"),
        (
            {"uuid": "u", "axes": {"n": 4}, "inputs": {"x": {"type": "scalar", "value": 1}}},
            "scalar in one file",
        ),
        ({"uuid": "u", "axes": {"n": 4}, "inputs": {"x": {"type": "custom"}}}, "makes no inputs"),
        (
            {"uuid": "u", "axes": {"n": -4}, "inputs": {"x": {"type": "random"}}},
            "greater than or equal",
        ),
        ("not an object", "line 1"),
    ],
)
def test_a_workload_that_does_not_fit_names_file_and_line(
    tmp_path: Path, line: Any, reason: str
) -> None:
    folder = write_problem(tmp_path / "add", [line])
    with pytest.raises(PackError, match=reason):
        load_problem(folder)


def test_lines_are_written_as_they_are_read(tmp_path: Path) -> None:
    problem = load_problems(select=["rmsnorm"])[0]
    write_lines(tmp_path / "w.jsonl", problem.workloads)
    assert read_workloads(tmp_path / "w.jsonl", problem.definition) == problem.workloads
    assert (SHIPPED / "rmsnorm" / "workload.jsonl").read_text() == (
        tmp_path / "w.jsonl"
    ).read_text()


def test_names_keep_what_they_promise_in_every_family() -> None:
    torch = pytest.importorskip("torch")
    from novum.benchmarks.kernels.inputs import FAMILIES, random_tensor

    for family in ("base", *FAMILIES):

        def drawn(name: str, *shape: int, family: str = family) -> Any:
            return random_tensor(name, shape, "float32", family, {"n": 8}, "cpu")

        assert bool((drawn("rstd", 64) > 0).all()) and bool((drawn("A_log", 64) < 0).all())
        assert bool((drawn("rope_cos", 8, 8).abs() <= 1).all())
        assert torch.allclose(drawn("routing_weights", 4, 8).sum(-1), torch.ones(4))
        assert set(drawn("text_mask", 4, 8).unique().tolist()) <= {0.0, 1.0}
        causal = drawn("attention_mask", 2, 8, 8)
        assert bool((causal.triu(1) <= 0).all()) and bool((causal.tril() == 0).all())
        assert bool((drawn("A_cumsum", 2, 9).diff() <= 0).all())


def test_a_packed_tensor_is_read_by_bytes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from novum.benchmarks.kernels.safetensors import read_tensor
    from novum.benchmarks.kernels.tensors import numbers as as_numbers

    head = json.dumps({"t": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]}}).encode()
    raw = bytes([0x21, 0xF7, 0x80, 0x00])
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + raw)
    found = read_tensor([str(tmp_path / "nothing"), str(tmp_path)], "b/a.safetensors", "t")
    assert found.dtype is torch.float4_e2m1fn_x2 and tuple(found.shape) == (2, 2)
    assert as_numbers(found).tolist() == [0.5, 1.0, 6.0, -6.0, 0.0, -0.0, 0.0, 0.0]


def test_a_safetensors_file_is_read_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from novum.benchmarks.kernels.safetensors import read_tensor

    wanted = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
    raw = wanted.view(torch.int16).numpy().tobytes()
    head = json.dumps(
        {"t": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, len(raw)]}}
    ).encode()
    file = struct.pack("<Q", len(head)) + head + raw
    (tmp_path / "a.safetensors").write_bytes(file)
    assert torch.equal(read_tensor([str(tmp_path)], "a.safetensors", "t"), wanted)
    (tmp_path / "b.safetensors").write_bytes(file[:-2])
    for path, key, reason in (
        ("a.safetensors", "u", "no readable tensor"),
        ("b.safetensors", "t", "cut short"),
        ("../x", "t", "leaves"),
        ("c", "t", "no file"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_tensor([str(tmp_path)], path, key)
