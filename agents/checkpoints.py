"""Checkpoints of the state machine in SQLite, written where they are made.

LangGraph's asynchronous saver hands each statement to another thread and back, which costs more
than the statement; its synchronous one refuses asynchronous graphs. One small insert in WAL mode
without fsync takes a tenth of a millisecond, so this saver just does it in the event loop.

What a node wrote and the checkpoint that follows it are one transaction: a process killed in
between runs the node again, as it does one killed just before, and every effect has a key. With
`synchronous=NORMAL` a power cut may lose the last checkpoints besides (never damage the file).
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from langgraph.checkpoint.sqlite import SqliteSaver

LASTING = frozenset((ERROR, INTERRUPT))
"""Writes that no checkpoint follows: they are committed by themselves."""


class InlineSqliteSaver(SqliteSaver):
    """The synchronous saver, offered to asynchronous graphs; a transaction a step."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """A cursor; whoever writes with it commits."""
        with self.lock, closing(self.conn.cursor()) as cursor:
            yield cursor

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
        saved = self.put(config, checkpoint, metadata, new_versions)
        self.conn.commit()
        return saved

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)
        if any(channel in LASTING for channel, _ in writes):
            self.conn.commit()

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
        connection.commit()
    finally:
        connection.close()
