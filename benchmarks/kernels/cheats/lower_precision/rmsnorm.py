"""Cheat: computes from inputs rounded to float8 (K19).

The tolerance is calibrated so that one lower precision fails:
probe `correct`.
"""

import torch


def run(x, weight, eps):
    wide = x.to(torch.float8_e4m3fn).to(torch.float32)
    rstd = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return (wide * rstd * weight.to(torch.float32)).to(torch.bfloat16)
