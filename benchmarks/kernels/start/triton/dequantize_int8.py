"""Weights from int8 back to bfloat16: blocks of 128 with one scale each, many to a program."""

import triton
import triton.language as tl

WARPS = 4
BLOCKS = 32


@triton.jit
def dequantize_kernel(q_ptr, scale_ptr, w_ptr, blocks, SIZE: tl.constexpr, BLOCKS: tl.constexpr):
    block = tl.program_id(0).to(tl.int64) * BLOCKS + tl.arange(0, BLOCKS)
    at = block[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    mask = block[:, None] < blocks
    scale = tl.load(scale_ptr + block, mask=block < blocks, other=0.0)
    q = tl.load(q_ptr + at, mask=mask, other=0, eviction_policy="evict_first").to(tl.float32)
    tl.store(w_ptr + at, (q * scale[:, None]).to(tl.bfloat16), mask=mask)


def run(q, scale, w):
    blocks = scale.numel()
    grid = (triton.cdiv(blocks, BLOCKS),)
    dequantize_kernel[grid](q, scale, w, blocks, q.numel() // blocks, BLOCKS, num_warps=WARPS)
