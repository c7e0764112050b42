"""Gradient of an embedding applied to its table without a gradient of the table's size.

Tokens are counted and bucketed by id; then one program for each piece of a row sums its tokens'
gradients and
writes the new row. The table is read and written once, and no float is added atomically.
"""

import torch
import triton
import triton.language as tl

WARPS = 4
TOKENS = 16
COLUMNS = 512
RATE = 0.1


@triton.jit
def count_kernel(ids_ptr, count_ptr, tokens, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < tokens
    tl.atomic_add(count_ptr + tl.load(ids_ptr + at, mask=mask, other=0), 1, mask=mask)


@triton.jit
def bucket_kernel(ids_ptr, end_ptr, order_ptr, tokens, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < tokens
    ids = tl.load(ids_ptr + at, mask=mask, other=0)
    place = tl.atomic_add(end_ptr + ids, -1, mask=mask) - 1
    tl.store(order_ptr + place, at.to(tl.int32), mask=mask)


@triton.jit
def update_kernel(
    order_ptr,
    start_ptr,
    count_ptr,
    dy_ptr,
    table_ptr,
    out_ptr,
    rate,
    N: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    start = tl.load(start_ptr + row)
    count = tl.load(count_ptr + row)
    old = tl.load(table_ptr + row * N + columns).to(tl.float32)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    if count == 1:
        token = tl.load(order_ptr + start).to(tl.int64)
        total += tl.load(dy_ptr + token * N + columns).to(tl.float32)
    else:
        for first in range(0, count, TOKENS):
            places = first + tl.arange(0, TOKENS)
            tokens = tl.load(order_ptr + start + places, mask=places < count, other=0).to(tl.int64)
            at = dy_ptr + tokens[:, None] * N + columns[None, :]
            total += tl.sum(
                tl.load(at, mask=places[:, None] < count, other=0.0).to(tl.float32), axis=0
            )
    tl.store(out_ptr + row * N + columns, (old - rate * total).to(tl.bfloat16))


def run(ids, dy, table, new_table):
    tokens, hidden = dy.shape
    vocab = table.shape[0]
    count = torch.zeros(vocab, dtype=torch.int32, device=ids.device)
    grid = (triton.cdiv(tokens, 512),)
    count_kernel[grid](ids, count, tokens, 512)
    end = count.cumsum(0, dtype=torch.int32)
    order = torch.empty(tokens, dtype=torch.int32, device=ids.device)
    bucket_kernel[grid](ids, end, order, tokens, 512)  # leaves in `end` where each bucket starts
    grid = (vocab, triton.cdiv(hidden, COLUMNS))
    update_kernel[grid](
        order, end, count, dy, table, new_table, RATE, hidden, TOKENS, COLUMNS, num_warps=WARPS
    )
