"""`solution.json`: sources that implement a definition, and how they are built and called.

Source: SOL-ExecBench, docs/solution.md (Apache-2.0), read for the format only.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from novum.benchmarks.kernels.definition import Name
from novum.benchmarks.kernels.document import Document

PYTHON_LANGUAGES = ("pytorch", "triton", "tlx", "cute_dsl", "cutile", "cudnn_frontend")
CPP_LANGUAGES = ("cutlass", "cudnn", "cublas", "cuda_cpp")
Language = Literal[
    "pytorch",
    "triton",
    "tlx",
    "cute_dsl",
    "cutile",
    "cudnn_frontend",
    "cutlass",
    "cudnn",
    "cublas",
    "cuda_cpp",
]
CPP_SUFFIXES = (".cu", ".cpp", ".cc", ".cxx", ".c", ".h", ".hpp", ".cuh")
OLD_NAMES = {"python": "pytorch", "cuda": "cuda_cpp", "cpp": "cuda_cpp"}


class SourceFile(Document):
    """One file, at a path inside the solution's folder."""

    path: Name
    content: Name

    @field_validator("path")
    @classmethod
    def stays_inside(cls, path: str) -> str:
        """No absolute path, no step upwards."""
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
            raise ValueError(f"the source path {path!r} leaves the solution's folder")
        return path


class CompileOptions(Document):
    """Flags for C++ sources; `build.py` lets through only those it knows to be harmless."""

    cflags: tuple[str, ...] = ()
    cuda_cflags: tuple[str, ...] = ("-O3", "--use_fast_math")
    ld_flags: tuple[str, ...] = ("-lcuda",)


class BuildSpec(Document):
    """How a solution is built and entered."""

    languages: tuple[Language, ...] = Field(min_length=1)
    target_hardware: tuple[Name, ...] = Field(min_length=1)
    entry_point: Annotated[str, Field(pattern=r"^[^:]+::[^:]+$")]
    """`file::function`."""
    dependencies: tuple[Name, ...] = ()
    destination_passing_style: bool = True
    """Whether outputs are passed as last arguments and filled, or returned."""
    binding: Literal["torch"] | None = None
    compile_options: CompileOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def one_language_is_a_list(cls, value: object) -> object:
        """Older files say `"language": "triton"`."""
        if isinstance(value, dict) and "language" in value and "languages" not in value:
            old = str(value["language"])
            rest = {k: v for k, v in value.items() if k != "language"}
            return rest | {"languages": [OLD_NAMES.get(old, old)]}
        return value

    @model_validator(mode="after")
    def one_family(self) -> BuildSpec:
        """Python and C++ do not mix, and the entry file is of that family."""
        families = {language in CPP_LANGUAGES for language in self.languages}
        if len(families) > 1:
            raise ValueError(f"Python and C++ languages cannot be mixed: {list(self.languages)}")
        suffix = PurePosixPath(self.entry_file).suffix
        if suffix not in (CPP_SUFFIXES if self.is_cpp else (".py",)):
            raise ValueError(
                f"the entry file {self.entry_file!r} does not suit {list(self.languages)}"
            )
        return self

    @property
    def is_cpp(self) -> bool:
        """Whether the solution needs a compile stage."""
        return self.languages[0] in CPP_LANGUAGES

    @property
    def entry_file(self) -> str:
        return self.entry_point.split("::")[0]

    @property
    def entry_function(self) -> str:
        return self.entry_point.split("::")[1]


class Solution(Document):
    """An implementation of one definition."""

    name: Name
    definition: Name
    author: Name
    description: str | None = None
    spec: BuildSpec
    sources: tuple[SourceFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def entry_is_there(self) -> Solution:
        """Paths are distinct and the entry file is one of them."""
        paths = [source.path for source in self.sources]
        if repeated := {path for path in paths if paths.count(path) > 1}:
            raise ValueError(f"the source paths {sorted(repeated)} occur more than once")
        if self.spec.entry_file not in paths:
            raise ValueError(f"the entry file {self.spec.entry_file!r} is not among the sources")
        return self

    @property
    def files(self) -> dict[str, bytes]:
        """Contents by path."""
        return {source.path: source.content.encode() for source in self.sources}

    def digest(self) -> str:
        """SHA-1 over everything that decides how it behaves, as the format defines it."""
        total = hashlib.sha1(usedforsecurity=False)
        parts: list[str] = [self.name, self.definition, *self.spec.languages, self.spec.entry_point]
        parts += [self.spec.binding or "", *self.spec.dependencies]
        parts += [text for source in self.sources for text in (source.path, source.content)]
        for part in parts:
            total.update(part.encode())
        return total.hexdigest()


def python_solution(
    name: str,
    definition: str,
    files: dict[str, bytes],
    entry: str,
    *,
    returns: bool,
    language: Language = "pytorch",
) -> Solution:
    """A solution made of Python files; `returns` says that `entry` returns its outputs."""
    spec = BuildSpec(
        languages=(language,),
        target_hardware=("LOCAL",),
        entry_point=entry,
        destination_passing_style=not returns,
    )
    sources = tuple(
        SourceFile(path=k, content=v.decode()) for k, v in sorted(files.items()) if v.strip()
    )
    return Solution(name=name, definition=definition, author="novum", spec=spec, sources=sources)
