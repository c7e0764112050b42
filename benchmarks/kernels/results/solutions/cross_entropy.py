"""Cross entropy and its gradient: half of a long row stays in registers between its two uses.

The first pass reduces eight neighbours at a time, so that one exponential an element suffices; the
second writes the gradient, and last the place of the target, so that no other is compared with it.
What is held never travels again; the rest of the row is small enough to wait in the second-level
cache.
"""

import triton
import triton.language as tl

WARPS = 16
BLOCK = 8192
HELD = 65536
TUNE = {"HELD": (32768, 65536), "BLOCK": (4096, 8192, 16384)}
LOG2_E = 1.4426950408889634


@triton.jit
def widened(pair, scale):
    """The two bfloat16 of a word of 32 bits as float32, times a factor."""
    low = (pair << 16).to(tl.float32, bitcast=True)
    high = (pair & -65536).to(tl.float32, bitcast=True)
    return low * scale, high * scale


@triton.jit
def cross_entropy_kernel(
    x_ptr,
    target_ptr,
    loss_ptr,
    dx_ptr,
    vocab,
    scale,
    zero,
    HELD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * vocab
    dx_ptr += row * vocab
    target = tl.load(target_ptr + row).to(tl.int32)
    top = -1e30
    total = 0.0
    if HELD:
        # Words of two logits: as float32 they would not fit. Two of -1e9 where the row ends.
        words = tl.arange(0, HELD // 2)
        inside = words < vocab // 2
        held = tl.load(
            x_ptr.to(tl.pointer_type(tl.int32)) + words,
            mask=inside,
            other=-831598994,
            eviction_policy="evict_first",
        )
        low, high = widened(held, scale)
        low = tl.reshape(low, (HELD // 8, 4))
        high = tl.reshape(high, (HELD // 8, 4))
        near = tl.max(tl.maximum(low, high), axis=1)
        sums = tl.math.exp2(low - near[:, None]) + tl.math.exp2(high - near[:, None])
        top = tl.max(near)
        total = tl.sum(tl.sum(sums, axis=1) * tl.math.exp2(near - top))
    lanes = tl.arange(0, BLOCK)
    tops = tl.full((BLOCK // 8,), -1e30, dtype=tl.float32)
    totals = tl.zeros((BLOCK // 8,), dtype=tl.float32)
    for first in range(HELD, vocab, BLOCK):
        columns = first + lanes
        x = tl.load(
            x_ptr + columns, mask=columns < vocab, other=-1e30, eviction_policy="evict_last"
        )
        groups = tl.reshape(x.to(tl.float32) * scale, (BLOCK // 8, 8))
        higher = tl.maximum(tops, tl.max(groups, axis=1))
        grown = tl.sum(tl.math.exp2(groups - higher[:, None]), axis=1)
        totals = totals * tl.math.exp2(tops - higher) + grown
        tops = higher
    peak = tl.maximum(tl.max(tops), top)
    total = total * tl.math.exp2(top - peak) + tl.sum(totals * tl.math.exp2(tops - peak))
    lse = tl.math.log2(total) + peak
    hit = tl.load(x_ptr + target).to(tl.float32) * scale
    tl.store(loss_ptr + row, (lse - hit) / scale)
    for first in range(HELD, vocab, BLOCK):
        columns = first + lanes
        mask = columns < vocab
        x = tl.load(x_ptr + columns, mask=mask, other=0.0, eviction_policy="evict_first")
        dx = tl.math.exp2(x.to(tl.float32) * scale - lse)
        tl.store(dx_ptr + columns, dx.to(tl.bfloat16), mask=mask)
    if HELD:
        # The kernel cannot know that `zero` is zero, so it widens again and holds the words only.
        left, right = widened(held ^ zero, scale)
        # Neighbours are rounded in one instruction; one by one, that would cost another exp2 each.
        both = tl.join(tl.math.exp2(left - lse), tl.math.exp2(right - lse))
        places = tl.arange(0, HELD)
        dx = tl.reshape(both, (HELD,)).to(tl.bfloat16)
        tl.store(dx_ptr + places, dx, mask=places < vocab)
    tl.debug_barrier()  # the target's own place is written last
    tl.store(dx_ptr + target, (tl.math.exp2(hit - lse) - 1.0).to(tl.bfloat16))


def run(logits, target, loss, dlogits):
    tokens, vocab = logits.shape
    held = 0 if vocab % 2 else min(HELD, max(1024, triton.next_power_of_2(vocab)))
    cross_entropy_kernel[(tokens,)](
        logits, target, loss, dlogits, vocab, LOG2_E, 0, held, BLOCK, num_warps=WARPS
    )
