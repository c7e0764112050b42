"""A candidate of this pack: a folder with one solution for each problem.

rmsnorm.py                a Python solution; `run` takes the inputs and returns the outputs, or
                          takes inputs and outputs and fills the outputs
rmsnorm.cu                a CUDA C++ solution with a PyTorch binding of `run(inputs, outputs)`; it
                          counts before a Python solution, so that it can be laid beside a start
rmsnorm/solution.json     a solution of the format, whatever its language; any other file of the
                          format counts for the definition that it names. These count first
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping

from pydantic import ValidationError

from novum.benchmarks.kernels.definition import Definition
from novum.benchmarks.kernels.document import plainly
from novum.benchmarks.kernels.problem import Problem
from novum.benchmarks.kernels.solution import (
    BuildSpec,
    Language,
    Solution,
    SourceFile,
    python_solution,
)


class BadSolution(Exception):
    """A candidate has no usable solution for a problem; the message is for its author."""


def solution_of(problem: Problem, files: Mapping[str, bytes]) -> Solution:
    """The candidate's solution of a problem, read without running any of it.

    Raises:
        BadSolution: there is none, or its form is wrong.
    """
    name = problem.name
    for path in (f"{name}/solution.json", f"{name}.json"):
        if path in files:
            return whole(problem, path, files[path])
    for path in sorted(files):
        if path.endswith(".json") and solved_by(files[path]) == problem.definition.name:
            return whole(problem, path, files[path])
    if f"{name}.cu" in files:
        return cuda_solution(name, problem.definition.name, files[f"{name}.cu"])
    if f"{name}.py" in files:
        return one_file(problem, files[f"{name}.py"])
    raise BadSolution(f"there is no {name}.py, {name}.cu or solution of {problem.definition.name}")


def one_file(problem: Problem, source: bytes) -> Solution:
    """A Python solution of one file.

    Raises:
        BadSolution: it is no Python, or has no `run` with a fitting number of parameters.
    """
    name = problem.name
    returns = returns_outputs(problem.definition, source, f"{name}.py")
    language: Language = "triton" if b"import triton" in source else "pytorch"
    text_of(f"{name}.py", source)
    return python_solution(
        name,
        problem.definition.name,
        {f"{name}.py": source},
        f"{name}.py::run",
        returns=returns,
        language=language,
    )


def cuda_solution(name: str, definition: str, source: bytes) -> Solution:
    """A CUDA C++ solution of one file, which binds a `run` that fills the outputs.

    Raises:
        BadSolution: the file is empty or no text.
    """
    spec = BuildSpec(
        languages=("cuda_cpp",),
        target_hardware=("LOCAL",),
        entry_point=f"{name}.cu::run",
        binding="torch",
    )
    sources = (SourceFile(path=f"{name}.cu", content=text_of(f"{name}.cu", source)),)
    return Solution(name=name, definition=definition, author="novum", spec=spec, sources=sources)


def text_of(path: str, content: bytes) -> str:
    """A source file as text.

    Raises:
        BadSolution: it is empty or not UTF-8.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BadSolution(f"{path} is not UTF-8: {error}") from error
    if not text.strip():
        raise BadSolution(f"{path} is empty")
    return text


def solved_by(content: bytes) -> str:
    """The definition that a file of the format says it solves; empty if it is none."""
    try:
        fields = json.loads(content)
    except ValueError:
        return ""
    return str(fields.get("definition", "")) if isinstance(fields, dict) else ""


def whole(problem: Problem, path: str, content: bytes) -> Solution:
    """A solution from a file of the format.

    Raises:
        BadSolution: it is malformed or solves another definition.
    """
    try:
        solution = Solution.model_validate_json(content)
    except ValidationError as error:
        raise BadSolution(f"{path}: {plainly(error)}") from error
    if solution.definition != problem.definition.name:
        raise BadSolution(f"{path} solves {solution.definition}, not {problem.definition.name}")
    return solution


def returns_outputs(definition: Definition, source: bytes, path: str) -> bool:
    """Whether `run` returns its outputs; otherwise it is handed tensors to fill.

    Raises:
        BadSolution: the file does not parse, or `run` takes another number of parameters.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise BadSolution(f"{path} is not Python: {error}") from error
    runs = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    if not runs:
        raise BadSolution(f"{path} defines no top-level function `run`")
    count = len(runs[-1].args.posonlyargs) + len(runs[-1].args.args)
    n_in, n_out = len(definition.inputs), len(definition.outputs)
    if count not in (n_in, n_in + n_out):
        raise BadSolution(
            f"{path}: run takes {count} parameters; {n_in} inputs, or {n_in + n_out} with outputs"
        )
    return count == n_in
