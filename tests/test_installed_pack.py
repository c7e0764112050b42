"""A pack that is somebody else's package: built, installed into an environment of its own, run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from novum.agents.runner import LocalRunner
from novum.benchmarks.pack import Pack, load_pack
from novum.benchmarks.toolbox import PackTool, toolbox_of
from novum.errors import PackError, ToolError
from novum.lab.run import RunFolder
from novum.lab.trees import tree_hash
from novum.sandboxes.executor import Executor, make_slots
from novum.sandboxes.process import ProcessSandbox
from novum.tools.pack import coder_tools

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "example-pack"
CHEAT = EXAMPLE / "src" / "novum_tour" / "cheats" / "written_down.py"
Novum = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def novum(tmp_path_factory: pytest.TempPathFactory) -> Novum:
    """The command of a new environment that has what this one has, and the example installed."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "env", with_pip=False)
    python = str(place / "env" / "bin" / "python")
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    ours = sysconfig.get_path("purelib")
    (site / "beside.pth").write_text(f"{ROOT / 'src'}\nimport site; site.addsitedir({ours!r})\n")
    shutil.copytree(EXAMPLE, place / "example")  # building leaves files where it builds
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--disable-pip-version-check", str(place / "example")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NOVUM"))}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "novum", *words],
            cwd=place, env=clean, capture_output=True, text=True, timeout=250,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_an_installed_pack_is_listed_and_keeps_the_contract(novum: Novum) -> None:
    assert "tour         cpu " in novum("packs", "list").stdout
    checked = novum("packs", "check", "tour", "--sandbox", "process")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "catches cheat written_down       by reading: rules: written-trip" in checked.stdout
    assert "inspect_tour" in checked.stdout


@pytest.mark.slow
def test_its_tool_is_called_and_its_rule_convicts_in_a_run(novum: Novum, tmp_path: Path) -> None:
    start = tree_hash(load_pack(EXAMPLE / "src" / "novum_tour").start_files())
    idea = {"hypothesis": "A trip from home is shorter", "kind": "data", "parents": [start]}
    written = {"path": "solve.py", "text": CHEAT.read_text()}
    steps = [
        [["propose", idea | {"move": {}}]],
        [["inspect_tour", {"seed": 3}]],
        [["write_file", written], ["submit", {"summary": "the trip is known"}]],
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps({"calls": step}) + "\n" for step in steps))
    said = novum(
        "run", "tour", "--sandbox", "process", "--experiments", "1", "--threads", "1", "--json",
        "--brain", f"scripted:{script}", "--runs", str(tmp_path / "runs"),
    )  # fmt: skip
    told: list[dict[str, Any]] = [json.loads(line) for line in said.stdout.splitlines()]
    verdicts = [t["payload"] for t in told if t["kind"] == "verdict"]
    assert [v["label"] for v in verdicts] == ["hack"], said.stdout[-2000:] + said.stderr
    assert "written-trip at solve.py" in verdicts[0]["reason"]
    run = RunFolder.open(tmp_path / "runs" / "tour-1")
    with run.ledger(read_only=True) as ledger:
        asked = [e.payload["blob"] for e in ledger.events(kinds=["answer"])]
    messages = " ".join(run.blobs.text(blob) for blob in asked)
    assert "longest step" in messages and "crossings" in messages


def test_a_tool_looks_at_the_workspace_in_the_sandbox_and_faults_of_it_are_told(
    tmp_path: Path,
) -> None:
    pack = load_pack(EXAMPLE / "src" / "novum_tour")
    grader = pack.grader(pack.profile(), tmp_path)
    executor = Executor(make_slots(1, n_slots=1))
    runner = LocalRunner(pack, pack.profile(), grader, ProcessSandbox(), executor, tmp_path)
    (tool,) = toolbox_of(pack).tools

    def use(tool: PackTool, files: dict[str, bytes]) -> str:
        return asyncio.run(runner.use_tool(tool, tool.call(), files))

    try:
        assert "crossings" in use(tool, pack.start_files())
        with pytest.raises(ToolError, match="(?s)solve.py does not run: .*SyntaxError"):
            use(tool, {"solve.py": b"def ("})
        broken = tool._replace(function=lambda call, bench: str(1 // 0))
        with pytest.raises(ToolError, match="the tool failed: ZeroDivisionError"):
            use(broken, pack.start_files())
    finally:
        executor.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "TOOLS must list"),
        ("TOOLS = (('look', int, len),)\n", "'look' is no tool"),
        (
            "from pydantic import BaseModel\nclass C(BaseModel):\n    'Say.'\n"
            "TOOLS = (('submit', C, len),)\n",
            "its tools cannot be called submit",
        ),
    ],
)
def test_a_malformed_tools_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    shutil.copytree(EXAMPLE / "src" / "novum_tour", tmp_path / "tour")
    (tmp_path / "tour" / "tools.py").write_text(text)
    pack: Pack = load_pack(tmp_path / "tour")
    with pytest.raises(PackError, match=message):
        coder_tools(pack)
