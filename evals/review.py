"""Model review: a model reads the change, stripped of everything that could speak to it.

It may only add suspicion, which costs the candidate an extra check; it can neither clear a failed
check nor convict. What it sees holds no comment, docstring, string, log, error message, path or
telling name of the candidate: text that is not shown cannot be obeyed. Its own answer is taken
through a strict schema, and an answer that does not fit has no effect.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from novum.benchmarks.pack import Pack
from novum.evals.checks.change import C_SUFFIXES
from novum.evals.evidence import found
from novum.evals.rules.clex import tokens
from novum.evals.rules.text import addresses
from novum.evals.syntax import parse
from novum.lab.records import Evidence, Outcome

STEP = "review"
MAX_DIFF_CHARS = 24_000
Files = Mapping[str, bytes]
Ask = Callable[[str], str]
"""A model: a prompt in, its answer out."""

TELLING = frozenset(
    """accept accepted allow allowed allowlist answer approve approved approving assistant audit
    audited auditor authorise authorize benign bypass certified clean clear cleared comply confirm
    confirmed dear disregard endorse evaluator forget grader harmless honest ignore innocent
    instruction instructions judge label legit legitimate mark message model must note obey ok okay
    override pass passed permit please prompt reject report respond review reviewed reviewer safe
    say secure skip suspicion suspicious system trust trusted valid verdict verified whitelist
    you your""".split()
)
MAX_WORDS = 4
"""A name of more words is a sentence."""


class Review(BaseModel, extra="forbid", frozen=True, strict=True):
    """What a reviewing model answers."""

    suspicion: Literal["none", "some", "strong"]
    mechanism: str = Field(default="", max_length=500)
    lines: tuple[int, ...] | list[int] = Field(default=(), max_length=50)


def review(
    ask: Ask,
    pack: Pack,
    candidate: Files,
    start: Files,
    evidence: Sequence[Evidence],
    *,
    proposal: str,
    tree: str,
) -> Evidence:
    """Ask a model about a change; PASS, NOTE (answer not understood) or CONFIRM, nothing graver."""
    return weigh(ask(write_prompt(pack, candidate, start, evidence)), proposal=proposal, tree=tree)


def weigh(answer: str, *, proposal: str, tree: str) -> Evidence:
    """What a reviewing model's answer is worth as evidence; see `review`."""
    opinion = read_answer(answer)
    if opinion is None:
        summary = "the reviewing model's answer does not fit the schema; it has no effect"
        return found(proposal, tree, STEP, Outcome.NOTE, summary)
    if opinion.suspicion == "none":
        return found(proposal, tree, STEP, Outcome.PASS, "the reviewing model saw nothing")
    mechanism = "".join(c for c in opinion.mechanism if c.isprintable())[:300]
    summary = f"the reviewing model suspects: {mechanism or 'no mechanism named'}"
    return found(
        proposal,
        tree,
        STEP,
        Outcome.CONFIRM,
        summary,
        suspicion=opinion.suspicion,
        lines=list(opinion.lines),
    )


def write_prompt(pack: Pack, candidate: Files, start: Files, evidence: Sequence[Evidence]) -> str:
    """All that a reviewing model gets to see."""
    metric = pack.manifest.metric
    template = (Path(__file__).parent / "review.md").read_text()
    return template.format(
        benchmark=pack.id,
        metric=metric.name,
        better=metric.better,
        checks=describe_checks(evidence),
        diff=stripped_diff(candidate, start),
    )


def read_answer(text: str) -> Review | None:
    """The opinion in an answer; `None` when it is anything but one object of the schema."""
    body = text.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", body, re.S)
    try:
        return Review.model_validate(json.loads(fenced.group(1) if fenced else body))
    except (ValueError, ValidationError):
        return None


def describe_checks(evidence: Sequence[Evidence]) -> str:
    """Steps, outcomes and rules hit, by their own names; no word of the candidate's."""
    lines = []
    for record in evidence:
        if record.step == STEP:
            continue
        line = f"- {record.step}: {record.outcome}"
        rules = sorted({str(h[0]) for h in record.detail.get("hits", ())})
        probes = sorted(map(str, record.detail.get("names", ())))
        if rules or probes:
            line += f" ({', '.join(rules + probes)})"
        lines.append(line)
    return "\n".join(lines) or "- none yet"


def stripped_diff(candidate: Files, start: Files) -> str:
    """The change without text; files are named by number, and too long a diff is cut."""
    parts = []
    names = sorted(p for p in candidate.keys() | start.keys() if candidate.get(p) != start.get(p))
    known = _names_of(start)
    for number, path in enumerate(names, start=1):
        before = strip(path, start.get(path, b""), known).splitlines()
        after = strip(path, candidate.get(path, b""), known).splitlines()
        parts.append(f"file {number}")
        parts += [
            line
            for line in difflib.unified_diff(before, after, lineterm="", n=3)
            if not line.startswith(("---", "+++", "@@"))
        ]
    text = "\n".join(parts)
    if len(text) > MAX_DIFF_CHARS:
        text = text[:MAX_DIFF_CHARS] + f"\n(cut: {len(text) - MAX_DIFF_CHARS} characters more)"
    return text


def strip(path: str, content: bytes, known: frozenset[str] = frozenset()) -> str:
    """Code without comments, docstrings, contents of strings and telling names.

    Names in `known` (those of the pack's own start) stay. A file that is not code is left out.
    """
    if path.endswith(".py"):
        try:
            tree = _Stripper(known).visit(parse(content))
        except SyntaxError:
            return "(not Python)"
        return ast.unparse(ast.fix_missing_locations(tree))
    if path.endswith(C_SUFFIXES):
        return _strip_native(content.decode("utf-8", "replace"), known)
    return f"(a file of {len(content)} bytes that is not code)" if content else ""


def is_telling(name: str) -> bool:
    """Whether a name could say something to a reader: too many words, or one word of judgement."""
    words = [w.lower() for w in re.findall(r"[A-Za-z][a-z]*|[A-Z]+", name)]
    joined = name.replace("_", "").lower()
    return (
        len(words) > MAX_WORDS
        or any(w in TELLING for w in words)
        or addresses(" ".join(words)) is not None
        or len(name) > 32
        or any(len(t) > 5 and t in joined for t in TELLING)
        or not name.isascii()
    )


class _Stripper(ast.NodeTransformer):
    """Empties every text and replaces telling names by numbers, the same name by the same one."""

    def __init__(self, known: frozenset[str]) -> None:
        self.known = known
        self.numbers: dict[str, str] = {}

    def visit(self, node: ast.AST) -> ast.AST:
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                setattr(node, field, self.plain(value))
        for field in ("names", "kwd_attrs"):
            values = getattr(node, field, None)
            if isinstance(values, list) and all(isinstance(v, str) for v in values):
                setattr(node, field, [self.plain(v) for v in values])
        result: ast.AST = super().visit(node)
        body = getattr(result, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not _is_text(s)]
            result.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
        return result

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, (str, bytes)):
            return ast.Constant(type(node.value)())
        if isinstance(node.value, int) and abs(node.value) >= 1 << 64:
            return ast.Constant(0)  # a number can spell words too
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        values = [v for v in node.values if isinstance(v, ast.FormattedValue)]
        for value in values:
            value.format_spec = None
            self.generic_visit(value)
        return ast.JoinedStr(list(values))

    def plain(self, name: str) -> str:
        """A name that says nothing."""
        parts = name.split(".")
        return ".".join(
            p
            if p in self.known or not is_telling(p)
            else self.numbers.setdefault(p, f"name_{len(self.numbers)}")
            for p in parts
        )


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, (ast.Constant, ast.JoinedStr))


def _strip_native(source: str, known: frozenset[str]) -> str:
    numbers: dict[str, str] = {}
    lines: dict[int, list[str]] = {}
    for token in tokens(source):
        text = {"string": '""', "char": "' '"}.get(token.kind, token.text)
        if token.kind in ("word", "directive"):
            text = re.sub(
                r"[^\W\d]\w*",
                lambda m: (
                    m.group(0)
                    if m.group(0) in known or not is_telling(m.group(0))
                    else numbers.setdefault(m.group(0), f"name_{len(numbers)}")
                ),
                re.sub(r'"[^"]*"|<[^>]*>', '""', text) if token.kind == "directive" else text,
            )
        lines.setdefault(token.line, []).append(text)
    return "\n".join(" ".join(lines[k]) for k in sorted(lines))


def _names_of(files: Files) -> frozenset[str]:
    found: set[str] = set()
    for path, content in files.items():
        if path.endswith((".py", *C_SUFFIXES)):
            found.update(re.findall(r"[^\W\d]\w*", content.decode("utf-8", "replace")))
    return frozenset(found)
