"""The layout holds: imports point one way, help is quick, every folder is packaged."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    "errors": 0,
    "tables": 0,
    "settings": 1,
    "lab": 2,
    "sandboxes": 3,
    "benchmarks": 4,
    "evals": 5,
    "memory": 5,
    "tools": 6,
    "agents": 7,
    "packs": 6,
    "suites": 8,
    "app": 9,
}
"""A module may import its own layer and those with a lower number; `evals` and `memory` are
strangers to one another. A pack's rules speak the audit's language; the suites judge the
whole lab, so they stand above it."""
BARE = {"sandboxes", "benchmarks", "evals"}
"""Layers that run on a node with nothing but these installed."""
BARE_MAY_IMPORT = {"numpy", "pydantic", "psutil", "novum"}
OF_THE_SANDBOX = {"harness", "facts", "landlock"}
"""Modules that exist only beside code inside a sandbox."""


def layer_of(name: str) -> str | None:
    """The layer of a full module name; `None` for what is not ours or stands outside."""
    parts = name.split(".")
    if parts[0] != "novum" or len(parts) < 2:
        return None
    if parts[1:3] == ["evals", "suites"]:
        return "suites"
    return parts[1] if parts[1] in LAYERS else None


def sources() -> list[tuple[str, Path]]:
    """Layer and path of every module of the package, without code that candidates start from."""
    found = []
    for layer in LAYERS:
        for base in (ROOT / layer, ROOT / "src" / "novum" / layer):
            if base.is_dir() and not base.is_symlink():
                found += [(layer, path) for path in sorted(base.rglob("*.py"))]
        single = ROOT / "src" / "novum" / f"{layer}.py"
        if single.is_file():
            found.append((layer, single))
    packs = {path.parent for path in (ROOT / "benchmarks").glob("*/pack.toml")}
    found = [(_placed(layer, path, packs), path) for layer, path in found]
    inside = (
        "problems",
        "start",
        "cheats",
        "honest",
        "results",
        "corpus",
        "attacks",
        "image",
        "__pycache__",
    )
    return [(layer, path) for layer, path in found if not set(inside) & set(path.parts)]


def _placed(layer: str, path: Path, packs: set[Path]) -> str:
    if "suites" in path.parts:
        return "suites"
    return "packs" if packs & set(path.parents) else layer


def imports(path: Path) -> list[tuple[str, bool]]:
    """Full names that a module imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text())
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
        if not isinstance(node, ast.If) or "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, id(node) not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append((node.module, id(node) not in late))
    return names


def test_imports_point_one_way() -> None:
    wrong = []
    for layer, path in sources():
        for name, _ in imports(path):
            other = layer_of(name)
            if other is None:
                continue
            if LAYERS[other] > LAYERS[layer] or (LAYERS[other] == LAYERS[layer] and other != layer):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_what_runs_on_a_bare_node_imports_little() -> None:
    """Packs may need more: torch, tokenizers; they say so where they are used."""
    packs = {path.parent.name for path in (ROOT / "benchmarks").glob("*/pack.toml")}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer, path in sources()
        if layer in BARE and not packs & set(path.parts)
        for name, at_once in imports(path)
        if at_once
        if name.split(".")[0] not in sys.stdlib_module_names | BARE_MAY_IMPORT | OF_THE_SANDBOX
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_imports_a_pack() -> None:
    packs = {path.parent.name for path in (ROOT / "benchmarks").glob("*/pack.toml")}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for _, path in sources()
        if not packs & set(path.parts)
        for name, _ in imports(path)
        if name.startswith("novum.benchmarks.") and name.split(".")[2] in packs
    ]
    assert packs
    assert not wrong, "\n".join(wrong)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['novum', '--help']\n"
        "from novum.app.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'chromadb', 'langgraph', 'langchain_core', 'docker', 'sqlalchemy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "HEAVY []" in said.stdout, said.stdout + said.stderr
    assert said.stdout.count("\n") < 60, "help fits a screen"
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < 0.5, f"novum --help took {used_s:.2f} s of CPU"


@pytest.mark.parametrize(
    "folder", ["agents", "tools", "memory", "sandboxes", "benchmarks", "evals"]
)
def test_every_folder_is_reached_by_its_link_and_mapped_by_setup(folder: str) -> None:
    link = ROOT / "src" / "novum" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder
    assert os.readlink(link) == f"../../{folder}"
    assert f'"{folder}"' in (ROOT / "setup.py").read_text()


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for _, path in sources()
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, "\n".join(silent)
