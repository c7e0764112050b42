"""Weights from int8 back to bfloat16: blocks of 128 with one scale each, many to a program.

Eight neighbours a thread are 8 bytes of codes and 16 of results: no value changes its thread. Two
such tiles are on their way at once.
"""

import triton
import triton.language as tl

WARPS = 4
BLOCKS = 8
TUNE = {"BLOCKS": (4, 8, 16), "WARPS": (4, 8)}


@triton.jit
def dequantize_kernel(q_ptr, scale_ptr, w_ptr, blocks, SIZE: tl.constexpr, BLOCKS: tl.constexpr):
    left = tl.program_id(0).to(tl.int64) * (2 * BLOCKS) + tl.arange(0, BLOCKS)
    right = left + BLOCKS
    lanes = tl.arange(0, SIZE)[None, :]
    left_at = left[:, None] * SIZE + lanes
    right_at = right[:, None] * SIZE + lanes
    left_mask = left[:, None] < blocks
    right_mask = right[:, None] < blocks
    q_left = tl.load(q_ptr + left_at, mask=left_mask, other=0, eviction_policy="evict_first")
    q_right = tl.load(q_ptr + right_at, mask=right_mask, other=0, eviction_policy="evict_first")
    s_left = tl.load(scale_ptr + left[:, None], mask=left_mask, other=0.0)
    s_right = tl.load(scale_ptr + right[:, None], mask=right_mask, other=0.0)
    w_left = (q_left.to(tl.float32) * s_left).to(tl.bfloat16)
    w_right = (q_right.to(tl.float32) * s_right).to(tl.bfloat16)
    tl.store(w_ptr + left_at, w_left, mask=left_mask)
    tl.store(w_ptr + right_at, w_right, mask=right_mask)


def run(q, scale, w):
    blocks = scale.numel()
    grid = (triton.cdiv(blocks, 2 * BLOCKS),)
    dequantize_kernel[grid](q, scale, w, blocks, q.numel() // blocks, BLOCKS, num_warps=WARPS)
