"""Tools on a workspace: what a coder can read and write, and what it cannot reach."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from novum.errors import ToolError
from novum.tools.desk import Desk
from novum.tools.registry import CODER_TOOLS, carry_out, schemas
from novum.tools.workspace import Workspace

BASE = {
    "train.py": b"lr = 1\nlr = 1\nwidth = 2\n",
    "model/net.py": b"def f(x):\n    return x + 1\n",
    "README.md": b"fixed\n",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work", BASE, lambda name: name.endswith(".py"))


async def call(workspace: Workspace, tool: str, **args: Any) -> str:
    return await carry_out(tool, args, CODER_TOOLS, Desk(workspace=workspace))


async def test_an_ambiguous_passage_is_refused_and_the_file_stays_as_it_was(
    workspace: Workspace,
) -> None:
    said = await call(workspace, "edit_file", path="train.py", old="lr = 1", new="lr = 2")
    assert said.startswith("error:") and "occurs 2 times" in said
    assert workspace.read_bytes("train.py") == BASE["train.py"]


async def test_a_unique_passage_is_replaced_and_the_line_is_named(workspace: Workspace) -> None:
    said = await call(workspace, "edit_file", path="train.py", old="width = 2", new="width = 4")
    assert said == "edited train.py at line 3"
    assert workspace.read_text("train.py").endswith("width = 4\n")


async def test_a_file_outside_the_scope_can_be_read_but_not_changed(workspace: Workspace) -> None:
    assert "fixed" in await call(workspace, "read_file", path="README.md")
    for tool, args in (
        ("write_file", {"path": "README.md", "text": "x"}),
        ("edit_file", {"path": "README.md", "old": "fixed", "new": "x"}),
        ("delete_file", {"path": "README.md"}),
        ("apply_patch", {"diff": "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-fixed\n+x\n"}),
    ):
        assert "not editable" in await call(workspace, tool, **args)
    assert workspace.read_bytes("README.md") == b"fixed\n"


@pytest.mark.parametrize("name", ["../secret.py", "/etc/passwd", "a/../../secret.py", "", "a\0.py"])
async def test_no_path_leads_out_of_the_workspace(workspace: Workspace, name: str) -> None:
    (workspace.folder.parent / "secret.py").write_text("secret")
    for tool, args in (("read_file", {}), ("write_file", {"text": "x"})):
        said = await call(workspace, tool, path=name, **args)
        assert said.startswith("error:") and "secret" not in said.replace(name, "")
    assert (workspace.folder.parent / "secret.py").read_text() == "secret"


async def test_links_are_not_followed_whether_file_or_folder(workspace: Workspace) -> None:
    outside = workspace.folder.parent / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("secret")
    (workspace.folder / "link.py").symlink_to(outside / "a.py")
    (workspace.folder / "folder").symlink_to(outside)
    for name in ("link.py", "folder/a.py"):
        assert "link" in await call(workspace, "read_file", path=name)
        assert "link" in await call(workspace, "write_file", path=name, text="x")
    assert (outside / "a.py").read_text() == "secret"
    assert "secret" not in await call(workspace, "search_files", pattern="secret")
    assert set(workspace.snapshot().files) == set(BASE)


async def test_a_named_pipe_does_not_hang_a_reader(workspace: Workspace) -> None:
    os.mkfifo(workspace.folder / "pipe.py")
    assert "not a regular file" in await call(workspace, "read_file", path="pipe.py")


async def test_long_output_is_cut_and_says_so(workspace: Workspace) -> None:
    workspace.write_text("train.py", "".join(f"line_{i} = {i}\n" for i in range(5_000)))
    shown = await call(workspace, "read_file", path="train.py")
    assert "read on with start=401" in shown and "line_399" in shown
    assert "narrow the pattern" in await call(workspace, "search_files", pattern="line_")


async def test_search_names_file_and_line(workspace: Workspace) -> None:
    assert await call(workspace, "search_files", pattern="^width") == "train.py:3:width = 2"
    assert await call(workspace, "search_files", pattern="nowhere") == "no line matches"
    assert (await call(workspace, "search_files", pattern="(")).startswith("error:")


async def test_a_patch_is_applied_whole_or_not_at_all(workspace: Workspace) -> None:
    good = "--- a/train.py\n+++ b/train.py\n@@ -3 +3 @@\n-width = 2\n+width = 8\n"
    bad = "--- a/model/net.py\n+++ b/model/net.py\n@@ -1 +1 @@\n-def g(x):\n+def h(x):\n"
    assert "does not fit" in await call(workspace, "apply_patch", diff=good + bad)
    assert workspace.snapshot().changed == ()
    assert await call(workspace, "apply_patch", diff=good) == "patched train.py"
    assert "width = 8" in workspace.read_text("train.py")


async def test_a_patch_finds_its_lines_though_its_numbers_are_wrong(workspace: Workspace) -> None:
    diff = "--- a/train.py\n+++ b/train.py\n@@ -90,2 +90,2 @@\n lr = 1\n-width = 2\n+width = 8\n"
    assert await call(workspace, "apply_patch", diff=diff) == "patched train.py"
    assert workspace.read_text("train.py") == "lr = 1\nlr = 1\nwidth = 8\n"


async def test_a_patch_makes_moves_and_deletes_files(workspace: Workspace) -> None:
    diff = (
        "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+a = 1\n+b = 2\n"
        "--- a/model/net.py\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-def f(x):\n-    return x + 1\n"
    )
    await call(workspace, "apply_patch", diff=diff)
    assert set(workspace.snapshot().files) == {"README.md", "new.py", "train.py"}
    assert workspace.read_text("new.py") == "a = 1\nb = 2\n"


async def test_submit_refuses_an_unchanged_workspace_and_a_damaged_one(
    workspace: Workspace,
) -> None:
    desk = Desk(workspace=workspace)
    assert "nothing was changed" in await carry_out("submit", {"summary": "x"}, CODER_TOOLS, desk)
    workspace.write_text("train.py", "lr = 3\n")
    (workspace.folder / "README.md").unlink()  # as a command could
    said = await carry_out("submit", {"summary": "x"}, CODER_TOOLS, desk)
    assert "restore them: README.md" in said and desk.outcome is None


async def test_scratch_files_of_a_command_are_left_out_of_the_candidate(
    workspace: Workspace,
) -> None:
    workspace.write_text("train.py", "lr = 3\n")
    (workspace.folder / "log.txt").write_text("noise")
    desk = Desk(workspace=workspace)
    said = await carry_out("submit", {"summary": "x"}, CODER_TOOLS, desk)
    assert said == "submitted train.py; left out, not editable: log.txt"


async def test_wrong_names_and_arguments_come_back_as_text(workspace: Workspace) -> None:
    assert "there is no tool 'rm'" in await call(workspace, "rm")
    said = await call(workspace, "edit_file", path="train.py", colour="red")
    assert "called wrongly" in said and "old: Field required" in said and "colour" in said


def test_every_tool_is_described_for_a_reader_who_cannot_see_the_code() -> None:
    for schema in schemas(CODER_TOOLS):
        function = schema["function"]
        assert len(function["description"]) > 10
        for name, field in function["parameters"].get("properties", {}).items():
            assert field.get("description"), f"{function['name']}.{name} is not described"


async def test_starting_over_removes_what_stood_in_the_folder(workspace: Workspace) -> None:
    workspace.write_text("more.py", "x = 1\n")
    again = Workspace(workspace.folder, {"train.py": b"lr = 1\n"}, lambda name: True)
    assert again.names() == ("train.py",)


def test_a_folder_left_to_the_next_candidate_holds_that_candidate_alone(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    base = {"train.py": b"lr = 1\nwidth = 2\n", "notes.md": b"fixed\n"}

    def fresh(files: dict[str, bytes]) -> Workspace:
        return Workspace(folder, files, lambda name: name.endswith(".py"))

    workspace = fresh(base)
    workspace.write_text("train.py", "lr = 2\n")
    workspace.leave()
    assert folder.is_dir(), "files of the candidate alone: the next one is written over them"
    again = fresh(base)
    assert again.snapshot().files == base and not again.snapshot().changed
    again.leave()
    assert fresh({"train.py": b"lr = 3\n"}).names() == ("train.py",), "no file is inherited"

    scratch = fresh(base)
    (folder / "huge.bin").write_bytes(b"x" * 100)
    scratch.leave()
    assert not folder.exists(), "what a command left is not kept"


def test_a_file_with_a_second_name_or_other_rights_is_not_written_over(tmp_path: Path) -> None:
    folder, outside = tmp_path / "work", tmp_path / "outside.py"
    files = {"train.py": b"lr = 1\n"}
    Workspace(folder, files, lambda name: True)
    os.link(folder / "train.py", outside)
    Workspace(folder, {"train.py": b"lr = 2\n"}, lambda name: True)
    assert outside.read_bytes() == b"lr = 1\n"
    (folder / "train.py").chmod(0o755)
    again = Workspace(folder, files, lambda name: True)
    assert (folder / "train.py").stat().st_mode & 0o777 == 0o644
    again.close()
    folder.symlink_to(tmp_path)
    with pytest.raises(OSError):
        Workspace(folder, files, lambda name: True)
    assert outside.read_bytes() == b"lr = 1\n"


def test_a_workspace_raises_tool_errors_only(workspace: Workspace) -> None:
    with pytest.raises(ToolError, match="not UTF-8"):
        (workspace.folder / "bad.py").write_bytes(b"\xff\xfe")
        workspace.read_text("bad.py")
    with pytest.raises(ToolError, match="cannot write"):
        workspace.write_text("train.py/inner.py", "x")
