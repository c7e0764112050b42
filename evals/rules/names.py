"""What a name stands for: dotted paths of imported things, through every spelling of an alias.

`o.fork`, `getattr(o, "fo" + "rk")`, `__import__("os").fork`, `vars(os)["fork"]`,
`sys.modules["os"].fork`, `attrgetter("fork")(os)` and `f` after `f = os.fork` all resolve to
`os.fork`. The analysis ignores the order of statements and keeps every value that a name may have.
A call is marked by `()`: `inspect.currentframe().f_back`.
"""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterable, Sequence

from novum.evals.rules.fold import UNKNOWN, Folder

MAX_DEPTH = 12
MAX_VALUES = 16
DYNAMIC = "?"
"""Stands for an attribute or module whose name could not be folded."""

_IMPORTERS = frozenset(
    {
        "builtins.__import__",
        "importlib.import_module",
        "importlib.__import__",
        "importlib.reload",
        "importlib._bootstrap._gcd_import",
        "pkgutil.resolve_name",
        "pydoc.locate",
        "importlib.util.find_spec",
        "imp.load_module",
    }
)
_GETTERS = frozenset(
    {
        "builtins.getattr",
        "builtins.object.__getattribute__",
        "builtins.type.__getattribute__",
        "inspect.getattr_static",
    }
)
_BUILTIN_NAMES = frozenset(dir(builtins)) - {"print", "len", "range"}


class Names:
    """Resolves the expressions of one module, given all its nodes, outermost first."""

    def __init__(self, nodes: Sequence[ast.AST]) -> None:
        self._imports: dict[str, set[str]] = defaultdict(set)
        self._values: dict[str, list[ast.expr]] = defaultdict(list)
        self._unfoldable: set[str] = set()
        self._functions: dict[str, ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef] = {}
        self._classes: set[str] = set()
        self._params: set[str] = set()
        self._cache: dict[int, frozenset[str]] = {}
        self._busy: set[int] = set()
        self.stars: list[str] = []
        for node in nodes:
            self._collect(node)
        for node in nodes:
            if isinstance(node, ast.Call):
                self._bind_arguments(node)
        self.fold = Folder(self._foldable, self.resolve)

    def resolve(self, node: ast.expr) -> frozenset[str]:
        """Every dotted path that an expression may stand for; none for the program's own."""
        key = id(node)
        if key in self._cache:
            return self._cache[key]
        if key in self._busy or len(self._busy) > 200:
            return frozenset()
        self._busy.add(key)
        found = frozenset(sorted(self._resolve(node))[:MAX_VALUES])
        self._busy.discard(key)
        if not self._busy:  # inside a cycle the answer may be partial
            self._cache[key] = found
        return found

    def is_own(self, name: str) -> bool:
        """Whether a name is a function or class of this module."""
        return name in self._functions or name in self._classes

    def function(self, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
        """The module's function of this name."""
        return self._functions.get(name)

    def values(self, name: str) -> list[ast.expr]:
        """Every expression that is assigned to a name anywhere in the module."""
        return list(self._values.get(name, ()))

    def _collect(self, node: ast.AST) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    if alias.asname:
                        self._imports[alias.asname].add(alias.name)
                    else:
                        root = alias.name.split(".")[0]
                        self._imports[root].add(root)
            case ast.ImportFrom():
                module = "." * node.level + (node.module or "")
                for alias in node.names:
                    if alias.name == "*":
                        self.stars.append(module)
                    else:
                        self._imports[alias.asname or alias.name].add(f"{module}.{alias.name}")
            case ast.Assign():
                for target in node.targets:
                    self._bind(target, node.value)
            case ast.AnnAssign(value=ast.expr() as value):
                self._bind(node.target, value)
            case ast.NamedExpr():
                self._bind(node.target, node.value)
            case ast.AugAssign(target=ast.Name(id=name)):
                self._unfoldable.add(name)
                self._values[name].append(node.value)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                self._bind_items(node.target, node.iter)
            case ast.withitem(optional_vars=ast.expr() as target):
                self._bind(target, node.context_expr)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._functions[node.name] = node
                self._bind_defaults(node.args)
            case ast.Lambda():
                self._bind_defaults(node.args)
            case ast.ClassDef():
                self._classes.add(node.name)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._values[target.id].append(value)
            if isinstance(value, ast.Lambda):
                self._functions[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
            for i, t in enumerate(target.elts):
                self._bind(t, value.elts[i] if same else value)  # type: ignore[attr-defined]
                if not same and isinstance(t, ast.Name):
                    self._unfoldable.add(t.id)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, value)

    def _bind_items(self, target: ast.expr, items: ast.expr) -> None:
        """A loop variable stands for every element of a display, and folds to none of them."""
        if isinstance(items, (ast.Tuple, ast.List, ast.Set)):
            for element in items.elts:
                self._bind(target, element)
        else:
            self._bind(target, items)
        self._unfoldable.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))

    def _bind_defaults(self, args: ast.arguments) -> None:
        named = (*args.posonlyargs, *args.args)
        self._params.update(a.arg for a in (*named, *args.kwonlyargs))
        for arg, default in zip(
            named[len(named) - len(args.defaults) :], args.defaults, strict=True
        ):
            self._values[arg.arg].append(default)
            self._unfoldable.add(arg.arg)
        for arg, kw in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            if kw is not None:
                self._values[arg.arg].append(kw)
                self._unfoldable.add(arg.arg)

    def _bind_arguments(self, call: ast.Call) -> None:
        """A parameter of the module's own function stands for what its callers hand in."""
        function = self._functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if function is None:
            return
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        given = dict(zip(names, call.args, strict=False))
        given |= {k.arg: k.value for k in call.keywords if k.arg}
        for name, value in given.items():
            if not (isinstance(value, ast.Name) and value.id == name):
                self._values[name].append(value)

    def _foldable(self, name: str) -> list[ast.expr] | None:
        if name in self._unfoldable or name in self._params:
            return None
        return self._values.get(name)

    def constants(self, node: ast.expr) -> list[str] | None:
        """Every text that an expression is known to be; `None` when nothing is known of it.

        A parameter is what the callers in this module hand in, a loop variable every element.
        """
        text = self.fold.text(node)
        if text is not None:
            return [text]
        if isinstance(node, ast.IfExp):
            parts = [self.constants(node.body), self.constants(node.orelse)]
            return None if None in parts else [t for p in parts if p for t in p]
        if not isinstance(node, ast.Name) or node.id not in self._values:
            return None
        found: list[str] = []
        for value in self._values[node.id]:
            folded = self.fold.value(value)
            if isinstance(folded, (str, bytes)):
                found.append(folded if isinstance(folded, str) else folded.decode("latin-1"))
            elif isinstance(folded, list) and all(isinstance(e, str) for e in folded):
                found += folded
            else:
                return None
        return found

    def _resolve(self, node: ast.expr) -> set[str]:
        match node:
            case ast.Name():
                return self._resolve_name(node.id)
            case ast.Attribute():
                found = {_join(b, node.attr) for b in self.resolve(node.value)}
                owner = node.value
                if isinstance(owner, ast.Name) and owner.id in self._classes:
                    found |= self._imports.get(node.attr, set())
                return found
            case ast.Call():
                return self._resolve_call(node)
            case ast.Subscript():
                return self._resolve_subscript(node)
            case ast.IfExp():
                return set(self.resolve(node.body) | self.resolve(node.orelse))
            case ast.BoolOp():
                return set().union(*(self.resolve(v) for v in node.values))
            case ast.NamedExpr() | ast.Await() | ast.Starred():
                return set(self.resolve(node.value))
        return set()

    def _resolve_name(self, name: str) -> set[str]:
        found = set(self._imports.get(name, ()))
        for value in self._values.get(name, ()):
            found |= self.resolve(value)
        if name == "__builtins__":
            found.add("builtins")
        known = found or name in self._values or self.is_own(name) or name in self._params
        if not known and name in _BUILTIN_NAMES:
            found.add(f"builtins.{name}")
        if not known and not found:
            found |= {f"{star}.{name}" for star in self.stars}
        return found

    def _resolve_call(self, node: ast.Call) -> set[str]:
        found: set[str] = set()
        for function in self.resolve(node.func):
            found |= self._called(function, node)
        if isinstance(node.func, ast.Name) and node.func.id in self._functions:
            found |= self._returned(self._functions[node.func.id])
        if isinstance(node.func, ast.Lambda):
            found |= self.resolve(node.func.body)
        if isinstance(node.func, ast.Attribute):
            found |= self._method(node.func, node)
        return found

    def _called(self, function: str, node: ast.Call) -> set[str]:
        args = node.args
        if function in _IMPORTERS and args:
            if function == "importlib.reload":
                return set(self.resolve(args[0]))
            texts = self.constants(args[0])
            return {t.replace(":", ".") for t in texts} if texts is not None else {DYNAMIC}
        if function in _GETTERS and len(args) >= 2:
            return {_join(b, a) for b in self.resolve(args[0]) for a in self._attribute(args[1])}
        if function == "builtins.vars" and args:
            return {f"{b}.__dict__" for b in self.resolve(args[0])}
        if function in ("builtins.globals", "builtins.locals") or function == "builtins.vars":
            return {"<globals>"}
        if (
            function in ("operator.attrgetter", "operator.methodcaller", "operator.itemgetter")
            and args
        ):
            return {f"<get>{a}" for a in self._attribute(args[0])}
        if function.startswith("<get>") and args:
            return {_join(b, function[5:]) for b in self.resolve(args[0])}
        if function in ("functools.partial", "functools.wraps", "functools.partialmethod") and args:
            return set(self.resolve(args[0]))
        if function.endswith((".__dict__.get", ".__dict__.__getitem__", ".__dict__.pop")) and args:
            base = function.rsplit(".__dict__", 1)[0]
            return {_join(base, a) for a in self._attribute(args[0])}
        if function.startswith("sys.modules.") and args:
            return set(self._attribute(args[0]))
        if function.endswith(".__getattribute__") and args:
            return {
                _join(function[: -len(".__getattribute__")], a) for a in self._attribute(args[-1])
            }
        return {function + "()"}

    def _method(self, func: ast.Attribute, node: ast.Call) -> set[str]:
        """`own.get("x")` and the like on containers of the program: any element may come out."""
        if func.attr in ("get", "pop", "__getitem__", "setdefault", "values", "popitem"):
            return self._elements(func.value)
        return set()

    def _returned(self, function: ast.AST) -> set[str]:
        if isinstance(function, ast.Lambda):
            return set(self.resolve(function.body))
        found: set[str] = set()
        for inner in ast.walk(function):
            if isinstance(inner, ast.Return) and inner.value is not None:
                found |= self.resolve(inner.value)
        return found

    def _resolve_subscript(self, node: ast.Subscript) -> set[str]:
        found: set[str] = set()
        for base in self.resolve(node.value):
            if base == "sys.modules":
                found |= set(self._attribute(node.slice))
            elif base == "<globals>":
                for name in self._attribute(node.slice):
                    found |= self._resolve_name(name)
            elif base.endswith(".__dict__") or base == "builtins":
                owner = base.removesuffix(".__dict__")
                found |= {_join(owner, a) for a in self._attribute(node.slice)}
            else:
                found.add(base + "[]")
        return found | self._elements(node.value)

    def _elements(self, node: ast.expr) -> set[str]:
        """What the elements of a display may stand for."""
        found: set[str] = set()
        for value in self._displays(node):
            parts = value.values if isinstance(value, ast.Dict) else value.elts  # type: ignore[attr-defined]
            for part in parts:
                found |= self.resolve(part)
        return found

    def _displays(self, node: ast.expr) -> Iterable[ast.expr]:
        kinds = (ast.Dict, ast.List, ast.Tuple, ast.Set)
        if isinstance(node, kinds):
            return [node]
        if isinstance(node, ast.Name):
            return [v for v in self._values.get(node.id, ()) if isinstance(v, kinds)]
        return []

    def _attribute(self, node: ast.expr) -> list[str]:
        texts = self.constants(node)
        if texts is not None:
            return texts
        return [DYNAMIC] if self.fold.value(node) is UNKNOWN else []


SYSTEM_MODULES = frozenset(
    """os sys builtins ctypes gc subprocess socket importlib posix inspect marshal pickle _thread
    multiprocessing harness""".split()
)


def _join(base: str, attribute: str) -> str:
    """The path of an attribute; a system module reached through another module is itself."""
    is_elsewhere = attribute != base and "(" not in base and not base.startswith(".")
    if attribute in SYSTEM_MODULES and is_elsewhere:
        return attribute
    if attribute == "__dict__" and base.endswith(".__dict__"):
        return base
    return f"{base}.{attribute}"
