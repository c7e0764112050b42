"""Cross entropy and its gradient: an online softmax with one running maximum for each lane, then
one more pass.

The second read of a row is served by the second-level cache: the first pass asks to keep it there.
"""

import triton
import triton.language as tl

WARPS = 16
BLOCK = 8192


@triton.jit
def cross_entropy_kernel(x_ptr, target_ptr, loss_ptr, dx_ptr, vocab, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * vocab
    dx_ptr += row * vocab
    lanes = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -1e30, dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, vocab, BLOCK):
        columns = first + lanes
        x = tl.load(
            x_ptr + columns, mask=columns < vocab, other=-1e30, eviction_policy="evict_last"
        ).to(tl.float32)
        higher = tl.maximum(top, x)
        total = total * tl.exp(top - higher) + tl.exp(x - higher)
        top = higher
    peak = tl.max(top)
    lse = tl.log(tl.sum(total * tl.exp(top - peak))) + peak
    target = tl.load(target_ptr + row)
    tl.store(loss_ptr + row, lse - tl.load(x_ptr + target).to(tl.float32))
    for first in range(0, vocab, BLOCK):
        columns = first + lanes
        mask = columns < vocab
        x = tl.load(x_ptr + columns, mask=mask, other=0.0, eviction_policy="evict_first").to(
            tl.float32
        )
        probability = tl.exp(x - lse) - tl.where(columns == target, 1.0, 0.0)
        tl.store(dx_ptr + columns, probability.to(tl.bfloat16), mask=mask, cache_modifier=".cs")


def run(logits, target, loss, dlogits):
    tokens, vocab = logits.shape
    cross_entropy_kernel[(tokens,)](logits, target, loss, dlogits, vocab, BLOCK, num_warps=WARPS)
