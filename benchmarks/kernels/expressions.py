"""Arithmetic over axis names: the expressions and constraints of a definition, without `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

LARGEST = 1 << 62
"""Beyond this a size is a mistake; the bound also keeps `**` from filling the memory."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}


class ExpressionError(ValueError):
    """An expression cannot be read, names an unknown axis, or gives no whole number."""


def names_in(text: str) -> set[str]:
    """Axis names that an expression mentions.

    Raises:
        ExpressionError: it is not an expression.
    """
    tree = _parse(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called}


def evaluate(text: str, axes: Mapping[str, int]) -> int:
    """The whole number that an expression gives; a fraction is an error.

    Raises:
        ExpressionError: see the class.
    """
    value = _value(_parse(text), {name: Fraction(size) for name, size in axes.items()}, text)
    if isinstance(value, bool) or not isinstance(value, Fraction) or value.denominator != 1:
        raise ExpressionError(f"{text!r} gives {value}, not a whole number")
    return int(value)


def holds(text: str, axes: Mapping[str, int]) -> bool:
    """Whether a constraint is true of these axes.

    Raises:
        ExpressionError: see the class.
    """
    return bool(_value(_parse(text), {name: Fraction(size) for name, size in axes.items()}, text))


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"{text!r} is not an expression: {error}") from error


def _value(node: ast.expr, axes: Mapping[str, Fraction], text: str) -> Any:
    match node:
        case ast.Constant(value=bool() as flag):
            return flag
        case ast.Constant(value=int() as number):
            return Fraction(number)
        case ast.Name(id=name):
            if name not in axes:
                raise ExpressionError(f"{text!r} names {name!r}, which is no axis")
            return axes[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as sign, operand=inner):
            value = _value(inner, axes, text)
            return (
                not value
                if isinstance(sign, ast.Not)
                else -value
                if isinstance(sign, ast.USub)
                else value
            )
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            return _power(_value(left, axes, text), _value(right, axes, text), text)
        case ast.BinOp(op=sign, left=left, right=right) if type(sign) in _BINARY:
            return _bounded(
                _apply(
                    _BINARY[type(sign)], _value(left, axes, text), _value(right, axes, text), text
                ),
                text,
            )
        case ast.BoolOp(op=joint, values=parts):
            flags = [bool(_value(part, axes, text)) for part in parts]
            return all(flags) if isinstance(joint, ast.And) else any(flags)
        case ast.Compare(left=first, ops=signs, comparators=others) if all(
            type(s) in _COMPARE for s in signs
        ):
            values = [_value(part, axes, text) for part in (first, *others)]
            return all(
                _COMPARE[type(s)](a, b) for s, a, b in zip(signs, values, values[1:], strict=False)
            )
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in _CALLS and parts:
            values = [_value(part, axes, text) for part in parts]
            return _CALLS[name](*values) if name != "abs" else abs(values[0])
    raise ExpressionError(f"{text!r} uses {type(node).__name__}, which an axis expression may not")


def _apply(function: Callable[[Any, Any], Any], left: Any, right: Any, text: str) -> Fraction:
    try:
        return Fraction(function(left, right))
    except ZeroDivisionError as error:
        raise ExpressionError(f"{text!r} divides by zero") from error


def _power(base: Any, exponent: Any, text: str) -> Fraction:
    if not (isinstance(exponent, Fraction) and exponent.denominator == 1 and 0 <= exponent <= 62):
        raise ExpressionError(f"{text!r} raises to {exponent}; 0 to 62 is allowed")
    return _bounded(Fraction(base) ** int(exponent), text)


def _bounded(value: Fraction, text: str) -> Fraction:
    if abs(value) > LARGEST:
        raise ExpressionError(f"{text!r} gives a number beyond {LARGEST}")
    return value
