"""Rules of the packs that train on text: none of it is known before the clock starts.

The corpus `python` is the source of the interpreter's own library, which a sandbox has to show.
Held-out files are covered; the text to train on lies open. Whoever reads it before `start()`, or
reads other text, trains in time that nobody counts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from novum.evals.rules.program import Module, Program
from novum.evals.rules.rule import BLOCK, Found, Mention, Rule

ORIGIN = frozenset(
    "__file__ __path__ __cached__ __spec__ __loader__ __doc__ submodule_search_locations".split()
)
READERS = frozenset("rglob get_source get_data get_code scandir iterdir walk getdoc".split())
PLACES = re.compile(r"^/(usr|opt|nix|lib\d*|home|root|var|mnt|srv)(/|$)|python3|-packages\b")
LIBRARIES = Mention(
    (
        "sys.path",
        "sys.prefix",
        "sys.base_prefix",
        "sys.exec_prefix",
        "sys.base_exec_prefix",
        "sys.executable",
        "sys.modules",
        "sys.path_importer_cache",
        "sysconfig.",
        "site.",
        "distutils.",
        "importlib.resources.",
        "importlib.metadata.",
        "importlib.util.find_spec",
        "importlib.machinery.",
        "importlib.util.cache_from_source",
        "pkgutil.",
        "zipimport.",
        "inspect.getsource",
        "inspect.getsourcelines",
        "inspect.getsourcefile",
        "inspect.getfile",
        "inspect.getdoc",
        "inspect.getcomments",
        "linecache.",
        "tokenize.open",
        "pydoc.",
        "doctest.",
        "builtins.help",
        "help",
        "os.walk",
        "os.fwalk",
        "os.scandir",
        "os.listdir",
        "dis.",
        "numpy.get_include",
        "shutil.which",
        "torch.utils.cpp_extension.include_paths",
        "glob.",
        "this.",
    )
)


def _reads_machine(module: Module, program: Program) -> Iterable[Found]:
    yield from LIBRARIES(module, program)
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in ORIGIN | READERS:
            yield Found(node.lineno, f"asks for {node.attr}")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            named = {alias.name for alias in node.names}
            if named & {"this", "pydoc_data"}:
                yield Found(node.lineno, "imports a text")
    for line, text in module.texts:
        if text in ORIGIN | READERS:
            yield Found(line, f"names {text}")
        elif PLACES.search(text):
            yield Found(line, f"names {text[:60]}")


RULES = (
    Rule(
        "texts-of-the-machine",
        BLOCK,
        "looks for text on the machine, where the corpus itself lies open before the clock starts",
        "none is needed: a candidate reads what the harness hands out and what it saved",
        python=_reads_machine,
    ),
)
