"""C = A B^T. A few rows are bound by reading B: every multiprocessor reads strips of it, each strip
in parts of the inner dimension, and the last program of a strip adds the parts up.

The product is made transposed, so that the strip of B has the rows that the tensor cores ask for.
Its next block is on its way to registers while this one is multiplied: loads that go to shared
memory would lose the hint that their lines may leave the second-level cache first.

Many rows are bound by the tensor cores, where the vendor's library is the one to beat; it writes
into `c` directly.
"""

import torch
import triton
import triton.language as tl

FEW_ROWS = 64
BLOCK_N = 64
BLOCK_K = 256
PARTS = 4
WARPS = 4
TUNE = {"PARTS": (2, 4, 8), "BLOCK_N": (64, 128), "BLOCK_K": (128, 256)}
WORKSPACES = {}


@triton.jit
def few_rows_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    part_ptr,
    done_ptr,
    m,
    n,
    K: tl.constexpr,
    M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PARTS: tl.constexpr,
):
    strip = tl.program_id(0)
    part = tl.program_id(1)
    rows = tl.arange(0, M)
    columns = strip * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = part * (K // PARTS) + tl.arange(0, BLOCK_K)
    a_at = a_ptr + rows[None, :] * K + inner[:, None]
    b_at = b_ptr + columns[:, None].to(tl.int64) * K + inner[None, :]
    row_mask = rows[None, :] < m
    total = tl.zeros((BLOCK_N, M), dtype=tl.float32)
    b = tl.load(b_at, eviction_policy="evict_first")
    a = tl.load(a_at, mask=row_mask, other=0.0)
    for _ in tl.static_range(BLOCK_K, K // PARTS, BLOCK_K):
        b_at += BLOCK_K
        a_at += BLOCK_K
        next_b = tl.load(b_at, eviction_policy="evict_first")
        next_a = tl.load(a_at, mask=row_mask, other=0.0)
        total = tl.dot(b, a, total)
        b = next_b
        a = next_a
    total = tl.dot(b, a, total)
    at = rows[None, :] * n + columns[:, None]
    mask = row_mask & (columns[:, None] < n)
    if PARTS == 1:
        tl.store(c_ptr + at, total.to(tl.bfloat16), mask=mask)
        return
    tl.store(part_ptr + part * (M * n) + at, total, mask=mask)
    tl.debug_barrier()
    if tl.atomic_add(done_ptr + strip, 1) == PARTS - 1:
        total = tl.zeros((BLOCK_N, M), dtype=tl.float32)
        for i in tl.static_range(PARTS):
            total += tl.load(part_ptr + i * (M * n) + at, mask=mask, cache_modifier=".cg")
        tl.store(c_ptr + at, total.to(tl.bfloat16), mask=mask)
        tl.store(done_ptr + strip, 0)  # ready for the next call


def workspace(rows, n, strips, device):
    """Parts of the product, and how many of each strip are done: zero between calls."""
    key = (rows, n, strips, device)
    if key not in WORKSPACES:
        parts = torch.empty((PARTS, rows, n), dtype=torch.float32, device=device)
        WORKSPACES[key] = parts, torch.zeros(strips, dtype=torch.int32, device=device)
    return WORKSPACES[key]


def run(a, b, c):
    m, k = a.shape
    n = b.shape[0]
    if m > FEW_ROWS or n % BLOCK_N or k % (BLOCK_K * PARTS):
        torch.mm(a, b.T, out=c)
        return
    rows = max(16, triton.next_power_of_2(m))
    strips = n // BLOCK_N
    parts, done = workspace(rows, n, strips, a.device)
    few_rows_kernel[(strips, PARTS)](
        a,
        b,
        c,
        parts,
        done,
        m,
        n,
        k,
        rows,
        BLOCK_N,
        BLOCK_K,
        PARTS,
        num_warps=WARPS,
        num_stages=1,
    )
