"""A candidate as the rules see it: syntax trees with resolved names, and tokens of C and CUDA."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from novum.evals.rules.clex import Token, tokens
from novum.evals.rules.names import Names
from novum.evals.syntax import parse

C_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp", ".inl", ".ptx")


COMPILERS = frozenset(
    """torch.utils.cpp_extension.load_inline torch.utils.cpp_extension.load cupy.RawKernel
            cupy.RawModule torch.cuda._compile_kernel torch.compiler.load_inline""".split()
)
"""Functions that compile native code while the program runs."""
SOURCES = frozenset(("sources", "cpp_sources", "cuda_sources", "code", "kernel_source"))


def sources_of(call: ast.Call) -> list[ast.expr]:
    """The arguments of a compiling call that hold code or the names of its files."""
    named = [k.value for k in call.keywords if k.arg in SOURCES]
    return [*call.args[:3], *named]


def texts_of(module: Module, node: ast.expr) -> list[str] | None:
    """Every text that an argument holds, alone or in a list; `None` when it cannot be known."""
    if isinstance(node, (ast.List, ast.Tuple)):
        parts = [texts_of(module, element) for element in node.elts]
        return None if None in parts else [t for part in parts for t in part or ()]
    if isinstance(node, ast.Constant) and node.value is None:
        return []
    return module.names.constants(node)


@dataclass(eq=False)
class Module:
    """One Python file."""

    path: str
    source: str
    tree: ast.Module

    @cached_property
    def names(self) -> Names:
        """Resolves expressions to dotted paths."""
        return Names(self.nodes)

    @cached_property
    def mentions(self) -> list[tuple[int, str]]:
        """(line, dotted path) of everything foreign that is mentioned."""
        found: dict[tuple[int, str], None] = {}
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                found |= {(node.lineno, f"{module}.{a.name}"): None for a in node.names}
            elif isinstance(node, ast.Import):
                found |= {(node.lineno, a.name): None for a in node.names}
            elif isinstance(node, (ast.Attribute, ast.Name, ast.Call, ast.Subscript)):
                for name in self.names.resolve(node):
                    found.setdefault((node.lineno, name))
        return list(found)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node, outermost first."""
        return list(ast.walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The enclosing node of every node."""
        return {c: p for p in self.nodes for c in ast.iter_child_nodes(p)}

    @cached_property
    def docstrings(self) -> set[ast.AST]:
        """Constants that are docstrings or statements of their own: text that no code reads."""
        return {
            n.value
            for n in self.nodes
            if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)
        }

    @cached_property
    def texts(self) -> list[tuple[int, str]]:
        """(line, value) of every text that the code can reach, folded; docstrings are left out."""
        found: dict[tuple[int, str], None] = {}
        for node in self.nodes:
            if not isinstance(node, ast.expr) or node in self.docstrings:
                continue
            if isinstance(node, (ast.Constant, ast.BinOp, ast.JoinedStr, ast.Call, ast.Subscript)):
                value = self.names.fold.value(node)
                if isinstance(value, bytes):
                    value = value.decode("latin-1")
                if isinstance(value, str) and value:
                    found.setdefault((node.lineno, value))
        return list(found)

    @cached_property
    def _calls(self) -> list[tuple[ast.Call, frozenset[str]]]:
        return [(n, self.names.resolve(n.func)) for n in self.nodes if isinstance(n, ast.Call)]

    def calls(self) -> Iterator[tuple[ast.Call, frozenset[str]]]:
        """Every call with what its function may stand for."""
        yield from self._calls

    def enclosing(self, node: ast.AST, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """The enclosing nodes of some kinds, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, kinds):
                yield node


@dataclass(eq=False)
class Program:
    """All files of a candidate that hold code, and those that could not be read as code."""

    modules: tuple[Module, ...]
    native: Mapping[str, list[Token]]
    broken: Mapping[str, str]
    """Parse errors by path."""

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Program:
        """Read every Python and C file, sources inside `solution.json` and inline C++ included."""
        modules: list[Module] = []
        native: dict[str, list[Token]] = {}
        broken: dict[str, str] = {}
        for path, content in sorted(_sources(files).items()):
            text = content.decode("utf-8", "replace")
            if path.endswith(C_SUFFIXES) or _is_source(path):
                native[path] = tokens(text)
            elif path.endswith((".py", ".pyi")):
                try:
                    modules.append(Module(path, text, parse(content)))
                except SyntaxError as error:
                    broken[path] = str(error)
        for module in modules:
            native |= _inline(module)
        native |= _flags(files)
        return cls(tuple(modules), native, broken)


def _sources(files: Mapping[str, bytes]) -> dict[str, bytes]:
    found = dict(files)
    for path, content in files.items():
        if not path.endswith(".json"):
            continue
        try:
            data = json.loads(content)
        except ValueError:
            continue
        for source in data.get("sources", ()) if isinstance(data, dict) else ():
            if isinstance(source, dict) and isinstance(source.get("content"), str):
                name = f"{path}:{source.get('path', 'source.py')}"
                found[name] = source["content"].encode("utf-8", "replace")
    return found


def _is_source(path: str) -> bool:
    """Whether it is a file of a solution that is not Python: it may be included by any name."""
    _, is_inner, name = path.partition(".json:")
    return bool(is_inner) and not name.endswith((".py", ".pyi"))


def _flags(files: Mapping[str, bytes]) -> dict[str, list[Token]]:
    """Macros that the flags of a solution define, as if its sources did."""
    found = {}
    for path, content in files.items():
        if path.endswith(".json"):
            flags = re.findall(r'"-D\s*(\w+)=?([^"]*)"', content.decode("utf-8", "replace"))
            if flags:
                found[f"{path}:flags"] = tokens("".join(f"#define {n} {v}\n" for n, v in flags))
    return found


def _inline(module: Module) -> dict[str, list[Token]]:
    """C or CUDA in string literals, as `load_inline` and NVRTC take it."""
    found: dict[str, list[Token]] = {}
    for node, functions in module.calls():
        if functions & COMPILERS:
            for text in (t for source in sources_of(node) for t in texts_of(module, source) or ()):
                found[f"{module.path}:{node.lineno}:{len(found)}"] = tokens(text)
    for line, text in module.texts:
        words = (
            "#include",
            "__global__",
            "__device__",
            'extern "C"',
            "PYBIND11_MODULE",
            "at::Tensor",
        )
        if len(text) > 40 and any(w in text for w in words):
            found[f"{module.path}:{line}"] = tokens(text)
    return found
