"""The seed that a candidate is given, which is not the one that its grader draws from.

A candidate that knew the grader's seed would know which rows are questioned, where they are cut and
which inputs are hidden, and could be honest there and nowhere else: the grader's code is public.
"""

from __future__ import annotations

from hashlib import sha256

N_BYTES = 2


def told_seed(seed: int) -> int:
    """One of 65,536 numbers for the seed of a trial.

    Each stands for thousands of seeds: who goes through all of them to find those that give this
    number is left with thousands to choose from.
    """
    return int.from_bytes(sha256(f"told:{seed}".encode()).digest()[:N_BYTES], "big")
