"""Constant folding: the value of an expression built from literals, however it is spelt.

`"fo" + "rk"`, `"krof"[::-1]`, `"".join(map(chr, [102, 111]))`, f-strings, base64, rot13 and names
that are assigned once are folded. The evaluator knows pure operations on small values only;
whatever it does not know is UNKNOWN.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import operator
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

UNKNOWN: Final = object()
MAX_SIZE = 1 << 16
MAX_DEPTH = 60

_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.RShift: operator.rshift,
    ast.Div: operator.truediv,
}
_METHODS = frozenset(
    """join replace lower upper strip lstrip rstrip format encode decode swapcase title
            capitalize split casefold removeprefix removesuffix hex rsplit to_bytes partition
            zfill""".split()
)
_BUILTINS: Mapping[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (chr, ord, str, bytes, bytearray, int, hex, list, tuple, sorted, len, repr, sum, abs)
} | {
    "reversed": lambda x: list(reversed(x)),
    "enumerate": lambda x: list(enumerate(x)),
    "zip": lambda *x: list(zip(*x, strict=False)),
}
_DECODERS: Mapping[str, Callable[..., Any]] = {
    "base64.b64decode": base64.b64decode,
    "base64.standard_b64decode": base64.b64decode,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode,
    "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.b85decode": base64.b85decode,
    "base64.a85decode": base64.a85decode,
    "binascii.unhexlify": binascii.unhexlify,
    "binascii.a2b_base64": binascii.a2b_base64,
    "builtins.bytes.fromhex": bytes.fromhex,
    "codecs.decode": codecs.decode,
    "codecs.encode": codecs.encode,
    "operator.add": operator.add,
    "operator.concat": operator.concat,
    "operator.xor": operator.xor,
    "os.path.join": lambda *x: "/".join(x),
    "zlib.decompress": lambda x: zlib.decompressobj().decompress(x, MAX_SIZE),
}


class Folder:
    """Folds expressions of one module; `lookup` gives the expressions assigned to a name."""

    def __init__(
        self,
        lookup: Callable[[str], list[ast.expr] | None],
        resolve: Callable[[ast.expr], frozenset[str]],
    ) -> None:
        self._lookup = lookup
        self._resolve = resolve

    def value(self, node: ast.expr, scope: Mapping[str, Any] | None = None, depth: int = 0) -> Any:
        """The constant value of an expression, or UNKNOWN."""
        if depth > MAX_DEPTH:
            return UNKNOWN
        try:
            result = self._value(node, dict(scope or {}), depth + 1)
        except Exception:  # a constant expression that raises has no value
            return UNKNOWN
        return UNKNOWN if _is_large(result) else result

    def text(self, node: ast.expr) -> str | None:
        """The value as text where it is text or bytes."""
        value = self.value(node)
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return value if isinstance(value, str) else None

    def _value(self, node: ast.expr, scope: dict[str, Any], depth: int) -> Any:
        def sub(n: ast.expr) -> Any:
            value = self.value(n, scope, depth)
            if value is UNKNOWN:
                raise LookupError
            return value

        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node.id, scope, depth)
            case ast.BinOp():
                left, right = sub(node.left), sub(node.right)
                if isinstance(node.op, ast.Mult) and _repeats_too_often(left, right):
                    return UNKNOWN
                return _BINARY[type(node.op)](left, right)
            case ast.UnaryOp(op=ast.USub()):
                return -sub(node.operand)
            case ast.JoinedStr():
                return "".join(str(sub(v)) for v in node.values)
            case ast.FormattedValue():
                return format(
                    sub(node.value), "" if node.format_spec is None else sub(node.format_spec)
                )
            case ast.List() | ast.Tuple():
                return [
                    x
                    for e in node.elts
                    for x in (sub(e.value) if isinstance(e, ast.Starred) else [sub(e)])
                ]
            case ast.Dict():
                return {sub(k): sub(v) for k, v in zip(node.keys, node.values, strict=True) if k}
            case ast.Subscript(slice=ast.Slice() as cut):
                ends = [None if e is None else sub(e) for e in (cut.lower, cut.upper, cut.step)]
                return sub(node.value)[slice(*ends)]
            case ast.Subscript():
                return sub(node.value)[sub(node.slice)]
            case ast.IfExp():
                return sub(node.body if sub(node.test) else node.orelse)
            case ast.NamedExpr():
                return sub(node.value)
            case ast.ListComp() | ast.GeneratorExp():
                return self._comprehension(node, scope, depth)
            case ast.Call():
                return self._call(node, scope, sub, depth)
        return UNKNOWN

    def _name(self, name: str, scope: dict[str, Any], depth: int) -> Any:
        if name in scope:
            return scope[name]
        values = self._lookup(name)
        if values is None or len(values) != 1:
            return UNKNOWN
        return self.value(values[0], None, depth + 5)

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp, scope: dict[str, Any], depth: int
    ) -> Any:
        if len(node.generators) != 1 or not isinstance(
            node.generators[0].target, (ast.Name, ast.Tuple)
        ):
            return UNKNOWN
        loop = node.generators[0]
        items = self.value(loop.iter, scope, depth)
        if items is UNKNOWN or not hasattr(items, "__len__") or len(items) > 4096:
            return UNKNOWN
        result = []
        for item in items:
            inner = scope | _bind(loop.target, item)
            if all(self.value(test, inner, depth) for test in loop.ifs):
                value = self.value(node.elt, inner, depth)
                if value is UNKNOWN:
                    return UNKNOWN
                result.append(value)
        return result

    def _call(
        self, node: ast.Call, scope: dict[str, Any], sub: Callable[[ast.expr], Any], depth: int
    ) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "map" and len(node.args) == 2:
            function = _BUILTINS.get(getattr(node.args[0], "id", ""))
            body = node.args[0]
            items = sub(node.args[1])
            if function is not None:
                return [function(x) for x in items]
            if isinstance(body, ast.Lambda) and len(body.args.args) == 1:
                name = body.args.args[0].arg
                return [self.value(body.body, scope | {name: x}, depth) for x in items]
            return UNKNOWN
        if isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
            return _BUILTINS[node.func.id](*map(sub, node.args))
        for name in self._resolve(node.func):
            if name in _DECODERS:
                return _DECODERS[name](*map(sub, node.args))
        if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
            owner = sub(node.func.value)
            if isinstance(owner, (str, bytes, int)):
                named = {k.arg: sub(k.value) for k in node.keywords if k.arg}
                return getattr(owner, node.func.attr)(*map(sub, node.args), **named)
        return UNKNOWN


def _bind(target: ast.expr, item: Any) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: item}
    names = [t.id for t in getattr(target, "elts", []) if isinstance(t, ast.Name)]
    return dict(zip(names, item, strict=True))


def _size(value: Any) -> int:
    """Elements of a sequence; a number counts as the times it could repeat one."""
    if isinstance(value, (int, float)):
        return int(min(abs(value), 1 << 30)) if value == value else 1
    return len(value) if hasattr(value, "__len__") else 1


def _repeats_too_often(left: Any, right: Any) -> bool:
    is_number = isinstance(left, (int, float)) and isinstance(right, (int, float))
    return not is_number and _size(left) * _size(right) > MAX_SIZE


def _is_large(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() > 4096
    return hasattr(value, "__len__") and len(value) > MAX_SIZE
