"""Softmax with the whole row in registers, as words of two: one read, one write.

Two programs of a multiprocessor then fit side by side, one reading while the other computes.
"""

import triton
import triton.language as tl

WARPS = 16
REGISTERS = 64
TUNE = {"WARPS": (16, 32), "REGISTERS": (64, 128)}
LOG2_E = 1.4426950408889634


@triton.jit
def widened(pair, scale):
    """The two bfloat16 of a word of 32 bits as float32, times a factor."""
    low = (pair << 16).to(tl.float32, bitcast=True)
    high = (pair & -65536).to(tl.float32, bitcast=True)
    return low * scale, high * scale


@triton.jit
def softmax_kernel(x_ptr, y_ptr, scale, zero, N: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * (N // 2)
    words = tl.arange(0, BLOCK // 2)
    mask = words < N // 2
    x_at = x_ptr.to(tl.pointer_type(tl.int32)) + at + words
    # Two of -1e9 where the row ends.
    held = tl.load(x_at, mask=mask, other=-831598994, eviction_policy="evict_first")
    low, high = widened(held, scale)
    low = tl.reshape(low, (BLOCK // 8, 4))
    high = tl.reshape(high, (BLOCK // 8, 4))
    near = tl.max(tl.maximum(low, high), axis=1)
    sums = tl.math.exp2(low - near[:, None]) + tl.math.exp2(high - near[:, None])
    top = tl.max(near)
    total = tl.sum(tl.sum(sums, axis=1) * tl.math.exp2(near - top))
    # The kernel cannot know that `zero` is zero, so it widens again and holds the words only.
    left, right = widened(held ^ zero, scale)
    lse = top + tl.math.log2(total)
    # Neighbours are rounded in one instruction; one by one, that would cost another exp2 each.
    both = tl.join(tl.math.exp2(left - lse), tl.math.exp2(right - lse))
    columns = tl.arange(0, BLOCK)
    y = tl.reshape(both, (BLOCK,)).to(tl.bfloat16)
    tl.store(y_ptr + 2 * at + columns, y, mask=columns < N)


def run(logits, probs):
    rows, vocab = logits.shape
    softmax_kernel[(rows,)](
        logits,
        probs,
        LOG2_E,
        0,
        vocab,
        triton.next_power_of_2(vocab),
        num_warps=WARPS,
        maxnreg=REGISTERS,
    )
