"""Gradient of an embedding applied to its table without a gradient of the table's size.

Tokens are counted and bucketed by id; then one program for each row sums its tokens' gradients and
writes the new row. The table is read and written once, and no float is added atomically.

Each kernel is launched while the one before it runs, and waits for its end on the device.

Frequent ids have thousands of tokens. Their buckets are summed in pieces beforehand, each by a
program of its own: a piece that continues a bucket writes its slot 0, one that begins it slot 1.
"""

import torch
import triton
import triton.language as tl

WARPS = 4
TOKENS = 4
PIECE = 64
COLUMNS = 1024
TUNE = {"TOKENS": (4, 8, 16), "PIECE": (32, 64), "WARPS": (4, 8)}
RATE = 0.1


@triton.jit
def count_kernel(ids_ptr, count_ptr, tokens, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < tokens
    tl.atomic_add(count_ptr + tl.load(ids_ptr + at, mask=mask, other=0), 1, mask=mask)


@triton.jit
def after_the_last(EARLY: tl.constexpr):
    """Wait until the kernel before this one has ended; let the next one be launched."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()


@triton.jit
def start_kernel(count_ptr, end_ptr, used_ptr, vocab, BLOCK: tl.constexpr, EARLY: tl.constexpr):
    """Where each bucket ends; the order of the buckets does not matter."""
    after_the_last(EARLY)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < vocab
    count = tl.load(count_ptr + at, mask=mask, other=0)
    base = tl.atomic_add(used_ptr, tl.sum(count))
    tl.store(end_ptr + at, base + tl.cumsum(count, axis=0), mask=mask)


@triton.jit
def bucket_kernel(
    ids_ptr, end_ptr, order_ptr, sorted_ptr, tokens, BLOCK: tl.constexpr, EARLY: tl.constexpr
):
    after_the_last(EARLY)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < tokens
    ids = tl.load(ids_ptr + at, mask=mask, other=0)
    place = tl.atomic_add(end_ptr + ids, -1, mask=mask) - 1
    tl.store(order_ptr + place, at, mask=mask)
    tl.store(sorted_ptr + place, ids.to(tl.int32), mask=mask)


@triton.jit
def gathered(order_ptr, dy_ptr, places, mask, columns, N: tl.constexpr):
    """The sum of the gradients of tokens at places of the order."""
    tokens = tl.load(order_ptr + places, mask=mask, other=0).to(tl.int64)
    at = dy_ptr + tokens[:, None] * N + columns[None, :]
    dy = tl.load(at, mask=mask[:, None], other=0.0, eviction_policy="evict_first")
    return tl.sum(dy.to(tl.float32), axis=0)


@triton.jit
def piece_kernel(
    order_ptr,
    sorted_ptr,
    count_ptr,
    dy_ptr,
    piece_ptr,
    tokens,
    N: tl.constexpr,
    PIECE: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    after_the_last(EARLY)
    piece = tl.program_id(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    places = piece * PIECE + tl.arange(0, PIECE)
    ids = tl.load(sorted_ptr + places, mask=places < tokens, other=-1)
    first = tl.load(sorted_ptr + piece * PIECE)
    before = tl.load(sorted_ptr + piece * PIECE - 1, mask=piece > 0, other=-1)
    last = tl.load(sorted_ptr + tl.minimum(piece * PIECE + PIECE, tokens) - 1)
    out_ptr = piece_ptr + (2 * piece).to(tl.int64) * N + columns
    if (before == first) & (tl.load(count_ptr + first) > PIECE):
        tl.store(out_ptr, gathered(order_ptr, dy_ptr, places, ids == first, columns, N))
    if ((last != first) | (before != first)) & (tl.load(count_ptr + last) > PIECE):
        tl.store(out_ptr + N, gathered(order_ptr, dy_ptr, places, ids == last, columns, N))


@triton.jit
def update_kernel(
    order_ptr,
    start_ptr,
    count_ptr,
    dy_ptr,
    piece_ptr,
    table_ptr,
    out_ptr,
    rate,
    N: tl.constexpr,
    TOKENS: tl.constexpr,
    PIECE: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    after_the_last(EARLY)
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at = row * N + columns
    old = tl.load(table_ptr + at, eviction_policy="evict_first")
    count = tl.load(count_ptr + row)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    if count > 0:
        start = tl.load(start_ptr + row)
        if count == 1:
            token = tl.load(order_ptr + start).to(tl.int64)
            dy = tl.load(dy_ptr + token * N + columns, eviction_policy="evict_first")
            total += dy.to(tl.float32)
        elif count <= PIECE:
            for first in range(0, count, TOKENS):
                places = first + tl.arange(0, TOKENS)
                total += gathered(order_ptr, dy_ptr, start + places, places < count, columns, N)
        else:
            low = start // PIECE
            high = (start + count - 1) // PIECE
            for first in range(low, high + 1, TOKENS):
                pieces = first + tl.arange(0, TOKENS)
                slots = tl.where(pieces * PIECE > start, 2 * pieces, 2 * pieces + 1)
                parts = piece_ptr + slots[:, None].to(tl.int64) * N + columns[None, :]
                total += tl.sum(tl.load(parts, mask=(pieces <= high)[:, None], other=0.0), axis=0)
    tl.store(out_ptr + at, (old.to(tl.float32) - rate * total).to(tl.bfloat16))


def run(ids, dy, table, new_table):
    tokens, hidden = dy.shape
    vocab = table.shape[0]
    pieces = triton.cdiv(tokens, PIECE)
    count = torch.zeros(vocab + 1, dtype=torch.int32, device=ids.device)
    used = count[vocab:]
    whole = torch.empty(vocab + 2 * tokens, dtype=torch.int32, device=ids.device)
    end, order, by_id = whole[:vocab], whole[vocab : vocab + tokens], whole[vocab + tokens :]
    piece = torch.empty((pieces, 2, hidden), dtype=torch.float32, device=ids.device)
    early = dy.device.type != "cpu"
    grid = (triton.cdiv(tokens, 256),)
    count_kernel[grid](ids, count, tokens, 256, early)
    starts = (triton.cdiv(vocab, 1024),)
    start_kernel[starts](count, end, used, vocab, 1024, early, launch_pdl=early)
    # `end` becomes each bucket's start
    bucket_kernel[grid](ids, end, order, by_id, tokens, 256, early, launch_pdl=early)
    columns = min(COLUMNS, triton.next_power_of_2(hidden))
    parts = triton.cdiv(hidden, columns)
    piece_kernel[(pieces, parts)](
        order,
        by_id,
        count,
        dy,
        piece,
        tokens,
        hidden,
        PIECE,
        columns,
        early,
        num_warps=8,
        launch_pdl=early,
    )
    update_kernel[(vocab, parts)](
        order,
        end,
        count,
        dy,
        piece,
        table,
        new_table,
        RATE,
        hidden,
        TOKENS,
        PIECE,
        columns,
        early,
        num_warps=WARPS,
        launch_pdl=early,
    )
