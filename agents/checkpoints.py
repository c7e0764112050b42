"""Checkpoints of the state machine in SQLite, written where they are made.

LangGraph's asynchronous saver hands each statement to another thread and back, which costs more
than the statement; its synchronous one refuses asynchronous graphs. One small insert in WAL mode
without fsync takes a tenth of a millisecond, so this saver just does it in the event loop.

With `synchronous=NORMAL` a power cut may lose the last checkpoints (never damage the file); a
killed process loses none. What is lost is done again, and every effect has a key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.sqlite import SqliteSaver


class InlineSqliteSaver(SqliteSaver):
    """The synchronous saver, offered to asynchronous graphs."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for item in self.list(config, filter=filter, before=before, limit=limit):
            yield item

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        self.delete_thread(thread_id)


@contextmanager
def open_checkpoints(path: Path) -> Iterator[InlineSqliteSaver]:
    """The checkpoints of a run, made if need be."""
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    try:
        saver = InlineSqliteSaver(connection)
        saver.setup()
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=1000")
        yield saver
    finally:
        connection.close()
