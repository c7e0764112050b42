"""The tables of a ledger. `events` is the truth; every other table can be rebuilt from it.

A fact's table keeps the whole record as canonical JSON in `body`, and beside it only the columns
that a query filters on, each with an index: all queries stay flat as a run grows.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

FORMAT = 1
"""Version of these tables; another version is refused by name."""

metadata = MetaData()

events = Table(
    "events",
    metadata,
    # In SQLite only a plain INTEGER is the number of the row itself and needs no index of its own.
    Column(
        "seq",
        BigInteger().with_variant(Integer(), "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("at_s", Double, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("payload", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index("events_by_kind", "kind", "seq"),
)

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("format", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("tallies", Text, nullable=False),
    Column("ids", Text, nullable=False),
)
"""One row: where the chain ends, what was counted and spent so far, the last id of each prefix."""


def _fact(name: str, key: str, *columns: Column[str] | Column[int] | Index) -> Table:
    return Table(
        name,
        metadata,
        Column(key, String(128), primary_key=True),
        Column("seq", BigInteger, nullable=False, index=True),
        *columns,
        Column("body", Text, nullable=False),
    )


proposals = _fact(
    "proposals",
    "id",
    Column("thread", Integer, nullable=False),
    Column("iteration", Integer, nullable=False),
    Index("proposals_by_thread", "thread", "iteration"),
)
candidates = _fact("candidates", "tree", Column("proposal", String(128), index=True))
trials = _fact(
    "trials",
    "id",
    Column("effect", Text, nullable=False, unique=True),
    Column("key", String(64), nullable=False),
    Column("tree", String(64), nullable=False),
    Column("seed_index", Integer, nullable=False),
    Column("proposal", String(128), nullable=False, index=True),
    Column("purpose", String(16), nullable=False, index=True),
    Column("split", String(16), nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Index("trials_by_tree", "tree", "seed_index"),
    # By the key alone, SQLite takes the index on the status and reads every finished trial.
    Index("trials_by_key", "key", "status", "seq"),
)
reuses = _fact("reuses", "effect", Column("trial", String(128), nullable=False))
"""Effects that were answered with a finished trial of the same key."""
evidence = _fact(
    "evidence",
    "id",
    Column("proposal", String(128), nullable=False, index=True),
    Column("tree", String(64), nullable=False, index=True),
)
verdicts = _fact(
    "verdicts",
    "id",
    Column("proposal", String(128), nullable=False, index=True),
    Column("tree", String(64), nullable=False, index=True),
    Column("label", String(16), nullable=False, index=True),
)
directives = _fact("directives", "id", Column("status", String(16), nullable=False, index=True))
lessons = _fact("lessons", "id", Column("proposal", String(128), nullable=False, index=True))
champions = _fact("champions", "verdict", Column("tree", String(64), nullable=False))

FACTS = (
    proposals,
    candidates,
    trials,
    reuses,
    evidence,
    verdicts,
    directives,
    lessons,
    champions,
)
"""Every table that `projection.project` fills."""
