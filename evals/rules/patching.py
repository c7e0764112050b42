"""Rules on changing code that is not the candidate's own: libraries, timers, the import system."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, CONFIRM, NOTE, Found, Mention, Rule, matches
from novum.lab.records import Outcome

SETTINGS = tuple(
    """sys.excepthook sys.displayhook sys.unraisablehook sys.stdout sys.stderr sys.ps1
            torch.backends. torch._dynamo.config. torch._inductor.config.
            torch._functorch.config. torch.set_float32_matmul_precision torch.utils.data.
            triton.knobs. torch.distributed.config. warnings. logging. matplotlib.
            torch.fx.config. torch._logging. numpy.random. torch.nn.attention.
            torch.serialization.""".split()
)
"""Places whose attributes are settings: assigning to them is how they are used."""
CRITICAL = tuple(
    """time. builtins. sys. os. harness. json. struct. socket. pickle. statistics. math.
            operator. gc. inspect. io. threading. signal. hashlib. random. contextlib.
            importlib. types. numpy. torch.cuda.Event torch.cuda.synchronize torch.cuda.Event.
            torch.allclose torch.equal torch.isclose torch.testing. torch.isnan torch.isfinite
            torch.Tensor. torch.utils.benchmark. torch.profiler. torch.save torch.load
            torch.from_numpy torch.nn.functional.cross_entropy multiprocessing. mmap. selectors.
            novum. triton.testing.""".split()
)
"""What measuring, comparing and talking to the harness rest on."""
SETTER_CALLS = frozenset(
    """builtins.setattr builtins.object.__setattr__ builtins.type.__setattr__
            unittest.mock.patch unittest.mock.patch.object builtins.delattr""".split()
)
MUTATORS = (".update", ".setdefault", ".__setitem__", ".__setattr__", ".pop", ".clear")


def _targets(module: Module) -> Iterator[tuple[int, ast.expr, str]]:
    """(line, object, attribute) of everything that is assigned, deleted or set by a call."""
    names = module.names
    for node in module.nodes:
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(
            node.ctx, (ast.Store, ast.Del)
        ):
            if isinstance(node, ast.Attribute):
                yield node.lineno, node.value, node.attr
            else:
                yield node.lineno, node.value, "[]"
        elif isinstance(node, ast.Call):
            functions = names.resolve(node.func)
            if functions & SETTER_CALLS and node.args:
                attribute = names.constants(node.args[1]) if len(node.args) > 1 else ["?"]
                for name in attribute or ["?"]:
                    yield node.lineno, node.args[0], name
            if isinstance(node.func, ast.Attribute) and any(
                f.endswith(MUTATORS) for f in functions
            ):
                yield node.lineno, node.func.value, "[]"


def _monkey_patches(module: Module, program: Program) -> Iterable[Found]:
    for line, owner, attribute in _targets(module):
        for base in _foreign(module, owner, program):
            if "()" in base or "[]" in base:
                continue  # an instance that the program made itself
            path = base.removesuffix(".__dict__")
            is_mapping = attribute == "[]"
            if (
                is_mapping
                and not base.endswith((".__dict__", "<globals>"))
                and path != "sys.modules"
            ):
                if path not in ("os.environ", "sys.path", "sys.argv"):
                    yield Found(line, f"changes {path} in place", _tier(path))
                continue
            target = path if is_mapping else f"{path}.{attribute}"
            if target != "<globals>" and (tier := _tier(target)) is not None:
                yield Found(line, f"assigns {target}", tier)


def _foreign(module: Module, owner: ast.expr, program: Program) -> Iterator[str]:
    own = {m.path.removesuffix(".py").replace("/", ".") for m in program.modules}
    for base in module.names.resolve(owner):
        root = base.lstrip(".").split(".")[0]
        if not base.startswith((".", "<get>")) and root not in own:
            yield base


def _tier(target: str) -> Outcome | None:
    if any(matches(target, s) for s in SETTINGS):
        return None
    if target.startswith("numpy.") and not target.startswith(("numpy.linalg", "numpy.testing")):
        return BLOCK
    if any(matches(target, c) for c in CRITICAL):
        return BLOCK
    if target.rsplit(".", 1)[-1].startswith("__"):
        return BLOCK
    return CONFIRM


def _operators(module: Module, _: Program) -> Iterable[Found]:
    """Registering other implementations for a library's own operators."""
    for node, functions in module.calls():
        texts = module.names.constants(node.args[0]) if node.args else None
        if "torch.library.Library" in functions and set(texts or ()) & {"aten", "prims", "prim"}:
            yield Found(node.lineno, "replaces PyTorch's own operators")
        for name in functions:
            if name.endswith(("set_numeric_ops", "set_string_function")):
                yield Found(node.lineno, f"replaces operators by {name}")


def _decorated_patch(module: Module, _: Program) -> Iterable[Found]:
    for node, functions in module.calls():
        for name in functions:
            if name.startswith(("unittest.mock.patch", "mock.patch")):
                yield Found(node.lineno, f"{name} replaces a library's function")


PATCHING_RULES = (
    Rule(
        "monkey-patch",
        BLOCK,
        "replaces a function or attribute of a library, so that other code measures something else",
        "skipping a layer's own initialisation (`nn.Linear.reset_parameters`) costs a second look; "
        "settings such as `torch.backends` and `torch._dynamo.config` are free to set",
        _monkey_patches,
    ),
    Rule(
        "operators",
        BLOCK,
        "replaces the implementation of a library's operators for the whole process",
        "operators of one's own have a namespace of their own",
        _operators,
    ),
    Rule(
        "mock",
        BLOCK,
        "replaces library functions by a mocking tool",
        "none in a solution: mocks belong to tests",
        _decorated_patch,
    ),
    Rule(
        "import-system",
        BLOCK,
        "changes how imports are resolved, so that another module answers to a known name",
        "`sys.path.insert(0, own folder)` before importing an own file is a note only",
        Mention(
            (
                "sys.meta_path",
                "sys.path_hooks",
                "sys.path_importer_cache",
                "importlib.abc.",
                "importlib.invalidate_caches",
                "sys.path.insert",
                "sys.path.append",
                "sys.path.extend",
                "site.",
                "sysconfig.",
                "imp.",
                "usercustomize.",
                "sitecustomize.",
                "pkg_resources.",
                "forbiddenfruit.",
                "wrapt.",
                "sys.addaudithook",
                "sys.displayhook",
                "sys.excepthook",
                "sys.unraisablehook",
            ),
            tiers={
                "sys.path.insert": NOTE,
                "sys.path.append": NOTE,
                "sys.path.extend": NOTE,
                "sysconfig.": NOTE,
                "sys.excepthook": NOTE,
                "sys.displayhook": NOTE,
                "sys.unraisablehook": NOTE,
                "importlib.invalidate_caches": NOTE,
                "importlib.abc.": CONFIRM,
            },
        ),
    ),
)
