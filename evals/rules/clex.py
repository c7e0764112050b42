"""A lexer for C, C++ and CUDA: words, literals and punctuation, without comments.

It handles what a regular expression gets wrong: strings that look like comments, comments that
look like strings, raw strings, line continuations, digraph-free preprocessor lines.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["word", "number", "string", "char", "punct", "directive"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token; a directive is a whole preprocessor line, a string is without its quotes."""

    kind: Kind
    text: str
    line: int


def tokens(source: str) -> list[Token]:
    """All tokens in order. Unterminated literals and comments end with the file."""
    return list(_lex(source))


def with_macros(found: Sequence[Token]) -> list[Token]:
    """The tokens, and those of the bodies of macros: a name is no less called by a macro."""
    given = list(found)
    for token in found:
        if token.kind == "directive" and (body := re.match(r"#\s*define\s+\w+(.*)", token.text)):
            given += [Token(t.kind, t.text, token.line) for t in tokens(body.group(1))]
    return given


def _lex(source: str) -> Iterator[Token]:
    text, spliced = _joined(source.replace("\r\n", "\n"))
    newlines = [i for i, c in enumerate(text) if c == "\n"]
    i, n, fresh = 0, len(text), True
    while i < n:
        c = text[i]
        line = bisect_left(newlines, i) + bisect_right(spliced, i) + 1
        if c == "\n":
            i, fresh = i + 1, True
        elif c.isspace():
            i += 1
        elif text.startswith("//", i):
            i = _line_end(text, i)
        elif text.startswith("/*", i):
            end = text.find("*/", i + 2)
            i = n if end < 0 else end + 2
        elif c == "#" and fresh:
            end = _line_end(text, i)
            body = _without_comments(text[i:end])
            yield Token("directive", " ".join(body.split()), line)
            i = end
        else:
            token, i = _token(text, i, line)
            fresh = False
            yield token


def _token(text: str, i: int, line: int) -> tuple[Token, int]:
    c, n = text[i], len(text)
    if raw := _raw_string(text, i):
        content, end = raw
        return Token("string", content, line), end
    if c in "\"'":
        end = i + 1
        while end < n and text[end] != c and text[end] != "\n":
            end += 2 if text[end] == "\\" else 1
        kind: Kind = "string" if c == '"' else "char"
        return Token(kind, text[i + 1 : min(end, n)], line), min(end + 1, n)
    if c.isalpha() or c == "_" or c == "$":
        end = i
        while end < n and (text[end].isalnum() or text[end] in "_$"):
            end += 1
        return Token("word", text[i:end], line), end
    if c.isdigit() or c == "." and i + 1 < n and text[i + 1].isdigit():
        end = i
        while end < n and (text[end].isalnum() or text[end] in ".'" or _is_exponent(text, end)):
            end += 1
        return Token("number", text[i:end], line), end
    return Token("punct", c, line), i + 1


def _raw_string(text: str, i: int) -> tuple[str, int] | None:
    for prefix in ('R"', 'u8R"', 'uR"', 'LR"', 'UR"'):
        if text.startswith(prefix, i) and (i == 0 or not text[i - 1].isalnum()):
            open_at = text.find("(", i)
            if open_at < 0 or open_at - i > 24:
                return None
            close = ")" + text[i + len(prefix) : open_at] + '"'
            end = text.find(close, open_at)
            end = len(text) if end < 0 else end
            return text[open_at + 1 : end], min(end + len(close), len(text))
    return None


def _is_exponent(text: str, i: int) -> bool:
    return text[i] in "+-" and text[i - 1] in "eEpP"


def _joined(text: str) -> tuple[str, list[int]]:
    """The text without escaped newlines, as a compiler sees it: they may split any word.

    Also where each of them was; blanks before the newline change nothing.
    """
    parts = re.split(r"\\[ \t]*\n", text)
    places, length = [], 0
    for part in parts[:-1]:
        length += len(part)
        places.append(length)
    return "".join(parts), places


def _line_end(text: str, i: int) -> int:
    end = text.find("\n", i)
    return len(text) if end < 0 else end


def _without_comments(line: str) -> str:
    result, i = [], 0
    while i < len(line):
        if line.startswith("//", i):
            break
        if line.startswith("/*", i):
            end = line.find("*/", i + 2)
            i = len(line) if end < 0 else end + 2
            result.append(" ")
            continue
        if line[i] in "\"'":
            end = line.find(line[i], i + 1)
            end = len(line) if end < 0 else end + 1
            result.append(line[i:end])
            i = end
            continue
        result.append(line[i])
        i += 1
    return "".join(result)
