"""Routing: the best eight of 128 by repeated maximum within a warp, softmax only over the winners.

Normalising over the winners makes the sum over all experts drop out, so only eight exponentials
are needed. Logits are compared as integers of the same order, for which a warp has an instruction
that reduces all its lanes at once.
"""

import triton
import triton.language as tl

WARPS = 4
ROWS = 16
TOP = 8
TUNE = {"ROWS": (8, 16, 32), "WARPS": (2, 4, 8)}


@triton.jit
def ordered(bits):
    """Bits of a float32 as an integer of the same order; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def topk_kernel(
    x_ptr, weight_ptr, id_ptr, tokens, EXPERTS: tl.constexpr, ROWS: tl.constexpr, TOP: tl.constexpr
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    experts = tl.arange(0, EXPERTS)
    places = tl.arange(0, TOP)
    mask = rows[:, None] < tokens
    at = rows[:, None].to(tl.int64) * EXPERTS + experts[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0, eviction_policy="evict_first")
    key = ordered(x.to(tl.int32, bitcast=True))
    best = tl.zeros((ROWS, TOP), dtype=tl.int32)
    ids = tl.zeros((ROWS, TOP), dtype=tl.int32)
    for place in range(TOP):
        value = tl.max(key, axis=1)
        winner = tl.min(tl.where(key == value[:, None], experts[None, :], EXPERTS), axis=1)
        best = tl.where(places[None, :] == place, value[:, None], best)
        ids = tl.where(places[None, :] == place, winner[:, None], ids)
        key = tl.where(experts[None, :] == winner[:, None], -2147483648, key)
    logits = ordered(best).to(tl.float32, bitcast=True)
    weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    weights = weights / tl.sum(weights, axis=1)[:, None]
    out = rows[:, None].to(tl.int64) * TOP + places[None, :]
    tl.store(weight_ptr + out, weights, mask=mask)
    tl.store(id_ptr + out, ids, mask=mask)


def run(logits, weights, ids):
    tokens, experts = logits.shape
    topk_kernel[(triton.cdiv(tokens, ROWS),)](
        logits, weights, ids, tokens, experts, ROWS, TOP, num_warps=WARPS
    )
