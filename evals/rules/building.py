"""Rules on what C and CUDA sources pull in when they are compiled, and on reaching back to Python.

A compiler can read files: by inclusion, by the assembler's own directives, by ways of spelling a
directive that a reader does not see. And a binding that can call Python can change whatever a rule
on Python sources would have caught.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from novum.evals.rules.clex import Token, with_macros
from novum.evals.rules.program import (
    COMPILERS,
    Module,
    Program,
    sources_of,
    texts_of,
)
from novum.evals.rules.rule import BLOCK, CONFIRM, Found, Rule

ASM = frozenset(("asm", "__asm", "__asm__"))
ASSEMBLER = re.compile(
    r"\.\s*(incbin|include|section|pushsection|popsection|previous|subsection)\b"
)
INCLUDED = frozenset(("", ".h", ".hh", ".hpp", ".hxx", ".cuh", ".inl", ".c", ".cc", ".cpp", ".cu"))
SPELLING = re.compile(r"%:|\?\?=")
"""Digraph and trigraph of the number sign: a directive that does not look like one."""
FLAGS = re.compile(
    r"@|-include|-imacros|-fplugin|-Wl|-Xlinker|-wrapper|-specs|-B|-D\s*\w+=[A-Za-z_]"
)
"""Flags that take in files, run programs, or rename a function."""
PYTHON = re.compile(r"_?Py[A-Z]\w*_\w+|PyRun\w*|Py_\w+")
INTERPRETER = frozenset(("exec", "eval", "eval_file", "globals", "setattr", "getattr"))
MODULES = frozenset(("module", "module_"))
SCOPES = frozenset(("py", "pybind11"))


def _inclusions(found: Sequence[Token]) -> Iterable[Found]:
    for token in found:
        if token.kind != "directive":
            continue
        text = re.sub(r"^#\s*", "", token.text)
        if re.match(r"(embed|import|include_next)\b", text) or "__has_embed" in text:
            yield Found(token.line, f"#{text[:60]}")
        elif match := re.match(r"include\b\s*(.*)", text):
            named = re.match(r'["<]([^">]*)', match.group(1))
            if named is None:
                yield Found(token.line, f"includes what a macro names: {match.group(1)[:40]}")
            elif PurePosixPath(named.group(1)).suffix not in INCLUDED:
                yield Found(token.line, f"includes {named.group(1)[:60]}, which is no header")
    for first, second in zip(found, found[1:], strict=False):
        if first.text + second.text == "%:":
            yield Found(first.line, "spells a directive with %:")
    for token in found:
        if token.kind == "directive" and SPELLING.search(token.text):
            yield Found(token.line, f"hides a directive in {token.text[:40]}")
    marks = [t.text for t in found]
    for i, token in enumerate(found[:-2]):
        if marks[i : i + 3] == ["?", "?", "="]:
            yield Found(token.line, "spells a directive with ??=")


def _assembler(found: Sequence[Token]) -> Iterable[Found]:
    depth = 0
    for i, token in enumerate(found):
        depth += {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "punct" else 0
        if token.kind == "word" and token.text in ASM:
            if depth == 0:
                yield Found(token.line, "assembler outside of any function")
            yield from _template(found, i)
    for token in with_macros(found):
        if token.kind == "string" and (match := ASSEMBLER.search(token.text)):
            yield Found(token.line, f"the assembler's .{match.group(1)}")


def _template(found: Sequence[Token], i: int) -> Iterable[Found]:
    """The text that an assembler statement at `i` gives to the assembler, put together."""
    text, depth = "", 0
    for token in found[i + 1 : i + 400]:
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "punct" else 0
        if (depth <= 0 and token.text == ")") or (depth == 1 and token.text == ":"):
            break
        if token.kind == "string":
            text += token.text
        elif depth and token.kind == "word":
            yield Found(token.line, f"assembler from the macro {token.text}", CONFIRM)
    if match := ASSEMBLER.search(text):
        yield Found(found[i].line, f"the assembler's .{match.group(1)}")


def _python(found: Sequence[Token]) -> Iterable[Found]:
    given = with_macros(found)
    marks = [*(t.text for t in given), ""]
    for i, token in enumerate(given):
        if token.kind != "word":
            continue
        called = marks[i + 1] == "("
        owner = marks[i - 3] if i >= 3 and marks[i - 2 : i] == [":", ":"] else ""
        is_method = i > 0 and marks[i - 1] in (".", ">")
        if (
            PYTHON.fullmatch(token.text)
            or (token.text == "import" and owner in MODULES)
            or (token.text == "import_" and called)
            or (token.text in INTERPRETER and owner in SCOPES)
            or (token.text in ("attr", "setattr") and is_method and called)
        ):
            yield Found(token.line, f"reaches into Python by {token.text}")


def _operators(found: Sequence[Token]) -> Iterable[Found]:
    given = with_macros(found)
    marks = [*(t.text for t in given), "", ""]
    for i, token in enumerate(given):
        if token.text.startswith("TORCH_LIBRARY") and marks[i + 2] in ("aten", "_", "prims"):
            yield Found(token.line, f"{token.text}({marks[i + 2]}, ...)")
        elif token.kind == "word" and token.text in (
            "Dispatcher",
            "registerImpl",
            "registerFallback",
        ):
            yield Found(token.line, f"uses {token.text}")


def _unread(module: Module, program: Program) -> Iterable[Found]:
    """Native code that is compiled at run time and that no rule has seen."""
    for call, functions in module.calls():
        if not functions & COMPILERS:
            continue
        if any(keyword.arg is None for keyword in call.keywords):
            yield Found(call.lineno, "compiles with arguments that cannot be read")
        from_files = any(name.endswith(".load") for name in functions & COMPILERS)
        for source in sources_of(call):
            texts = texts_of(module, source)
            if texts is None:
                yield Found(call.lineno, "compiles a source that cannot be read")
            elif from_files:
                for name in texts:
                    if "." in name and name not in program.native:
                        yield Found(call.lineno, f"compiles {name[:60]}, which no rule has read")
        for keyword in call.keywords:
            if keyword.arg and ("flags" in keyword.arg or "include" in keyword.arg):
                yield from _flags(module, keyword)


def _flags(module: Module, keyword: ast.keyword) -> Iterable[Found]:
    texts = texts_of(module, keyword.value)
    if texts is None and "flags" in str(keyword.arg):
        yield Found(keyword.value.lineno, f"{keyword.arg} that cannot be read")
    for text in texts or ():
        if FLAGS.match(text):
            yield Found(keyword.value.lineno, f"the flag {text[:60]}")


BUILDING_RULES = (
    Rule(
        "native-unread",
        BLOCK,
        "compiles native code at run time that cannot be read here",
        "sources are texts or files of the candidate; what varies are arguments of the kernel",
        python=_unread,
    ),
    Rule(
        "native-inclusion",
        BLOCK,
        "takes in a file, when it is compiled, in a way that hides which",
        "headers are included by their names",
        native=_inclusions,
    ),
    Rule(
        "native-assembler",
        BLOCK,
        "gives directives to the assembler of the host, which reads files and places code",
        "instructions of a kernel (PTX) stand inside its functions and need none",
        native=_assembler,
    ),
    Rule(
        "native-operators",
        BLOCK,
        "gives an operation of PyTorch another meaning, also where outputs are read and compared",
        "a library of its own has a name of its own",
        native=_operators,
    ),
    Rule(
        "native-python",
        BLOCK,
        "calls Python from C++, where it could change what measures it",
        "a binding says PYBIND11_MODULE and m.def, and takes tensors",
        native=_python,
    ),
)
