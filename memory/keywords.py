"""Keyword search beside the vectors: BM25 over an SQLite full-text table in the memory's folder."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

MAX_TERMS = 8
"""Rarest words of a query that are looked up; the common ones cost most and say least."""
COMMON = 2_000
"""Documents from which a word is common: it is left out where a query holds a rarer one. Scoring
the 90,000 lookalikes that share `the best value` took most of a recall among 100,000 lessons."""
WORD = re.compile(r"[a-z0-9_]{2,}")


class KeywordIndex:
    """Documents by their words. Safe from several threads of one process."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.executescript(
                "create table if not exists entry(row integer primary key, id text unique);"
                "create virtual table if not exists words using fts5(text);"
                "create virtual table if not exists vocabulary using fts5vocab(words, row);"
            )
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("select count(*) from entry").fetchone()[0])

    def ids(self) -> set[str]:
        """Ids of all documents."""
        with self._lock:
            return {row[0] for row in self._db.execute("select id from entry")}

    def upsert(self, entries: Iterable[tuple[str, str]]) -> None:
        """Keep documents, (id, text) each; all of them or none."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                for id, text in entries:
                    old = self._db.execute("select row from entry where id = ?", (id,)).fetchone()
                    if old is not None:
                        self._db.execute("delete from words where rowid = ?", old)
                        self._db.execute("delete from entry where row = ?", old)
                    cursor = self._db.execute("insert into entry(id) values (?)", (id,))
                    row = (cursor.lastrowid, text)
                    self._db.execute("insert into words(rowid, text) values (?, ?)", row)
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def query(self, text: str, limit: int) -> list[tuple[str, float]]:
        """Ids of documents that share rare words with a text, with their BM25, best first."""
        with self._lock:
            terms = self._rarest(sorted(set(WORD.findall(text.lower()))))
            if not terms:
                return []
            rows = self._db.execute(
                "select entry.id, -bm25(words) from words join entry on entry.row = words.rowid "
                "where words match ? order by bm25(words) limit ?",
                (" OR ".join(f'"{t}"' for t in terms), limit),
            )
            return [(id, score) for id, score in rows]

    def _rarest(self, words: Sequence[str]) -> list[str]:
        """The words that fewest documents hold."""
        counted = [(n, word) for word in words if (n := self._count(word))]
        telling = [pair for pair in counted if pair[0] <= COMMON]
        if not telling:
            telling = sorted((self._count_all(word), word) for _, word in counted)[:1]
        return [word for _, word in sorted(telling)[:MAX_TERMS]]

    def _count(self, word: str) -> int:
        """Documents that hold a word, as far as `COMMON` and one more."""
        statement = "select count(*) from (select 1 from words where words match ? limit ?)"
        return int(self._db.execute(statement, (f'"{word}"', COMMON + 1)).fetchone()[0])

    def _count_all(self, word: str) -> int:
        # Exact, but FTS5 reads the word's whole list for it: 3 ms among 100,000 lessons.
        statement = "select doc from vocabulary where term = ?"
        return int(self._db.execute(statement, (word,)).fetchone()[0])
