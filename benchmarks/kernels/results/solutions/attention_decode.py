"""One query a sequence: the cache is split along time so that every multiprocessor reads, then the
parts are joined.

The query heads that share a key head are handled together: keys and values are read once.
"""

import torch
import triton
import triton.language as tl

BLOCK_N = 64
WARPS = 4
STAGES = 3
PROGRAMS = 1056
TUNE = {"PROGRAMS": (528, 1056, 2112), "STAGES": (2, 3, 4)}
LOG2_E = 1.4426950408889634


@triton.jit
def parts_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    part_ptr,
    edge_ptr,
    time,
    length,
    splits,
    scale,
    KV: tl.constexpr,
    GROUP: tl.constexpr,
    PADDED: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    split = tl.program_id(0)
    batch = (tl.program_id(1) // KV).to(tl.int64)
    kv = tl.program_id(1) % KV
    heads = tl.arange(0, PADDED)
    dims = tl.arange(0, DIM)
    head = batch * (KV * GROUP) + kv * GROUP + heads
    mine = heads < GROUP
    q = tl.load(q_ptr + head[:, None] * DIM + dims[None, :], mask=mine[:, None], other=0.0)
    step = KV * DIM
    k_ptr += batch * time * step + kv * DIM
    v_ptr += batch * time * step + kv * DIM
    top = tl.full((PADDED,), -1e30, dtype=tl.float32)
    norm = tl.zeros((PADDED,), dtype=tl.float32)
    total = tl.zeros((PADDED, DIM), dtype=tl.float32)
    high = tl.minimum((split + 1) * length, time)
    for first in range(split * length, high, BLOCK_N):
        columns = first + tl.arange(0, BLOCK_N)
        inside = columns < high
        k = tl.load(
            k_ptr + columns[None, :] * step + dims[:, None], mask=inside[None, :], other=0.0
        )
        scores = tl.where(inside[None, :], tl.dot(q, k) * scale, -1e30)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.math.exp2(scores - higher[:, None])
        shrink = tl.math.exp2(top - higher)
        norm = norm * shrink + tl.sum(weights, axis=1)
        v = tl.load(
            v_ptr + columns[:, None] * step + dims[None, :], mask=inside[:, None], other=0.0
        )
        total = tl.dot(weights.to(tl.bfloat16), v, total * shrink[:, None])
        top = higher
    at = head * splits + split
    tl.store(part_ptr + at[:, None] * DIM + dims[None, :], total, mask=mine[:, None])
    tl.store(edge_ptr + at * 2, top, mask=mine)
    tl.store(edge_ptr + at * 2 + 1, norm, mask=mine)


@triton.jit
def join_kernel(part_ptr, edge_ptr, out_ptr, splits, SPLITS: tl.constexpr, DIM: tl.constexpr):
    head = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, SPLITS)
    mask = index < splits
    at = head * splits + index
    top = tl.load(edge_ptr + at * 2, mask=mask, other=-1e30)
    norm = tl.load(edge_ptr + at * 2 + 1, mask=mask, other=0.0)
    weights = tl.math.exp2(top - tl.max(top))
    dims = tl.arange(0, DIM)
    parts = tl.load(part_ptr + at[:, None] * DIM + dims[None, :], mask=mask[:, None], other=0.0)
    total = tl.sum(parts * weights[:, None], axis=0) / tl.sum(norm * weights)
    tl.store(out_ptr + head * DIM + dims, total.to(tl.bfloat16))


def run(q, k, v, out):
    batch, heads, dim = q.shape
    time, kv = k.shape[1], k.shape[2]
    wanted = max(1, min(128, PROGRAMS // (batch * kv)))
    length = triton.cdiv(triton.cdiv(time, wanted), BLOCK_N) * BLOCK_N
    splits = triton.cdiv(time, length)
    part = torch.empty((batch * heads, splits, dim), dtype=torch.float32, device=q.device)
    edge = torch.empty((batch * heads, splits, 2), dtype=torch.float32, device=q.device)
    scale = dim**-0.5 * LOG2_E
    parts_kernel[(splits, batch * kv)](
        q,
        k,
        v,
        part,
        edge,
        time,
        length,
        splits,
        scale,
        kv,
        heads // kv,
        16,
        dim,
        BLOCK_N,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    join_kernel[(batch * heads,)](
        part, edge, out, splits, triton.next_power_of_2(splits), dim, num_warps=4
    )
