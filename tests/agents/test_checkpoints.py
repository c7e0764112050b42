"""Checkpoints: a step is one transaction, and what nothing follows is kept at once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import INTERRUPT

from novum.agents.checkpoints import open_checkpoints

CONFIG: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


def kept(path: Path) -> tuple[int, int]:
    """Checkpoints and writes that a process would find after a kill."""
    other = sqlite3.connect(path)
    try:
        n = [other.execute(f"select count(*) from {t}").fetchone()[0] for t in TABLES]
    finally:
        other.close()
    return n[0], n[1]


TABLES = ("checkpoints", "writes")


async def test_what_a_node_wrote_is_kept_with_the_checkpoint_that_follows(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with open_checkpoints(path) as saver:
        config = await saver.aput(CONFIG, empty_checkpoint(), {"step": 0}, {})
        assert kept(path) == (1, 0)
        await saver.aput_writes(config, [("turns", 1)], "task")
        assert kept(path) == (1, 0)
        found = await saver.aget_tuple(config)
        assert found and found.pending_writes == [("task", "turns", 1)], "the process sees it"
        await saver.aput(config, empty_checkpoint(), {"step": 1}, {})
        assert kept(path) == (2, 1)


async def test_a_question_to_a_person_is_kept_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with open_checkpoints(path) as saver:
        config = await saver.aput(CONFIG, empty_checkpoint(), {"step": 0}, {})
        await saver.aput_writes(config, [(INTERRUPT, "may I?")], "task")
        assert kept(path) == (1, 1)


async def test_what_was_removed_at_the_end_stays_removed(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with open_checkpoints(path) as saver:
        await saver.aput(CONFIG, empty_checkpoint(), {"step": 0}, {})
        await saver.adelete_thread("t")
    assert kept(path) == (0, 0)
