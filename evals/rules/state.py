"""Rules on what a candidate does while it is scored: remembering, counting, learning, timing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from novum.evals.rules.program import Module, Program
from novum.evals.rules.reach import LM_ENTRY, Function, has_entry, scored, surely_scored
from novum.evals.rules.rule import BLOCK, CONFIRM, NOTE, Found, Rule

IDENTITY_METHODS = frozenset(
    """data_ptr tobytes tolist item storage untyped_storage _cdata _version __hash__ digest
            hexdigest numpy_bytes tostring __array_interface__ ctypes storage_ptr""".split()
)
IDENTITY_CALLS = frozenset(
    """builtins.id builtins.hash zlib.crc32 zlib.adler32 hashlib. binascii.crc32
            torch.hash_tensor torch.equal torch.allclose numpy.array_equal numpy.allclose
            xxhash. mmh3. builtins.repr builtins.bytes builtins.memoryview""".split()
)
COMPARERS = (
    "torch.equal",
    "torch.allclose",
    "torch.isclose",
    "numpy.array_equal",
    "numpy.allclose",
    "numpy.array_equiv",
    "torch.testing.assert_close",
)
GRADIENTS = frozenset(
    f"torch.{name}"
    for name in """autograd.grad autograd.backward func.grad func.grad_and_value func.vjp
            Tensor.backward""".split()
)
LEARNERS = (
    "torch.optim.",
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.enable_grad",
    "torch.autograd.functional.",
    "torch.func.grad",
    "torch.func.grad_and_value",
    "torch.func.vjp",
    "torch.func.jvp",
    "torch.func.linearize",
    "torch.func.jacrev",
    "torch.func.jacfwd",
    "torch.set_grad_enabled",
)
FORM = frozenset("shape dtype device ndim size itemsize nbytes stride strides is_cuda".split())
EMPTIES = frozenset(
    """empty_like zeros_like ones_like full_like new_empty new_zeros len isinstance type range size
    stride dim numel device""".split()
)
REDUCTIONS = frozenset("sum mean norm max min std var prod dot argmax median".split())
CLOCKS = ("time.", "datetime.datetime.now", "torch.cuda.Event", "timeit.")


def _here(module: Module, program: Program) -> list[Function]:
    return [f for m, f in scored(program) if m is module]


def _caches(module: Module, program: Program) -> Iterable[Found]:
    """Look-ups whose key is the identity or the content of an input."""
    for function in _here(module, program):
        for node in ast.walk(function):
            for key in _keys(node):
                if (how := _identity(module, key)) is not None:
                    yield Found(key.lineno, f"looks something up by {how}")
        for decorator in function.decorator_list:
            names = module.names.resolve(decorator)
            if any(
                n.replace("()", "") in ("functools.lru_cache", "functools.cache") for n in names
            ):
                is_entry = function.name in (LM_ENTRY, "run", "forward", "logits", "custom_kernel")
                if is_entry or _takes_tensors(function):
                    yield Found(function.lineno, f"{function.name} remembers its results")


def _keys(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
        yield node.slice
    elif isinstance(node, ast.Compare):
        if any(
            isinstance(op, (ast.In, ast.NotIn, ast.Eq, ast.NotEq, ast.Is, ast.IsNot))
            for op in node.ops
        ):
            yield node.left
            yield from node.comparators
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in (
            "get",
            "setdefault",
            "pop",
            "__getitem__",
            "__contains__",
            "add",
            "index",
        ):
            yield from node.args[:1]


def _identity(module: Module, key: ast.expr, depth: int = 0) -> str | None:
    """How a key depends on what an input is or holds; shapes, dtypes and devices do not count."""
    if depth > 4:
        return None
    for node in ast.walk(key):
        if isinstance(node, ast.Attribute) and node.attr in IDENTITY_METHODS - {"item", "tolist"}:
            return f".{node.attr}"
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("item", "tolist"):
                return f".{node.func.attr}()"
            if isinstance(node.func, ast.Name) and node.func.id in ("float", "int", "round", "str"):
                if (reduced := _reduction(node)) is not None:
                    return f"{node.func.id}(.{reduced}())"
            for name in module.names.resolve(node.func):
                if any(name == c or c.endswith(".") and name.startswith(c) for c in IDENTITY_CALLS):
                    return name
            own = isinstance(node.func, ast.Name) and module.names.function(node.func.id)
            if own:
                for inner in ast.walk(own):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        if (how := _identity(module, inner.value, depth + 1)) is not None:
                            return how
        if isinstance(node, ast.Name) and depth < 3:
            for value in module.names.values(node.id):
                if value is not key and (how := _identity(module, value, depth + 1)) is not None:
                    return how
    return None


def _reduction(node: ast.Call) -> str | None:
    """A sum or the like inside a conversion to a Python number: a checksum of the content."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            if inner.func.attr in REDUCTIONS:
                return inner.func.attr
    return None


def _marks(module: Module, program: Program) -> Iterable[Found]:
    """Attributes hung on an input, and dictionaries keyed by objects."""
    for function in _here(module, program):
        args = {a.arg for a in (*function.args.posonlyargs, *function.args.args)} - {"self", "cls"}
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in args - {"ctx"}:
                    yield Found(node.lineno, f"hangs .{node.attr} on its input {node.value.id}")
    for line, name in module.mentions:
        if name in ("weakref.WeakKeyDictionary", "weakref.WeakValueDictionary"):
            yield Found(line, f"{name}: a table keyed by objects")


def _takes_tensors(function: Function) -> bool:
    wanted = {"x", "tokens", "inputs", "input", "q", "k", "v", "logits", "hidden"}
    args = [*function.args.posonlyargs, *function.args.args]
    return any(a.arg in wanted or "Tensor" in ast.dump(a.annotation or ast.Pass()) for a in args)


def _comparisons(module: Module, program: Program) -> Iterable[Found]:
    for function in _here(module, program):
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                for name in module.names.resolve(node.func):
                    if name in COMPARERS:
                        yield Found(node.lineno, f"compares tensors by {name}")


def _counters(module: Module, program: Program) -> Iterable[Found]:
    """State that counts calls and is asked in a condition."""
    for function in _here(module, program):
        local = _locals(function)
        for node in ast.walk(function):
            target = _counted(node)
            if target is None or isinstance(target, ast.Name) and target.id in local:
                continue
            name = ast.unparse(target)
            if _asked(module, program, name):
                yield Found(target.lineno, f"counts in {name} and asks for it")
            elif not isinstance(target, ast.Name):
                yield Found(target.lineno, f"counts in {name}", NOTE)


def _counted(node: ast.AST) -> ast.expr | None:
    if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
        return node.target if _is_step(node.value) else None
    if (
        isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.value, ast.BinOp)
    ):
        target, value = node.targets[0], node.value
        if isinstance(value.op, ast.Add) and _is_step(value.right):
            names = {ast.unparse(target), getattr(target, "attr", "")} - {""}
            found = {ast.unparse(n) for n in ast.walk(value.left) if isinstance(n, ast.expr)}
            found |= {f.strip("'") for f in found}
            return target if names & found else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "next":
        return node.args[0] if node.args else None
    return None


def _lengths(module: Module, program: Program) -> Iterable[Found]:
    """`len` of a container that scored code fills, asked in a condition: a counter in disguise."""
    filled = {f.what.removeprefix("fills ") for f in _memory(module, program)}
    for function in _here(module, program):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                inner = node.args[0]
                if node.func.id == "len" and isinstance(inner, ast.Name) and inner.id in filled:
                    if any(isinstance(p, (ast.Compare, ast.BinOp)) for p in [module.parents[node]]):
                        yield Found(node.lineno, f"asks how often it has filled {inner.id}")


def _is_step(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and abs(node.value) <= 2


def _locals(function: Function) -> set[str]:
    outer = {
        n for g in ast.walk(function) if isinstance(g, (ast.Global, ast.Nonlocal)) for n in g.names
    }
    bound = {
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return bound - outer


def _asked(module: Module, program: Program, name: str) -> bool:
    """Whether a condition in scored code depends on a counter."""
    for function in _here(module, program):
        for node in ast.walk(function):
            test = getattr(node, "test", None) or (node if isinstance(node, ast.Compare) else None)
            if isinstance(test, ast.expr):
                if any(isinstance(n, ast.expr) and ast.unparse(n) == name for n in ast.walk(test)):
                    return True
            if isinstance(node, (ast.Subscript, ast.BinOp)) and not isinstance(node, ast.AugAssign):
                inner = node.slice if isinstance(node, ast.Subscript) else node
                is_modulo = isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Mod)
                if is_modulo and any(
                    isinstance(n, ast.expr) and ast.unparse(n) == name for n in ast.walk(inner)
                ):
                    return True
    return False


def _memory(module: Module, program: Program) -> Iterable[Found]:
    """Module-level containers that scored code fills."""
    top = _top_names(module)
    for function in _here(module, program):
        declared = {n for g in ast.walk(function) if isinstance(g, ast.Global) for n in g.names}
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Name)
                and isinstance(node.ctx, ast.Store)
                and node.id in declared
            ):
                yield Found(node.lineno, f"keeps {node.id} from call to call")
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in top:
                    yield Found(node.lineno, f"fills {node.value.id}")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                fills = ("append", "extend", "add", "update", "insert", "appendleft")
                if node.func.attr in fills and isinstance(owner, ast.Name) and owner.id in top:
                    yield Found(node.lineno, f"fills {owner.id}")


def _kept_results(module: Module, program: Program) -> Iterable[Found]:
    """Values computed from an input, put where the next call finds them."""
    top = _top_names(module)
    for function in _here(module, program):
        tainted = {a.arg for a in (*function.args.posonlyargs, *function.args.args)}
        tainted -= {"self", "cls", "folder", "device", "ctx"}
        for _ in range(3):  # names of names
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and _depends(module, node.value, tainted):
                    tainted |= {
                        n.id
                        for t in node.targets
                        for n in ast.walk(t)
                        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
                    }
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and _depends(module, node.value, tainted):
                for target in node.targets:
                    owner = target.value if isinstance(target, ast.Subscript) else None
                    if isinstance(owner, ast.Name) and owner.id in top:
                        yield Found(node.lineno, f"keeps a result in {owner.id}")


def _depends(module: Module, node: ast.expr, tainted: set[str]) -> bool:
    """Whether a value holds what an input holds; shape, type, device and length do not count."""
    if isinstance(node, ast.Name):
        return node.id in tainted
    if isinstance(node, ast.Attribute):
        return node.attr not in FORM and _depends(module, node.value, tainted)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name in EMPTIES or module.names.is_own(name) and name[:1].isupper():
            return False
    return any(
        _depends(module, child, tainted)
        for child in ast.iter_child_nodes(node)
        if isinstance(child, ast.expr)
    )


def _top_names(module: Module) -> set[str]:
    return {
        t.id
        for s in module.tree.body
        if isinstance(s, (ast.Assign, ast.AnnAssign))
        for t in (s.targets if isinstance(s, ast.Assign) else [s.target])
        if isinstance(t, ast.Name)
    }


def _learning(module: Module, program: Program) -> Iterable[Found]:
    """Gradients and optimisers in code that runs while a language model is scored."""
    if not has_entry(program, LM_ENTRY):
        return
    yield from _gradients(module, program)
    for function in _here(module, program):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "backward":
                    yield Found(node.lineno, "calls .backward()")
                elif node.func.attr == "requires_grad_" and not _is_false(node):
                    yield Found(node.lineno, "asks for gradients")
            if isinstance(node, ast.expr):
                for name in module.names.resolve(node):
                    if any(name == n or n.endswith(".") and name.startswith(n) for n in LEARNERS):
                        off = isinstance(node, ast.Call) and _is_false(node)
                        if name != "torch.set_grad_enabled" and not off:
                            yield Found(node.lineno, f"uses {name.replace('()', '')}")


def _gradients(module: Module, program: Program) -> Iterable[Found]:
    """Gradients where a model is surely loaded or asked: training that nobody's clock counts."""
    spans = []
    for function in (f for m, f in surely_scored(program) if m is module):
        for node in ast.walk(function):
            if isinstance(node, ast.stmt):
                spans.append((node.lineno, node.end_lineno or node.lineno))
            if isinstance(node, ast.Attribute) and node.attr == "backward":
                yield Found(node.lineno, "asks for backward in what scoring runs", BLOCK)
            elif isinstance(node, ast.expr) and module.names.resolve(node) & GRADIENTS:
                yield Found(node.lineno, "computes gradients in what scoring runs", BLOCK)
    for line, text in module.texts:
        if text == "backward" and any(first <= line <= last for first, last in spans):
            yield Found(line, "names backward in what scoring runs", BLOCK)


def _is_false(node: ast.Call) -> bool:
    return any(isinstance(a, ast.Constant) and a.value is False for a in node.args)


def _clocks(module: Module, program: Program) -> Iterable[Found]:
    for function in _here(module, program):
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                for name in module.names.resolve(node.func):
                    if any(name == c or c.endswith(".") and name.startswith(c) for c in CLOCKS):
                        yield Found(node.lineno, f"looks at the clock: {name}")


def _in_place(module: Module, program: Program) -> Iterable[Found]:
    """In-place changes of attributes in scored code: parameters, buffers, statistics."""
    for function in _here(module, program):
        if function.name == "__init__":
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method, owner = node.func.attr, node.func.value
                is_own = isinstance(owner, ast.Attribute) and ast.unparse(owner).startswith("self.")
                if method.endswith("_") and not method.startswith("_") and is_own:
                    yield Found(node.lineno, f"changes {ast.unparse(owner)} in place")


STATE_RULES = (
    Rule(
        "identity-cache",
        CONFIRM,
        "remembers results by the address, identity or content of its input",
        "plans, graphs and compiled code are cached by shape, dtype and device, which is free",
        _caches,
    ),
    Rule(
        "input-comparison",
        CONFIRM,
        "compares its input with something it has kept",
        "assertions belong into tests",
        _comparisons,
    ),
    Rule(
        "call-counter",
        CONFIRM,
        "counts its calls and behaves by the count",
        "training loops count steps; code that is scored has nothing to count",
        _counters,
    ),
    Rule(
        "kept-results",
        CONFIRM,
        "keeps what it computed from an input where the next call finds it",
        "graphs and plans keep buffers into which inputs are copied: put them into a class",
        _kept_results,
    ),
    Rule(
        "marked-input",
        CONFIRM,
        "keeps something with an input, to know it again",
        "autograd functions keep tensors in `ctx`, which is free",
        _marks,
    ),
    Rule(
        "counted-container",
        CONFIRM,
        "behaves by the number of things it has kept",
        "bounded caches: bound them by shape, not by the number of calls",
        _lengths,
    ),
    Rule(
        "kept-state",
        NOTE,
        "keeps something from call to call while it is scored",
        "tables of positions, masks, plans by shape",
        _memory,
    ),
    Rule(
        "learning-while-scored",
        CONFIRM,
        "computes gradients or updates where it is scored",
        "models that hold their optimiser: only what the entry function reaches counts",
        _learning,
    ),
    Rule(
        "clock-while-scored",
        NOTE,
        "looks at the clock where it is scored",
        "autotuning at the first call",
        _clocks,
    ),
    Rule(
        "changes-itself",
        NOTE,
        "changes tensors of its own in place where it is scored",
        "key-value caches and running statistics; the probes compare before and after",
        _in_place,
    ),
)
