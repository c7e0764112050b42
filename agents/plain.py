"""Python values to plain JSON and back, by the annotations of the classes they are made of.

Exact: a float keeps its last bit, a dictionary its order, an array its bytes and their layout.
Nothing is built but what the annotations name, so a file from a stranger makes no other objects.
Each text is written once, and so is each tuple of texts: thousands of candidates repeat them.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel

Code = Callable[[Any], Any]
Both = tuple[Code, Code]
"""To plain, and back."""
AS_THEY_ARE = (int, float, bool, NoneType, Any, dict[str, Any])
TEXTS = tuple[str, ...]


class Plain:
    """The values of one file; `words` and `tuples` are what these refer to by number."""

    def __init__(self, words: Sequence[str] = (), tuples: Sequence[Sequence[int]] = ()) -> None:
        self._words = list(words)
        self._tuples = [tuple(self._words[i] for i in each) for each in tuples]
        self._word_at = {word: i for i, word in enumerate(self._words)}
        self._tuple_at = {each: i for i, each in enumerate(self._tuples)}
        self._known: dict[Any, Both] = {}

    def tables(self) -> dict[str, Any]:
        """What the constructor takes, for another process."""
        tuples = [[self._word_at[word] for word in each] for each in self._tuples]
        return {"words": self._words, "tuples": tuples}

    def of(self, kind: Any, value: Any) -> Any:
        """The plain form of a value whose annotation is `kind`.

        Raises:
            TypeError: there is none.
        """
        return self._both(kind)[0](value)

    def back(self, kind: Any, plain: Any) -> Any:
        """The value that `of` made a plain one from.

        Raises:
            TypeError, ValueError, LookupError: it was made from no value of this kind.
        """
        return self._both(kind)[1](plain)

    def _both(self, kind: Any) -> Both:
        """Made once for each kind: there are thousands of values of it."""
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._make(kind)
        return found

    def _make(self, kind: Any) -> Both:
        origin, inner = get_origin(kind), get_args(kind)
        if kind in AS_THEY_ARE:
            return _same, _same
        if kind is str or origin is Literal:
            return self._word, self._words.__getitem__
        if kind == TEXTS:
            return self._texts, self._tuples.__getitem__
        if isinstance(kind, type) and issubclass(kind, Enum):
            members = {str(member): member for member in kind}
            return self._word, lambda plain: members[self._words[plain]]
        if origin in (Union, UnionType):
            return self._optional(kind, inner)
        if origin is tuple and inner[-1] is not ...:
            return self._row(inner, tuple)
        if origin in (tuple, list):
            of, back = self._both(inner[0])
            return (
                lambda value: [of(v) for v in value],
                lambda plain: origin([back(v) for v in plain]),
            )
        if origin is deque:
            of, back = self._both(inner[0])
            return (
                lambda value: [value.maxlen, [of(v) for v in value]],
                lambda plain: deque((back(v) for v in plain[1]), maxlen=plain[0]),
            )
        if origin in (dict, Mapping):
            (key, key_back), (of, back) = (self._both(each) for each in inner)
            return (
                lambda value: [[key(k), of(v)] for k, v in value.items()],
                lambda plain: {key_back(k): back(v) for k, v in plain},
            )
        if origin is np.ndarray:
            return _of_array, _to_array
        return self._object(kind)

    def _optional(self, kind: Any, inner: Sequence[Any]) -> Both:
        present = [each for each in inner if each is not NoneType]
        if len(present) != 1:
            raise TypeError(f"no plain form tells the kinds of {kind} apart")
        of, back = self._both(present[0])
        return (
            lambda value: None if value is None else of(value),
            lambda plain: None if plain is None else back(plain),
        )

    def _row(self, kinds: Sequence[Any], make: Callable[[list[Any]], Any]) -> Both:
        codes = [self._both(each) for each in kinds]
        ways, ways_back = [of for of, _ in codes], [back for _, back in codes]
        return (
            lambda value: [of(v) for of, v in zip(ways, value, strict=True)],
            lambda plain: make([back(v) for back, v in zip(ways_back, plain, strict=True)]),
        )

    def _object(self, kind: Any) -> Both:
        parts = parts_of(kind)
        names = tuple(parts)
        of, back = self._row(
            list(parts.values()), lambda row: kind(**dict(zip(names, row, strict=True)))
        )
        get = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
        return lambda value: of(get(value)), back

    def _word(self, text: str) -> int:
        at = self._word_at.get(text)
        if at is None:
            at = self._word_at[str(text)] = len(self._words)
            self._words.append(str(text))
        return at

    def _texts(self, texts: tuple[str, ...]) -> int:
        at = self._tuple_at.get(texts)
        if at is None:
            at = self._tuple_at[texts] = len(self._tuples)
            self._tuples.append(texts)
            for text in texts:
                self._word(text)
        return at


def parts_of(kind: Any) -> dict[str, Any]:
    """Annotations of what a class holds, by name.

    Raises:
        TypeError: it does not say.
    """
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return {f.name: hints[f.name] for f in fields(kind)}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: f.annotation for name, f in kind.model_fields.items()}
    raise TypeError(f"{kind} has no plain form")


def _same(value: Any) -> Any:
    return value


def _of_array(array: Any) -> list[Any]:
    order = "C" if array.flags.c_contiguous else "F" if array.flags.f_contiguous else ""
    if array.dtype != np.float64 or not order:
        raise TypeError(f"an array of {array.dtype}, strides {array.strides}, has no plain form")
    return [list(array.shape), order, base64.b64encode(array.tobytes(order)).decode()]


def _to_array(plain: list[Any]) -> Any:
    shape, order, text = plain
    flat = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.float64)
    return flat.reshape(shape, order=order).copy(order)
