"""Routing: the best eight of 128 by repeated maximum within a warp, softmax only over the winners.

Normalising over the winners makes the sum over all experts drop out, so only eight exponentials
are needed.
"""

import triton
import triton.language as tl

WARPS = 4
ROWS = 16
TOP = 8


@triton.jit
def topk_kernel(
    x_ptr, weight_ptr, id_ptr, tokens, EXPERTS: tl.constexpr, ROWS: tl.constexpr, TOP: tl.constexpr
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    experts = tl.arange(0, EXPERTS)
    places = tl.arange(0, TOP)
    at = rows[:, None].to(tl.int64) * EXPERTS + experts[None, :]
    x = tl.load(x_ptr + at, mask=rows[:, None] < tokens, other=0.0, eviction_policy="evict_first")
    best = tl.zeros((ROWS, TOP), dtype=tl.float32)
    ids = tl.zeros((ROWS, TOP), dtype=tl.int32)
    for place in tl.static_range(TOP):
        value, winner = tl.max(x, axis=1, return_indices=True)
        best = tl.where(places[None, :] == place, value[:, None], best)
        ids = tl.where(places[None, :] == place, winner[:, None], ids)
        x = tl.where(experts[None, :] == winner[:, None], -float("inf"), x)
    weights = tl.exp(best - tl.max(best, axis=1)[:, None])
    weights = weights / tl.sum(weights, axis=1)[:, None]
    out = rows[:, None].to(tl.int64) * TOP + places[None, :]
    mask = rows[:, None] < tokens
    tl.store(weight_ptr + out, weights, mask=mask)
    tl.store(id_ptr + out, ids, mask=mask)


def run(logits, weights, ids):
    tokens, experts = logits.shape
    topk_kernel[(triton.cdiv(tokens, ROWS),)](
        logits, weights, ids, tokens, experts, ROWS, TOP, num_warps=WARPS
    )
